//! The table as the page reads it. Queries and single reads are enough for everything but the list of all groups.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use chat_groups::event::Attributes;
use chat_groups::store::{GROUP_SK, text_of};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::trouble::Trouble;
use super::view::{self, Tally};

/// How many groups of one account are read.
const GROUPS_MAX: usize = 500;
const READS_AT_ONCE: usize = 8;

/// On demand, eventually consistent reads: half a unit for 4 KB. The price is that of us-east-1.
const BYTES_PER_UNIT: i64 = 8192;
const DOLLARS_PER_UNIT: f64 = 0.125 / 1_000_000.0;

/// The attributes that the list needs.
const LISTED: [&str; 10] = [
    "pk",
    "sk",
    "group_id",
    "type",
    "name",
    "owner_account",
    "event_time",
    "changed_at",
    "destroyed_at",
    "left_at",
];

/// The table of one application.
pub struct Table {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) sdk_app_id: u64,
}

impl Table {
    /// A table of the application `sdk_app_id`.
    pub fn new(client: Client, name: String, sdk_app_id: u64) -> Self {
        Self { client, name, sdk_app_id }
    }

    /// The table of the application that its first items name; it takes the right to scan.
    pub async fn of_first_items(client: Client, name: String) -> Result<Option<Self>, Trouble> {
        let scan = client.scan().table_name(&name).limit(100).projection_expression("pk");
        let page = scan.send().await.map_err(|error| Trouble::of_table(error, &name, "Scan"))?;
        let prefixes = page.items().iter().filter_map(|item| text_of(item, "pk")?.split_once('#'));
        let sdk_app_id = prefixes.into_iter().find_map(|(prefix, _)| prefix.parse().ok());
        Ok(sdk_app_id.map(|sdk_app_id| Self::new(client, name, sdk_app_id)))
    }

    pub(super) fn region(&self) -> Option<String> {
        self.client.config().region().map(ToString::to_string)
    }

    /// All items of a group, the group item first.
    pub(super) async fn partition(&self, group_id: &str) -> Result<Vec<Attributes>, Trouble> {
        self.client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", self.key(group_id))
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| Trouble::of_table(error, &self.name, "Query"))
    }

    /// The groups that an account owns or is a member of, with what it is there.
    pub(super) async fn groups_of(&self, account: &str) -> Result<Value, Trouble> {
        // Sorted by `pk`: an owner who is a member too stands there twice.
        let mut entries: Vec<(String, Vec<Attributes>)> = Vec::new();
        for entry in self.entries(account).await? {
            let pk = text_of(&entry, "pk").unwrap_or_default().to_owned();
            match entries.last_mut() {
                Some((last, same)) if *last == pk => same.push(entry),
                _ => entries.push((pk, vec![entry])),
            }
        }
        let truncated = entries.len() > GROUPS_MAX;
        entries.truncate(GROUPS_MAX);
        let groups: Vec<Option<Value>> = stream::iter(entries)
            .map(|(pk, entries)| async move {
                let group = self.group_item(&pk).await?;
                Ok(group.and_then(|group| view::row_of_account(&group, &entries, account)))
            })
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(json!({ "groups": groups.into_iter().flatten().collect::<Vec<_>>(), "truncated": truncated }))
    }

    /// What the index holds of an account: enough for the groups that are read.
    async fn entries(&self, account: &str) -> Result<Vec<Attributes>, Trouble> {
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .index_name("by_account")
            .key_condition_expression("account_key = :account_key")
            .expression_attribute_values(":account_key", self.key(account));
        let mut pages = query.into_paginator().items().send();
        let mut entries = Vec::new();
        while let Some(entry) = pages.next().await {
            entries.push(entry.map_err(|error| Trouble::of_table(error, &self.name, "Query"))?);
            if entries.len() > 2 * GROUPS_MAX {
                break;
            }
        }
        Ok(entries)
    }

    async fn group_item(&self, pk: &str) -> Result<Option<Attributes>, Trouble> {
        let get = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", AttributeValue::S(pk.to_owned()))
            .key("sk", AttributeValue::S(GROUP_SK.to_owned()));
        let answer = get.send().await.map_err(|error| Trouble::of_table(error, &self.name, "GetItem"))?;
        Ok(answer.item)
    }

    /// How large the table is and what reading all of it costs; `None` without the right to ask.
    pub(super) async fn size(&self) -> Option<Value> {
        let table = self.client.describe_table().table_name(&self.name).send().await.ok()?.table?;
        let bytes = table.table_size_bytes()?;
        let units = bytes.div_euclid(BYTES_PER_UNIT) + 1;
        #[expect(clippy::cast_precision_loss, reason = "a rough price")]
        let dollars = units as f64 * DOLLARS_PER_UNIT;
        Some(json!({ "bytes": bytes, "items": table.item_count(), "units": units, "dollars": dollars }))
    }

    /// Reads the whole table, a page at a time.
    pub(super) fn scan(&self) -> Scan {
        Scan {
            client: self.client.clone(),
            table_name: self.name.clone(),
            next: Some(HashMap::new()),
            tally: Tally::default(),
            read: Read::default(),
        }
    }

    fn key(&self, id: &str) -> AttributeValue {
        AttributeValue::S(format!("{}#{id}", self.sdk_app_id))
    }
}

/// A Scan under way.
pub(super) struct Scan {
    client: Client,
    table_name: String,
    /// Where the next page begins; empty for the first, `None` after the last.
    next: Option<Attributes>,
    /// The group whose items are being read: a page may end among them.
    tally: Tally,
    read: Read,
}

/// What a Scan has cost so far.
#[derive(Default)]
struct Read {
    pages: u32,
    items: u64,
    units: f64,
    hidden: u64,
}

impl Scan {
    pub(super) fn is_done(&self) -> bool {
        self.next.is_none()
    }

    /// The groups that one page completes.
    pub(super) async fn next_page(&mut self) -> Result<Value, Trouble> {
        let names = LISTED.iter().map(|name| (format!("#{name}"), (*name).to_owned())).collect();
        let start = self.next.take().filter(|key| !key.is_empty());
        let page = self
            .client
            .scan()
            .table_name(&self.table_name)
            .projection_expression(LISTED.map(|name| format!("#{name}")).join(","))
            .set_expression_attribute_names(Some(names))
            .set_exclusive_start_key(start)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| Trouble::of_table(error, &self.table_name, "Scan"))?;
        self.read.pages += 1;
        self.read.units += page.consumed_capacity.and_then(|capacity| capacity.capacity_units).unwrap_or(0.0);
        self.next = page.last_evaluated_key;
        let rows = self.rows(page.items.unwrap_or_default());
        let Read { pages, items, units, hidden } = &self.read;
        let is_done = self.is_done();
        Ok(
            json!({ "rows": rows, "pages": pages, "items": items, "units": units, "hidden": hidden, "done": is_done }),
        )
    }

    fn rows(&mut self, items: Vec<Attributes>) -> Vec<Value> {
        let mut rows = Vec::new();
        for item in items {
            self.read.items += 1;
            if let Some(complete) = self.tally.add(item) {
                self.take(complete, &mut rows);
            }
        }
        if self.is_done() {
            let last = std::mem::take(&mut self.tally);
            self.take(last, &mut rows);
        }
        rows
    }

    /// Groups that are not there (destroyed, or not announced yet) are only counted.
    fn take(&mut self, tally: Tally, rows: &mut Vec<Value>) {
        match tally.row() {
            row if row["state"] == "there" => rows.push(row),
            row if row["state"] != "absent" => self.read.hidden += 1,
            _ => {}
        }
    }
}
