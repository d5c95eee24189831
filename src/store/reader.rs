//! A program that reads the table, by the readers' rule and the two access patterns of `docs/table.md`.

use std::collections::HashMap;
use std::error::Error;

use super::{GROUP_SK, partition_key, text_of};
use crate::event::{Attributes, GroupKey};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};

/// The most keys in one batch.
const BATCH_MAX_KEYS: usize = 100;

/// A table, read by its own items' attributes alone.
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
            .expression_attribute_values(":pk", AttributeValue::S(partition_key(key)));
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
            .expression_attribute_values(
                ":account_key",
                AttributeValue::S(format!("{sdk_app_id}#{account}")),
            );
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
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let key = |pk: &&str| HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(GROUP_SK))]);
        let keys = KeysAndAttributes::builder().set_keys(Some(keys.iter().map(key).collect())).build()?;
        let (mut pending, mut groups) = (HashMap::from([(self.table_name.clone(), keys)]), Vec::new());
        // DynamoDB answers with what fits and names the rest.
        while !pending.is_empty() {
            let answer = self.client.batch_get_item().set_request_items(Some(pending)).send().await?;
            groups.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
            pending = answer.unprocessed_keys.unwrap_or_default();
        }
        Ok(groups)
    }

    /// Whether a group is there, by its item.
    pub fn is_there(group: &Attributes) -> bool {
        text_of(group, "sk") == Some(GROUP_SK)
            && group.contains_key("event_time")
            && !group.contains_key("destroyed_at")
    }

    /// Whether an item, or an entry of the index, is a member's of a group.
    pub fn is_member(item: &Attributes, group: &Attributes) -> bool {
        let event_time = |item: &Attributes| item.get("event_time")?.as_n().ok()?.parse::<u64>().ok();
        text_of(item, "sk") != Some(GROUP_SK)
            && !item.contains_key("left_at")
            && event_time(item).is_some_and(|time| Some(time) >= event_time(group))
    }
}
