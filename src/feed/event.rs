//! A change as a CloudEvent: the same JSON on the bus, in queues and in files.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::moment;
use crate::event::{Attributes, Facts, fact};
use crate::store::{Change, ChangeKind, ItemKey};
use crate::time::EventTime;

/// The most bytes of an event's JSON: it passes a queue, a topic and another function too.
pub const EVENT_MAX_BYTES: usize = 200_000;

/// The attributes of an item that are not told: its keys, the way it came, and custom data of any size.
const UNTOLD: [&str; 11] = [
    "pk",
    "sk",
    "account_key",
    "sdk_app_id",
    "group_id",
    "account",
    "client_ip",
    "opt_platform",
    "request_id",
    "received_at",
    "extra",
];

/// The JSON of an empty list `omitted`.
const LIST_BYTES: usize = r#","omitted":[]"#.len();

/// By how much the JSON of a name grows when it moves into that list.
const MOVED_NAME_BYTES: usize = fact::USER_DEFINED.len() + 1;

/// The map of the custom fields.
const USER_DEFINED: &str = "user_defined";

/// Attributes of an item, by the names of the table.
pub type Image = BTreeMap<String, Value>;

/// A CloudEvent in structured mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// The version of CloudEvents, `1.0`.
    pub specversion: String,
    /// The record's eventID, or `<pk>/<sk>/<revision>` of a snapshot: events with the same id are the same.
    pub id: String,
    /// `chat-groups/<SdkAppid>`.
    pub source: String,
    /// `group.created` and so on.
    pub r#type: String,
    /// GroupId.
    pub subject: String,
    /// When it happened: [`Data::at`] in RFC 3339.
    pub time: String,
    /// When it was written to the table, in RFC 3339; absent of a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recordedtime: Option<String>,
    /// The record's sequence number, 40 digits; absent of a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<String>,
    /// The name of the schema of `data`.
    pub dataschema: String,
    /// The change.
    pub data: Data,
    /// `recordedtime` as a number.
    #[serde(skip)]
    pub(super) recorded_at: Option<EventTime>,
}

/// A change, in the words of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// SdkAppid.
    pub sdk_app_id: u64,
    /// GroupId.
    pub group_id: String,
    /// The account; absent if the group itself changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The time of the newest fact that changed, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The author of that fact; absent if nobody is known to have said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The names of the fields that have other values, of an update.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// The old values: of an update those of `changed`, of an end all, of a beginning the `event_time` that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Image>,
    /// The item now.
    pub after: Image,
    /// The names of values that were left out of `after`, as the event was too large: the table has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
}

/// The write that made a record of the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    /// The record's sequence number.
    pub sequence_number: &'a str,
    /// Its time.
    pub at: EventTime,
}

impl CloudEvent {
    /// The event of a change; of a snapshot if nothing was written.
    pub(crate) fn new(change: &Change, id: String, written: Option<Written<'_>>) -> Self {
        let (key, of) = (&change.key, change.item_key());
        let before = change.before.as_ref().map(|facts| match change.kind {
            ChangeKind::Updated => old_values(of, facts, change),
            ChangeKind::Ended => image(of, facts),
            ChangeKind::Began | ChangeKind::Snapshot => event_time(facts),
        });
        let event = Self {
            specversion: "1.0".to_owned(),
            id,
            source: format!("chat-groups/{}", key.sdk_app_id),
            r#type: event_type(change).to_owned(),
            subject: key.group_id.clone(),
            time: moment(change.at),
            recordedtime: written.map(|written| moment(written.at)),
            sequence: written.map(|written| format!("{:0>40}", written.sequence_number)),
            dataschema: "urn:chat-groups:event:1".to_owned(),
            data: Data {
                sdk_app_id: key.sdk_app_id,
                group_id: key.group_id.clone(),
                account: change.account.clone(),
                at: change.at.as_millis(),
                by: change.by.as_deref().map(str::to_owned),
                changed: change.changed.iter().map(|name| name.clone().into_owned()).collect(),
                before,
                after: image(of, &change.after),
                omitted: Vec::new(),
            },
            recorded_at: written.map(|written| written.at),
        };
        event.fitted()
    }

    /// Its JSON; the same for the same event always.
    pub fn to_json(&self) -> String {
        // Maps with text keys, texts and numbers always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The event without whatever it has no room for: first `before`, then the longest values one by one, at last the
    /// names of custom fields and the authors.
    fn fitted(mut self) -> Self {
        let excess = |event: &Self| event.to_json().len().saturating_sub(EVENT_MAX_BYTES);
        if excess(&self) > 0 {
            self.data.before = None;
        }
        let mut excess = excess(&self);
        if excess > 0 {
            excess += LIST_BYTES;
        }
        let mut values = self.data.values();
        values.sort_unstable();
        while let Some((bytes, name)) = values.pop().filter(|_| excess > 0) {
            self.data.omit(&name);
            excess = (excess + MOVED_NAME_BYTES).saturating_sub(bytes);
        }
        self.data.omitted.sort_unstable();
        if self.to_json().len() > EVENT_MAX_BYTES {
            self.data.omit_names();
        }
        self
    }
}

impl Data {
    /// The texts of `after`, each with its length in JSON.
    fn values(&self) -> Vec<(usize, String)> {
        let custom = self.after.get(USER_DEFINED).and_then(Value::as_object).into_iter().flatten();
        let custom = custom.map(|(key, value)| (json_bytes(value), fact::user_defined(key).into_owned()));
        let texts = self.after.iter().filter(|(_, value)| value.is_string());
        custom.chain(texts.map(|(name, value)| (json_bytes(value), name.clone()))).collect()
    }

    fn omit(&mut self, name: &str) {
        match (name.strip_prefix(fact::USER_DEFINED), self.after.get_mut(USER_DEFINED)) {
            (Some(key), Some(Value::Object(custom))) => drop(custom.remove(key)),
            _ => drop(self.after.remove(name)),
        }
        self.omitted.push(name.to_owned());
    }

    /// All custom fields go by their common name, and authors are not told.
    fn omit_names(&mut self) {
        let is_custom = |name: &String| name.starts_with(fact::USER_DEFINED);
        for names in [&mut self.changed, &mut self.omitted] {
            names.retain(|name| !is_custom(name));
        }
        if let Some(Value::Object(times)) = self.after.get_mut("changed_at") {
            times.retain(|name, _| !is_custom(name));
        }
        for name in [USER_DEFINED, "changed_by"] {
            self.after.remove(name);
            self.omitted.push(name.to_owned());
        }
        self.by = None;
    }
}

/// The length of JSON.
fn json_bytes(value: &impl Serialize) -> usize {
    serde_json::to_string(value).unwrap_or_default().len()
}

fn event_type(change: &Change) -> &'static str {
    match (change.kind, change.account.is_some()) {
        (ChangeKind::Began, false) => "group.created",
        (ChangeKind::Began, true) => "member.joined",
        (ChangeKind::Updated, false) => "group.updated",
        (ChangeKind::Updated, true) => "member.updated",
        (ChangeKind::Ended, false) => "group.destroyed",
        (ChangeKind::Ended, true) => "member.left",
        (ChangeKind::Snapshot, false) => "group.snapshot",
        (ChangeKind::Snapshot, true) => "member.snapshot",
    }
}

/// The attributes of these facts that are told.
fn image(key: ItemKey<'_>, facts: &Facts) -> Image {
    let mut image = Image::new();
    key.write(facts, |name, value| {
        if !UNTOLD.contains(&name) {
            image.extend(plain(&value).map(|value| (name.to_owned(), value)));
        }
    });
    image
}

fn event_time(facts: &Facts) -> Image {
    facts.event_time().map(|time| ("event_time".to_owned(), time.as_millis().into())).into_iter().collect()
}

/// The old values of the changed facts.
fn old_values(key: ItemKey<'_>, facts: &Facts, change: &Change) -> Image {
    let mut image = image(key, facts);
    let is_changed = |name: &str| change.changed.iter().any(|changed| changed == name);
    if let Some(Value::Object(custom)) = image.get_mut(USER_DEFINED) {
        custom.retain(|key, _| is_changed(&fact::user_defined(key)));
    }
    image.retain(|name, value| match value {
        Value::Object(custom) => name == USER_DEFINED && !custom.is_empty(),
        _ => is_changed(name),
    });
    image
}

/// An attribute as plain JSON; `None` if it is of a type that no fact has.
fn plain(value: &AttributeValue) -> Option<Value> {
    match value {
        AttributeValue::S(text) => Some(text.as_str().into()),
        AttributeValue::N(digits) => digits.parse::<u64>().ok().map(Value::from),
        AttributeValue::M(map) => {
            // In the order of their names, whatever order a map of JSON keeps.
            let sorted: BTreeMap<&String, Value> =
                map.iter().filter_map(|(name, value)| Some((name, plain(value)?))).collect();
            Some(sorted.into_iter().map(|(name, value)| (name.clone(), value)).collect::<Map<_, _>>().into())
        }
        _ => None,
    }
}

/// Plain JSON as attributes.
pub(super) fn attributes(image: &Image) -> Attributes {
    image.iter().filter_map(|(name, value)| Some((name.clone(), attribute(value)?))).collect()
}

fn attribute(value: &Value) -> Option<AttributeValue> {
    match value {
        Value::String(text) => Some(AttributeValue::S(text.clone())),
        Value::Number(number) => Some(AttributeValue::N(number.to_string())),
        Value::Object(map) => {
            let entries = map.iter().filter_map(|(name, value)| Some((name.clone(), attribute(value)?)));
            Some(AttributeValue::M(entries.collect()))
        }
        _ => None,
    }
}
