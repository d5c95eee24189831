//! A reader of the table: the readers' rules and the two access patterns of `docs/table.md`.

use std::error::Error;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use tokio::time::Instant;

use super::read::BATCH_MAX_KEYS;
use super::{GROUP_SK, Store, item, merge, scoped_key, text_of};
use crate::event::{Attributes, GroupKey, text};

/// How long reading some group items may take, repeated attempts included.
const BUDGET: Duration = Duration::from_secs(20);

/// Reads groups as every program should that follows the table.
#[derive(Debug, Clone)]
pub struct Reader {
    store: Store,
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
        Self { store: Store::new(client, table_name) }
    }

    /// A group with its members; `None` where no group is there, whatever else is.
    pub async fn group(&self, key: &GroupKey) -> Result<Option<Group>, Box<dyn Error>> {
        // The group item first, then the members by their accounts.
        let items = self.store.query(key).into_paginator().items().send();
        let mut items: Vec<Attributes> = items.try_collect().await?;
        if !items.first().is_some_and(Self::is_there) {
            return Ok(None);
        }
        let group = items.remove(0);
        items.retain(|item| Self::is_member(item, &group));
        Ok(Some(Group { group, members: items }))
    }

    /// The group items of all groups that an account owns or is a member of, by GroupId.
    pub async fn groups_of(&self, sdk_app_id: u64, account: &str) -> Result<Vec<Attributes>, Box<dyn Error>> {
        let Store { client, table_name } = &self.store;
        let query = client
            .query()
            .table_name(table_name)
            .index_name("by_account")
            .key_condition_expression("account_key = :account_key")
            .expression_attribute_values(":account_key", text(scoped_key(sdk_app_id, account)));
        let entries: Vec<Attributes> = query.into_paginator().items().send().try_collect().await?;
        // By `pk`; an owner who is a member too has two entries.
        let mut keys: Vec<&str> = entries.iter().filter_map(|entry| text_of(entry, "pk")).collect();
        keys.dedup();
        let mut groups = Vec::new();
        for keys in keys.chunks(BATCH_MAX_KEYS) {
            let keys = keys.iter().map(|pk| item::key(pk, GROUP_SK)).collect();
            groups.extend(self.store.items(keys, false, Instant::now() + BUDGET).await?);
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

    /// Whether an item is that of a group that is there.
    pub fn is_there(item: &Attributes) -> bool {
        text_of(item, "sk") == Some(GROUP_SK) && merge::is_there(&item::read(item))
    }

    /// Whether an item, or an entry of the index, is that of a member of a group that is there.
    pub fn is_member(item: &Attributes, group: &Attributes) -> bool {
        text_of(item, "sk") != Some(GROUP_SK) && merge::is_member(&item::read(item), &item::read(group))
    }
}
