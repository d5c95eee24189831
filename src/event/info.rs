//! AfterGroupInfoChanged: these fields have new values; `""` is one.

use serde_json::value::{RawValue, to_raw_value};

use super::{Facts, Stamp, extra, fact};
use crate::callback::{BodyError, Fields};

/// The list of custom fields.
pub(super) const CUSTOM: &str = "UserDefinedDataList";

/// A group's texts: Chat's name of each, and ours.
pub(crate) const TEXTS: [(&str, &str); 4] = [
    ("Name", fact::NAME),
    ("Introduction", fact::INTRODUCTION),
    ("Notification", fact::NOTIFICATION),
    ("FaceUrl", fact::FACE_URL),
];

/// Reads the fields that were sent. Returns the part of the custom data that is no custom field.
pub(super) fn read(
    group: &mut Facts,
    fields: &mut Fields<'_>,
    stamp: &Stamp,
) -> Result<Option<Box<RawValue>>, BodyError> {
    for (field, name) in TEXTS {
        if let Some(text) = fields.text(field)? {
            group.set(name, Some(text), stamp.clone());
        }
    }
    Ok(fields.take(CUSTOM).and_then(|list| read_custom(group, list, stamp)))
}

/// Custom data never costs an event: an entry with a string Key and a string Value is a custom field, anything else is
/// returned as it is.
fn read_custom(group: &mut Facts, list: &RawValue, stamp: &Stamp) -> Option<Box<RawValue>> {
    let Ok(mut entries) = serde_json::from_str::<Vec<&RawValue>>(list.get()) else {
        let is_empty = Fields::parse(list.get()).is_ok_and(|map| !map.has_rest());
        return (!is_empty).then(|| list.to_owned());
    };
    entries.retain(|entry| {
        let custom = custom_field(entry);
        let is_unknown = custom.is_none();
        if let Some((key, value)) = custom {
            group.set(fact::user_defined(&extra::map_name(key)), Some(value), stamp.clone());
        }
        is_unknown
    });
    if entries.is_empty() { None } else { to_raw_value(&entries).ok() }
}

fn custom_field(entry: &RawValue) -> Option<(String, String)> {
    let mut fields = Fields::parse(entry.get()).ok()?;
    Some((fields.text("Key").ok()??, fields.text("Value").ok()??))
}
