//! What is there: the readers' rule, and the table's access patterns.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use tokio::time::Instant;

use super::{GROUP_SK, ItemKey, Known, Store, StoreError, is_member, item, text_of};
use crate::event::{Attributes, Facts, GroupKey, text};
use crate::retry::until;

/// The most keys in one DynamoDB batch read.
const BATCH_MAX_KEYS: usize = 100;

/// What a reader may take.
const READ_BUDGET: Duration = Duration::from_secs(10);

/// A group as readers see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The group item.
    pub group: Attributes,
    /// The items of its members, by account.
    pub members: Vec<Attributes>,
}

impl Store {
    /// A group with its members; `None` where no group is there, whatever else is.
    pub async fn group(&self, key: &GroupKey) -> Result<Option<Group>, StoreError> {
        let Known(mut items) = self.known(key, Instant::now() + READ_BUDGET).await?;
        let Some(group) = items.remove(GROUP_SK) else {
            return Ok(None);
        };
        let facts = item::read(&group);
        let is_member = |(_, found): &(String, Attributes)| is_member(&item::read(found), &facts);
        let mut members: Vec<(String, Attributes)> = items.into_iter().filter(is_member).collect();
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        let members = members.into_iter().map(|(_, member)| member).collect();
        Ok(is_there(&facts).then_some(Group { group, members }))
    }

    /// The group items of all groups that an account owns or is a member of, by GroupId.
    pub async fn groups_of(&self, sdk_app_id: u64, account: &str) -> Result<Vec<Attributes>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table_name)
            .index_name("by_account")
            .key_condition_expression("account_key = :account_key")
            .expression_attribute_values(":account_key", text(item::of_application(sdk_app_id, account)));
        let entries = pages(&query, Instant::now() + READ_BUDGET).await?;
        // Sorted by `pk`; an owner who is a member too has two entries.
        let mut keys: Vec<&str> = entries.iter().filter_map(|entry| text_of(entry, "pk")).collect();
        keys.dedup();
        let mut groups = Vec::new();
        for chunk in keys.chunks(BATCH_MAX_KEYS) {
            groups.extend(self.group_items(chunk).await?);
        }
        groups.retain(|group| is_of(group, account, &entries));
        groups.sort_by(|a, b| text_of(a, "pk").cmp(&text_of(b, "pk")));
        Ok(groups)
    }

    /// The items of one group, as they are.
    pub(crate) async fn known(&self, key: &GroupKey, deadline: Instant) -> Result<Known, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table_name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(item::partition_key(key)));
        let items = pages(&query, deadline).await?;
        let by_sk = items.into_iter().filter_map(|item| Some((text_of(&item, "sk")?.to_owned(), item)));
        Ok(Known(by_sk.collect()))
    }

    /// One item, as it is.
    pub(super) async fn item(
        &self,
        key: ItemKey<'_>,
        deadline: Instant,
    ) -> Result<Option<Attributes>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table_name)
            .consistent_read(true)
            .set_key(Some(key.attributes()));
        let attempt = || super::hedged(super::HEDGE_AFTER, || request.clone().send());
        Ok(until(deadline, attempt).await?.item)
    }

    /// The group items of these hash keys, as far as they are there.
    pub(super) async fn group_items(&self, keys: &[&str]) -> Result<Vec<Attributes>, StoreError> {
        let keys = keys.iter().map(|pk| item::key(pk, GROUP_SK)).collect();
        let request = KeysAndAttributes::builder().set_keys(Some(keys)).build();
        let request = request.map_err(|error| StoreError::Refused(error.to_string()))?;
        let mut pending = Some(HashMap::from([(self.table_name.clone(), request)]));
        let mut groups = Vec::new();
        // DynamoDB answers with what fits and names the rest.
        while let Some(keys) = pending.filter(|keys| !keys.is_empty()) {
            let request = self.client.batch_get_item().set_request_items(Some(keys));
            let answer = until(Instant::now() + READ_BUDGET, || request.clone().send()).await?;
            groups.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
            pending = answer.unprocessed_keys;
        }
        Ok(groups)
    }
}

/// Whether a group of these facts is there.
pub fn is_there(group: &Facts) -> bool {
    group.event_time.is_some() && group.gone_at.is_none()
}

/// Whether a group is one of an account's: owned, or joined in its present life.
fn is_of(group: &Attributes, account: &str, entries: &[Attributes]) -> bool {
    let (pk, facts) = (text_of(group, "pk"), item::read(group));
    let mut joined =
        entries.iter().filter(|entry| text_of(entry, "pk") == pk && text_of(entry, "sk") != Some(GROUP_SK));
    let is_joined = joined.any(|entry| is_member(&item::read(entry), &facts));
    is_there(&facts) && (is_joined || text_of(group, "owner_account") == Some(account))
}

/// All items of a query, page by page.
async fn pages(
    query: &aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder,
    deadline: Instant,
) -> Result<Vec<Attributes>, StoreError> {
    let (mut items, mut start) = (Vec::new(), None);
    loop {
        let page = || query.clone().set_exclusive_start_key(start.clone()).send();
        let answer = until(deadline, || super::hedged(super::HEDGE_AFTER, page)).await?;
        items.extend(answer.items.unwrap_or_default());
        start = answer.last_evaluated_key;
        if start.is_none() {
            return Ok(items);
        }
    }
}
