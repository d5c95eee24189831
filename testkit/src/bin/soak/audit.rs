//! Whether readers see of each group what the model says.

use std::collections::BTreeMap;
use std::error::Error;

use chat_groups::event::GroupKey;
use chat_groups::store::Reader;
use chat_groups_testkit::model::{seen, view};
use serde_json::Value;

/// Compares these groups with the model. Returns a line for each one that is not as it should be.
pub async fn audit(
    reader: &Reader,
    sdk_app_id: u64,
    groups: &BTreeMap<&str, Vec<&Value>>,
) -> Result<Vec<String>, Box<dyn Error>> {
    let mut wrong = Vec::new();
    for (group_id, bodies) in groups {
        let key = GroupKey { sdk_app_id, group_id: (*group_id).to_owned() };
        let found = seen(reader.group(&key).await?.as_ref());
        let expected = view(bodies.iter().copied());
        if found != expected {
            wrong.push(format!("{group_id}: expected {expected}, found {found}"));
        }
    }
    Ok(wrong)
}
