//! All groups of an application, page by page, whether they are there or not.

use tokio::time::Instant;

use super::{GROUP_SK, Store, StoreError, item, partition_key, text_of};
use crate::event::{Attributes, Facts, GroupKey, text};
use crate::retry::until;

/// A group by its item.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The group.
    pub key: GroupKey,
    /// What its item says.
    pub facts: Facts,
}

impl Listed {
    /// Whether readers see the group.
    pub fn is_there(&self) -> bool {
        super::read::is_there(&self.facts)
    }
}

/// The primary key of an item, where a scan goes on after it.
pub(crate) type Position = (String, String);

/// A part of a scan.
#[derive(Debug)]
pub(crate) struct Page {
    /// The groups, in the order of the scan.
    pub groups: Vec<Listed>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Position>,
}

/// Where a scan goes on after a group.
pub(crate) fn position(key: &GroupKey) -> Position {
    (partition_key(key), GROUP_SK.to_owned())
}

impl Store {
    /// A page of the application's groups, as they were at most a second ago.
    pub(crate) async fn scan(
        &self,
        sdk_app_id: u64,
        start: Option<&Position>,
        deadline: Instant,
    ) -> Result<Page, StoreError> {
        let prefix = item::of_application(sdk_app_id, "");
        let request = self
            .client
            .scan()
            .table_name(&self.table_name)
            .filter_expression("sk = :sk AND begins_with(pk, :prefix)")
            .expression_attribute_values(":sk", text(GROUP_SK))
            .expression_attribute_values(":prefix", text(prefix))
            .set_exclusive_start_key(start.map(|(pk, sk)| item::key(pk, sk)));
        let answer = until(deadline, || request.clone().send()).await?;
        let items = answer.items.unwrap_or_default();
        let next = answer
            .last_evaluated_key
            .and_then(|key| Some((text_of(&key, "pk")?.to_owned(), text_of(&key, "sk")?.to_owned())));
        Ok(Page { groups: items.iter().filter_map(|item| listed(sdk_app_id, item)).collect(), next })
    }

    /// Those of these groups that have an item, as they were at most a second ago.
    pub(crate) async fn listed(&self, keys: &[GroupKey]) -> Result<Vec<Listed>, StoreError> {
        let Some(sdk_app_id) = keys.first().map(|key| key.sdk_app_id) else { return Ok(Vec::new()) };
        let keys: Vec<String> = keys.iter().map(partition_key).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let items = self.group_items(&keys).await?;
        Ok(items.iter().filter_map(|item| listed(sdk_app_id, item)).collect())
    }
}

/// Reads a group's item. Its id is taken from its key, which is what it is found by.
fn listed(sdk_app_id: u64, item: &Attributes) -> Option<Listed> {
    let group_id = text_of(item, "pk")?.strip_prefix(&item::of_application(sdk_app_id, ""))?.to_owned();
    let key = GroupKey { sdk_app_id, group_id };
    Some(Listed { key, facts: item::read(item) })
}
