//! The records of the table's stream, as Lambda hands them over.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;

use super::{CloudEvent, Written};
use crate::event::Attributes;
use crate::store::change;
use crate::time::EventTime;

/// A record of the stream: one write of one item.
#[derive(Debug)]
pub(crate) struct Record {
    /// The sequence number, by which a batch goes on; `None` if the record has none.
    pub sequence_number: Option<String>,
    /// When it was written.
    pub recorded_at: Option<EventTime>,
    /// The event that it makes.
    pub event: Option<CloudEvent>,
}

impl Record {
    /// Reads a record. One that can't be told is passed over, with a line at WARN.
    pub(crate) fn read(record: &Value) -> Self {
        let stream = &record["dynamodb"];
        let sequence_number = stream["SequenceNumber"].as_str();
        let seconds = stream["ApproximateCreationDateTime"].as_f64();
        let recorded_at = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let recorded_at = recorded_at.map(|since_epoch| EventTime::from_millis(0) + since_epoch);
        let (old, new) = (image(&stream["OldImage"]), image(&stream["NewImage"]));
        let change = change(old.as_ref(), new.as_ref()).unwrap_or_else(|error| {
            tracing::warn!(sequence_number, %error, "a record is passed over: its item is of another shape");
            None
        });
        let ids = sequence_number.zip(record["eventID"].as_str());
        if change.is_some() && ids.is_none() {
            tracing::warn!(sequence_number, "a record is passed over: expected eventID and SequenceNumber");
        }
        let event = change.zip(ids).map(|(change, (sequence_number, event_id))| {
            let written = Written { sequence_number, at: recorded_at.unwrap_or(change.at) };
            CloudEvent::new(&change, event_id.to_owned(), Some(written))
        });
        Self { sequence_number: sequence_number.map(str::to_owned), recorded_at, event }
    }
}

/// An image of an item; `None` if there is none.
fn image(image: &Value) -> Option<Attributes> {
    let attributes = image.as_object()?;
    Some(attributes.iter().map(|(name, value)| (name.clone(), attribute(value))).collect())
}

/// An attribute. Types that no fact has count as null.
fn attribute(value: &Value) -> AttributeValue {
    let only = value.as_object().and_then(|typed| typed.iter().next());
    let attribute = only.and_then(|(name, value)| match name.as_str() {
        "S" => value.as_str().map(|text| AttributeValue::S(text.to_owned())),
        "N" => value.as_str().map(|digits| AttributeValue::N(digits.to_owned())),
        "M" => image(value).map(AttributeValue::M),
        _ => None,
    });
    attribute.unwrap_or(AttributeValue::Null(true))
}
