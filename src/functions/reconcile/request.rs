//! The event that `reconcile` is invoked with.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value, json};

use crate::event::GROUP_ID_MAX_BYTES;

/// A field that is unknown or has the wrong shape, with its path in the event.
pub type RequestError = serde_path_to_error::Error<serde_json::Error>;

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
    /// The groups whose members are listed.
    pub members: Members,
    /// Destroys as many groups as Chat says are gone.
    pub allow_destroy: bool,
    /// Begins or goes on at once, though no pass is due. Every other field implies it.
    pub now: bool,
}

/// The groups whose members are listed, though nothing else about them differs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Members {
    /// Every 24th group's, by turns.
    #[default]
    Due,
    /// Those of every group.
    All,
}

impl ReconcileRequest {
    /// Reads an event. A field that is null counts as absent.
    pub fn parse(event: &Value) -> Result<Self, RequestError> {
        let fields = if event.is_null() { json!({}) } else { event.clone() };
        let mut fields: Map<String, Value> = serde_path_to_error::deserialize(fields)?;
        fields.retain(|_, value| !value.is_null());
        let is_by_hand = fields.keys().any(|name| name != "now");
        let request: Self = serde_path_to_error::deserialize(Value::Object(fields))?;
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

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn all_fields_are_optional() {
        let parse = |event| ReconcileRequest::parse(&event);
        for event in [json!(null), json!({}), json!({ "group_ids": null }), json!({ "now": false })] {
            assert_eq!(parse(event).unwrap(), ReconcileRequest::default());
        }
        let expected = ReconcileRequest {
            group_ids: Some(vec!["a".to_owned(), "b".to_owned()]),
            dry_run: true,
            members: Members::All,
            allow_destroy: true,
            now: true,
        };
        let all =
            json!({ "group_ids": ["b", "a", "b"], "dry_run": true, "members": "all", "allow_destroy": true });
        assert_eq!(parse(all).unwrap(), expected);
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
            (json!([]), "invalid type"),
            (json!("all"), "invalid type"),
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
            let error = ReconcileRequest::parse(&event).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}: ")) && error.contains("expected"), "{error}");
        }
    }
}
