//! What `reconcile` is invoked with.

use serde_json::Value;
use thiserror::Error;

use crate::event::GROUP_ID_MAX_BYTES;

/// What a call asks for; by default, to go on with all groups.
///
/// ```
/// # use chat_groups::reconcile::ReconcileRequest;
/// let request = ReconcileRequest::parse(&serde_json::json!({ "group_ids": ["@TGS#1"], "dry_run": true }))?;
/// assert!(request.dry_run && request.group_ids == Some(vec!["@TGS#1".to_owned()]));
/// # Ok::<(), chat_groups::reconcile::RequestError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReconcileRequest {
    /// `group_ids`: these groups alone, with their members.
    pub group_ids: Option<Vec<String>>,
    /// `dry_run`: find what differs, and write nothing.
    pub dry_run: bool,
    /// `members`, which can only be `"all"`: list the members of every group.
    pub all_members: bool,
    /// `allow_destroy`: destroy as many groups as Chat says are gone.
    pub allow_destroy: bool,
}

impl ReconcileRequest {
    /// Reads an event. Null and a schedule's own event ask for nothing in particular.
    pub fn parse(event: &Value) -> Result<Self, RequestError> {
        let fields = match event {
            Value::Null => return Ok(Self::default()),
            Value::Object(fields) => fields,
            _ => return Err(RequestError::new("event", "a JSON object")),
        };
        if fields.get("detail-type").is_some_and(|value| value == "Scheduled Event") {
            return Ok(Self::default());
        }
        let mut request = Self::default();
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            match name.as_str() {
                "group_ids" => request.group_ids = Some(group_ids(value)?),
                "dry_run" => request.dry_run = flag(name, value)?,
                "allow_destroy" => request.allow_destroy = flag(name, value)?,
                "members" if value == "all" => request.all_members = true,
                "members" => return Err(RequestError::new("members", "\"all\", or to be left out")),
                _ => {
                    let expected = "to be left out; known are group_ids, dry_run, members and allow_destroy";
                    return Err(RequestError::new(&name.chars().take(100).collect::<String>(), expected));
                }
            }
        }
        Ok(request)
    }
}

fn flag(name: &str, value: &Value) -> Result<bool, RequestError> {
    value.as_bool().ok_or_else(|| RequestError::new(name, "true or false"))
}

fn group_ids(value: &Value) -> Result<Vec<String>, RequestError> {
    let error = || RequestError::new("group_ids", "an array of GroupIds");
    let id = |value: &Value| {
        let id = value.as_str().filter(|id| (1..=GROUP_ID_MAX_BYTES).contains(&id.len()));
        id.map(str::to_owned).ok_or_else(error)
    };
    let mut ids: Vec<String> =
        value.as_array().ok_or_else(error)?.iter().map(id).collect::<Result<_, _>>()?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// A field that is not known, or is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: expected {expected}")]
pub struct RequestError {
    /// The field.
    pub field: String,
    /// What it should be.
    pub expected: &'static str,
}

impl RequestError {
    fn new(field: &str, expected: &'static str) -> Self {
        Self { field: field.to_owned(), expected }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_fields_are_optional() {
        let default = Ok(ReconcileRequest::default());
        for event in [json!(null), json!({}), json!({ "group_ids": null, "dry_run": false })] {
            assert_eq!(ReconcileRequest::parse(&event), default);
        }
        let scheduled = json!({ "version": "0", "detail-type": "Scheduled Event", "detail": {} });
        assert_eq!(ReconcileRequest::parse(&scheduled), default);
        let all =
            json!({ "group_ids": ["b", "a", "b"], "dry_run": true, "members": "all", "allow_destroy": true });
        let expected = ReconcileRequest {
            group_ids: Some(vec!["a".to_owned(), "b".to_owned()]),
            dry_run: true,
            all_members: true,
            allow_destroy: true,
        };
        assert_eq!(ReconcileRequest::parse(&all), Ok(expected));
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        for (event, field) in [
            (json!([]), "event"),
            (json!("all"), "event"),
            (json!({ "group_ids": "g" }), "group_ids"),
            (json!({ "group_ids": [""] }), "group_ids"),
            (json!({ "group_ids": [1] }), "group_ids"),
            (json!({ "group_ids": ["x".repeat(GROUP_ID_MAX_BYTES + 1)] }), "group_ids"),
            (json!({ "dry_run": "true" }), "dry_run"),
            (json!({ "dry-run": true }), "dry-run"),
            (json!({ "members": true }), "members"),
            (json!({ "allow_destroy": 1 }), "allow_destroy"),
        ] {
            let error = ReconcileRequest::parse(&event).err();
            assert_eq!(error.map(|error| error.field).as_deref(), Some(field), "{event}");
        }
    }
}
