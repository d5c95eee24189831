//! An application's groups by their items: all of them, page by page, or those that are named.

use std::collections::HashMap;

use tokio::time::Instant;

use super::read::BATCH_MAX_KEYS;
use super::{GROUP_SK, Store, StoreError, item, partition_key, sweep, text_of};
use crate::event::{Attributes, Facts, GroupKey, text};
use crate::retry::retry_until;

/// A group by its item.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The group.
    pub key: GroupKey,
    /// Its facts; none without an item.
    pub facts: Facts,
    /// Whether a life of it has ended whose members were not swept.
    pub is_sweep_due: bool,
}

impl Listed {
    /// Whether readers see the group.
    pub(crate) fn is_there(&self) -> bool {
        super::merge::is_there(&self.facts)
    }
}

/// The primary key of an item: a scan goes on after it.
pub(crate) type ScanKey = (String, String);

/// A part of a scan.
#[derive(Debug)]
pub(crate) struct Page {
    /// The groups, in the order of the scan.
    pub groups: Vec<Listed>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<ScanKey>,
}

/// The key after which a scan goes on behind a group.
pub(crate) fn scan_key(key: &GroupKey) -> ScanKey {
    (partition_key(key), GROUP_SK.to_owned())
}

impl Store {
    /// A page of the application's groups, as they were at most a second ago.
    pub(crate) async fn scan(
        &self,
        sdk_app_id: u64,
        start: Option<&ScanKey>,
        deadline: Instant,
    ) -> Result<Page, StoreError> {
        let prefix = item::scoped_key(sdk_app_id, "");
        let request = self
            .client
            .scan()
            .table_name(&self.table_name)
            .filter_expression("sk = :sk AND begins_with(pk, :prefix)")
            .expression_attribute_values(":sk", text(GROUP_SK))
            .expression_attribute_values(":prefix", text(prefix))
            .set_exclusive_start_key(start.map(|(pk, sk)| item::key(pk, sk)));
        let answer = retry_until(deadline, || request.clone().send()).await?;
        let items = answer.items.unwrap_or_default();
        let next = answer
            .last_evaluated_key
            .and_then(|key| Some((text_of(&key, "pk")?.to_owned(), text_of(&key, "sk")?.to_owned())));
        Ok(Page { groups: items.iter().filter_map(|item| scanned(sdk_app_id, item)).collect(), next })
    }

    /// These groups, as they were at most a second ago. One without an item has no facts.
    pub(crate) async fn listed(
        &self,
        keys: Vec<GroupKey>,
        deadline: Instant,
    ) -> Result<Vec<Listed>, StoreError> {
        let mut found = HashMap::new();
        for keys in keys.chunks(BATCH_MAX_KEYS) {
            let keys = keys.iter().map(|key| item::key(&partition_key(key), GROUP_SK)).collect();
            let items = self.items(keys, false, deadline).await?.into_iter();
            found.extend(items.filter_map(|item| Some((text_of(&item, "pk")?.to_owned(), item))));
        }
        let none = Attributes::new();
        let item = |key: &GroupKey| found.get(&partition_key(key)).unwrap_or(&none);
        Ok(keys.into_iter().map(|key| listed(item(&key), key)).collect())
    }
}

/// Reads a group's item. Its id is taken from its key, by which it is found.
fn scanned(sdk_app_id: u64, item: &Attributes) -> Option<Listed> {
    let group_id = text_of(item, "pk")?.strip_prefix(&item::scoped_key(sdk_app_id, ""))?.to_owned();
    Some(listed(item, GroupKey { sdk_app_id, group_id }))
}

fn listed(item: &Attributes, key: GroupKey) -> Listed {
    Listed { key, facts: item::read(item), is_sweep_due: sweep::is_due(item) }
}
