//! The table's two access patterns: a group with its members, and the groups of an account.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::KeysAndAttributes;

use crate::attribute::Attributes;
use crate::item;
use crate::store::{Store, StoreError};

/// The most keys in one DynamoDB batch read.
const BATCH_MAX_KEYS: usize = 100;

/// A group as readers see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The group item.
    pub group: Attributes,
    /// The member items, by account.
    pub members: Vec<Attributes>,
}

impl Store {
    /// A group with its members; `None` where there is no group item, whatever else is there.
    pub async fn group(&self, sdk_app_id: u64, group_id: &str) -> Result<Option<Group>, StoreError> {
        let items = self.partition(&item::partition_key(sdk_app_id, group_id), None).await?;
        let (groups, mut members): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| item::text_of(item, "sk") == Some(item::GROUP_SK));
        Ok(groups.into_iter().next().map(|group| {
            // What a killed writer of another event has left behind is no member of this group.
            members.retain(|member| item::event_time(member) == item::event_time(&group));
            Group { group, members }
        }))
    }

    /// The group items of all groups that an account owns or was an initial member of, by GroupId.
    pub async fn groups_of(&self, sdk_app_id: u64, account: &str) -> Result<Vec<Attributes>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table_name)
            .index_name("by_account")
            .key_condition_expression("account_key = :account_key")
            .expression_attribute_values(":account_key", item::text(item::account_key(sdk_app_id, account)));
        let entries: Vec<Attributes> = query
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(StoreError::failed)?;
        // Sorted by `pk`; an owner who is a member too stands there twice.
        let mut keys: Vec<&str> = entries.iter().filter_map(|entry| item::text_of(entry, "pk")).collect();
        keys.dedup();
        let mut groups = Vec::new();
        for chunk in keys.chunks(BATCH_MAX_KEYS) {
            groups.extend(self.group_items(chunk).await?);
        }
        groups.sort_by(|a, b| item::text_of(a, "pk").cmp(&item::text_of(b, "pk")));
        Ok(groups)
    }

    /// All items of one hash key, or some attributes of them.
    pub(crate) async fn partition(
        &self,
        pk: &str,
        attributes: Option<&str>,
    ) -> Result<Vec<Attributes>, StoreError> {
        self.client
            .query()
            .table_name(&self.table_name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", item::text(pk))
            .set_projection_expression(attributes.map(str::to_owned))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<_, _>>()
            .await
            .map_err(StoreError::failed)
    }

    /// The group items of these hash keys, as far as they are there.
    async fn group_items(&self, keys: &[&str]) -> Result<Vec<Attributes>, StoreError> {
        let keys = keys.iter().map(|pk| item::key(pk, item::GROUP_SK)).collect();
        let request = KeysAndAttributes::builder().set_keys(Some(keys)).build()?;
        let mut pending = Some(HashMap::from([(self.table_name.clone(), request)]));
        let mut groups = Vec::new();
        // DynamoDB answers with what fits and names the rest.
        while let Some(keys) = pending.filter(|keys| !keys.is_empty()) {
            let request = self.client.batch_get_item().set_request_items(Some(keys));
            let answer = request.send().await.map_err(StoreError::failed)?;
            groups.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
            pending = answer.unprocessed_keys;
        }
        Ok(groups)
    }
}
