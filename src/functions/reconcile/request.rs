//! The event that `reconcile` is invoked with.

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use thiserror::Error;

use crate::event::GROUP_ID_MAX_BYTES;

/// A call's wishes. The default is a scheduled call: to go on with all groups once a pass is due.
///
/// ```
/// # use chat_groups::reconcile::ReconcileRequest;
/// let request = ReconcileRequest::parse(&serde_json::json!({ "group_ids": ["@TGS#1"], "dry_run": true }))?;
/// assert!(request.dry_run && request.group_ids == Some(vec!["@TGS#1".to_owned()]));
/// # Ok::<(), chat_groups::reconcile::RequestError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconcileRequest {
    /// Compares these groups alone, with their members.
    #[serde(deserialize_with = "group_ids")]
    pub group_ids: Option<Vec<String>>,
    /// Finds the differences and writes nothing.
    pub dry_run: bool,
    /// Lists the members of every group.
    pub members: Option<Members>,
    /// Destroys as many groups as Chat says are gone.
    pub allow_destroy: bool,
    /// Begins or goes on at once, though no pass is due. Every other field implies it.
    pub now: bool,
}

/// The groups whose members are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Members {
    /// All of them.
    All,
}

impl ReconcileRequest {
    /// Reads an event. A field that is null counts as absent.
    pub fn parse(event: &Value) -> Result<Self, RequestError> {
        let mut event = event.clone();
        let fields = match &mut event {
            Value::Null => return Ok(Self::default()),
            Value::Object(fields) => fields,
            _ => return Err(RequestError { field: "event".into(), error: "expected a JSON object".into() }),
        };
        fields.retain(|_, value| !value.is_null());
        let is_by_hand = fields.keys().any(|name| name != "now");
        let request: Self = serde_path_to_error::deserialize(event).map_err(|error| RequestError {
            field: error.path().to_string(),
            error: error.inner().to_string(),
        })?;
        Ok(Self { now: request.now || is_by_hand, ..request })
    }
}

fn group_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let mut ids = Vec::<String>::deserialize(deserializer)?;
    if ids.iter().any(|id| !(1..=GROUP_ID_MAX_BYTES).contains(&id.len())) {
        return Err(de::Error::custom(format_args!("expected GroupIds of 1 to {GROUP_ID_MAX_BYTES} bytes")));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(Some(ids))
}

/// A field that is unknown or has the wrong shape.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {error}")]
pub struct RequestError {
    /// The field, as a path into the event.
    pub field: String,
    /// Its expected shape.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_fields_are_optional() {
        let parse = |event| ReconcileRequest::parse(&event);
        for event in [json!(null), json!({}), json!({ "group_ids": null }), json!({ "now": false })] {
            assert_eq!(parse(event), Ok(ReconcileRequest::default()));
        }
        let expected = ReconcileRequest {
            group_ids: Some(vec!["a".to_owned(), "b".to_owned()]),
            dry_run: true,
            members: Some(Members::All),
            allow_destroy: true,
            now: true,
        };
        let all =
            json!({ "group_ids": ["b", "a", "b"], "dry_run": true, "members": "all", "allow_destroy": true });
        assert_eq!(parse(all), Ok(expected));
    }

    #[test]
    fn a_call_with_any_field_waits_for_nothing() {
        for event in [json!({ "now": true }), json!({ "dry_run": false }), json!({ "members": "all" })] {
            assert!(ReconcileRequest::parse(&event).is_ok_and(|request| request.now), "{event}");
        }
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        for (event, field) in [
            (json!([]), "event"),
            (json!("all"), "event"),
            (json!({ "group_ids": "g" }), "group_ids"),
            (json!({ "group_ids": [""] }), "group_ids"),
            (json!({ "group_ids": [1] }), "group_ids[0]"),
            (json!({ "group_ids": ["x".repeat(GROUP_ID_MAX_BYTES + 1)] }), "group_ids"),
            (json!({ "dry_run": "true" }), "dry_run"),
            (json!({ "dry-run": true }), "dry-run"),
            (json!({ "members": true }), "members"),
            (json!({ "members": "some" }), "members"),
            (json!({ "allow_destroy": 1 }), "allow_destroy"),
            (json!({ "now": "yes" }), "now"),
        ] {
            let error = ReconcileRequest::parse(&event).err();
            assert_eq!(error.as_ref().map(|error| error.field.as_str()), Some(field), "{event}");
            assert!(error.is_some_and(|error| error.error.contains("expected")), "{event}");
        }
    }
}
