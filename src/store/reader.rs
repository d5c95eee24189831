//! A reader of the table: the readers' rules and the two access patterns of `docs/table.md`.

use std::collections::HashMap;
use std::error::Error;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::KeysAndAttributes;

use super::read::BATCH_MAX_KEYS;
use super::{GROUP_SK, item, merge, partition_key, scoped_key, text_of};
use crate::event::{Attributes, GroupKey, text};

/// Reads groups as every program should that follows the table.
#[derive(Debug, Clone)]
pub struct Reader {
    client: Client,
    table_name: String,
}

/// A group that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The group item.
    pub group: Attributes,
    /// The items of its members, by account.
    pub members: Vec<Attributes>,
}

impl Reader {
    /// A table that exists.
    pub fn new(client: Client, table_name: String) -> Self {
        Self { client, table_name }
    }

    /// A group with its members; `None` where no group is there, whatever else is.
    pub async fn group(&self, key: &GroupKey) -> Result<Option<Group>, Box<dyn Error>> {
        let query = self
            .client
            .query()
            .table_name(&self.table_name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(partition_key(key)));
        // The group item first, then the members by their accounts.
        let mut items: Vec<Attributes> = query.into_paginator().items().send().try_collect().await?;
        if !items.first().is_some_and(Self::is_there) {
            return Ok(None);
        }
        let group = items.remove(0);
        items.retain(|item| Self::is_member(item, &group));
        Ok(Some(Group { group, members: items }))
    }

    /// The group items of all groups that an account owns or is a member of, by GroupId.
    pub async fn groups_of(&self, sdk_app_id: u64, account: &str) -> Result<Vec<Attributes>, Box<dyn Error>> {
        let query = self
            .client
            .query()
            .table_name(&self.table_name)
            .index_name("by_account")
            .key_condition_expression("account_key = :account_key")
            .expression_attribute_values(":account_key", text(scoped_key(sdk_app_id, account)));
        let entries: Vec<Attributes> = query.into_paginator().items().send().try_collect().await?;
        // By `pk`; an owner who is a member too has two entries.
        let mut keys: Vec<&str> = entries.iter().filter_map(|entry| text_of(entry, "pk")).collect();
        keys.dedup();
        let mut groups = Vec::new();
        for keys in keys.chunks(BATCH_MAX_KEYS) {
            groups.extend(self.group_items(keys).await?);
        }
        groups.retain(|group| {
            let of_group = |entry: &&Attributes| text_of(entry, "pk") == text_of(group, "pk");
            let is_owner = text_of(group, "owner_account") == Some(account);
            Self::is_there(group)
                && (is_owner || entries.iter().filter(of_group).any(|entry| Self::is_member(entry, group)))
        });
        groups.sort_by(|a, b| text_of(a, "pk").cmp(&text_of(b, "pk")));
        Ok(groups)
    }

    async fn group_items(&self, keys: &[&str]) -> Result<Vec<Attributes>, Box<dyn Error>> {
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(keys.iter().map(|pk| item::key(pk, GROUP_SK)).collect()))
            .build()?;
        let (mut pending, mut groups) = (HashMap::from([(self.table_name.clone(), keys)]), Vec::new());
        // DynamoDB answers with as many items as fit, and names the rest.
        while !pending.is_empty() {
            let answer = self.client.batch_get_item().set_request_items(Some(pending)).send().await?;
            groups.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
            pending = answer.unprocessed_keys.unwrap_or_default();
        }
        Ok(groups)
    }

    /// Whether an item is that of a group that is there.
    pub fn is_there(item: &Attributes) -> bool {
        text_of(item, "sk") == Some(GROUP_SK) && merge::is_there(&item::read(item))
    }

    /// Whether an item, or an entry of the index, is that of a member of a group that is there.
    pub fn is_member(item: &Attributes, group: &Attributes) -> bool {
        text_of(item, "sk") != Some(GROUP_SK) && merge::is_member(&item::read(item), &item::read(group))
    }
}
