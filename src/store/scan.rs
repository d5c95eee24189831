//! An application's groups by their items: all of them, page by page, or those that are named.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use tokio::time::Instant;

use super::{GROUP_SK, Store, StoreError, item, partition_key, text_of};
use crate::event::{Attributes, Facts, GroupKey, text};
use crate::retry::{Backoff, retry_until};

/// A group by its item.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The group.
    pub key: GroupKey,
    /// What its item says.
    pub facts: Facts,
}

impl Listed {
    /// GroupId.
    pub(crate) fn group_id(&self) -> &str {
        &self.key.group_id
    }

    /// Whether readers see the group.
    pub(crate) fn is_there(&self) -> bool {
        super::merge::is_there(&self.facts)
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
        Ok(Page { groups: items.iter().filter_map(|item| listed(sdk_app_id, item)).collect(), next })
    }

    /// These groups, as they were at most a second ago. Of one without an item, nothing is known.
    pub(crate) async fn listed(
        &self,
        keys: Vec<GroupKey>,
        deadline: Instant,
    ) -> Result<Vec<Listed>, StoreError> {
        let (mut facts, mut backoff) = (HashMap::new(), Backoff::default());
        let pks = keys.iter().map(|key| item::key(&partition_key(key), GROUP_SK)).collect();
        let request = KeysAndAttributes::builder().set_keys(Some(pks)).build();
        let request = request.map_err(|error| StoreError::Refused(error.to_string()))?;
        let mut pending = HashMap::from([(self.table_name.clone(), request)]);
        pending.retain(|_, request| !request.keys.is_empty());
        while !pending.is_empty() {
            let request = self.client.batch_get_item().set_request_items(Some(pending));
            let answer = retry_until(deadline, || request.clone().send()).await?;
            for item in answer.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                facts.extend(text_of(&item, "pk").map(|pk| (pk.to_owned(), item::read(&item))));
            }
            // DynamoDB answers with what fits, or what it has capacity for, and names the rest.
            pending = answer.unprocessed_keys.unwrap_or_default();
            if !pending.is_empty() {
                backoff.wait(deadline).await;
            }
        }
        let listed = |key| Listed { facts: facts.remove(&partition_key(&key)).unwrap_or_default(), key };
        Ok(keys.into_iter().map(listed).collect())
    }
}

/// Reads a group's item. Its id is taken from its key, which is what it is found by.
fn listed(sdk_app_id: u64, item: &Attributes) -> Option<Listed> {
    let group_id = text_of(item, "pk")?.strip_prefix(&item::scoped_key(sdk_app_id, ""))?.to_owned();
    let key = GroupKey { sdk_app_id, group_id };
    Some(Listed { key, facts: item::read(item) })
}
