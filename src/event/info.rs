//! AfterGroupInfoChanged: these fields have new values; `""` is one.

use super::{Facts, Stamp, extra, fact};
use crate::callback::{BodyError, Fields, string};

/// A group's texts: Chat's name of each, and ours.
pub(crate) const TEXTS: [(&str, &str); 4] = [
    ("Name", fact::NAME),
    ("Introduction", fact::INTRODUCTION),
    ("Notification", fact::NOTIFICATION),
    ("FaceUrl", fact::FACE_URL),
];

/// Reads the fields that were sent.
pub(super) fn read(group: &mut Facts, fields: &mut Fields<'_>, stamp: &Stamp) -> Result<(), BodyError> {
    for (field, name) in TEXTS {
        if let Some(text) = fields.text(field)? {
            group.set(name, Some(text), stamp.clone());
        }
    }
    for mut entry in fields.entries("UserDefinedDataList")? {
        let key = entry.text("Key")?.ok_or_else(|| entry.error("Key", "a string"))?;
        // Chat sends strings; whatever else it may be is kept as its JSON text.
        if let Some(raw) = entry.take("Value") {
            let value = string(raw).unwrap_or_else(|| raw.get().to_owned());
            group.set(fact::user_defined(&extra::map_name(key)), Some(value), stamp.clone());
        }
    }
    Ok(())
}
