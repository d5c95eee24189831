//! The history: a table of its own with each change, for a number of days.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use tokio::time::Instant;

use super::event::attributes;
use super::{CloudEvent, FeedError, Owed};
use crate::event::{Attributes, fact, number, text};
use crate::retry::{Backoff, retry_until};
use crate::store::scoped_key;
use crate::time::EventTime;

/// The most items of a request.
const MAX_ITEMS: usize = 25;

/// The history's table.
#[derive(Debug, Clone)]
pub struct History {
    client: Client,
    table_name: String,
    lifetime: Duration,
}

impl History {
    /// A history in a table that exists, where each change stays for so many days.
    pub fn new(client: Client, table_name: String, days: u32) -> Self {
        Self { client, table_name, lifetime: Duration::from_secs(u64::from(days) * 24 * 60 * 60) }
    }

    /// Writes events. One that is written again makes the same item.
    pub async fn put(&self, events: &[CloudEvent], deadline: Instant) -> Result<(), Owed> {
        for (number, events) in events.chunks(MAX_ITEMS).enumerate() {
            let items: Vec<_> = events.iter().map(|event| item(event, self.lifetime)).collect();
            if let Err((left, error)) = self.put_items(&items, deadline).await {
                let is_left = |item: &Attributes| left.iter().any(|put| is_same(put, item));
                let index = items.iter().position(is_left).unwrap_or_default();
                return Err(Owed { index: number * MAX_ITEMS + index, error });
            }
        }
        Ok(())
    }

    /// Writes items with one request, and those that it leaves with others. An error comes with the items that are left.
    async fn put_items(
        &self,
        items: &[Attributes],
        deadline: Instant,
    ) -> Result<(), (Vec<Attributes>, FeedError)> {
        let mut pending = Vec::<Attributes>::with_capacity(items.len());
        for item in items {
            // DynamoDB refuses a request that names an item twice.
            if !pending.iter().any(|other| is_same(other, item)) {
                pending.push(item.clone());
            }
        }
        let mut backoff = Backoff::default();
        loop {
            let requests: Vec<_> = pending.iter().filter_map(put_request).collect();
            let tables = HashMap::from([(self.table_name.clone(), requests)]);
            let attempt = || self.client.batch_write_item().set_request_items(Some(tables.clone())).send();
            let answer = match retry_until(deadline, attempt).await {
                Ok(answer) => answer,
                Err(error) => return Err((pending, FeedError::History(error))),
            };
            let left = answer.unprocessed_items.into_iter().flatten().flat_map(|(_, requests)| requests);
            pending = left.filter_map(|request| Some(request.put_request?.item)).collect();
            if pending.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err((pending, FeedError::Unprocessed));
            }
            backoff.wait(deadline).await;
        }
    }
}

fn put_request(item: &Attributes) -> Option<WriteRequest> {
    // Only a request without an item can't be built.
    let put = PutRequest::builder().set_item(Some(item.clone())).build().ok()?;
    Some(WriteRequest::builder().put_request(put).build())
}

/// The item of an event.
fn item(event: &CloudEvent, lifetime: Duration) -> Attributes {
    let data = &event.data;
    let recorded_at = event.recorded_at.unwrap_or(EventTime::from_millis(data.at));
    let expires_at = (recorded_at + lifetime).as_millis() / 1000;
    let sequence = event.sequence.as_deref().unwrap_or_default();
    let list = |names: &[String]| AttributeValue::L(names.iter().map(text).collect());
    let map = |image| AttributeValue::M(attributes(image));
    let attributes = [
        ("pk", Some(text(scoped_key(data.sdk_app_id, &data.group_id)))),
        ("sk", Some(text(format!("{:015}#{sequence}", data.at)))),
        ("account_key", account_of(event).map(|account| text(scoped_key(data.sdk_app_id, account)))),
        ("event_id", Some(text(&event.id))),
        ("type", Some(text(&event.r#type))),
        ("group_id", Some(text(&data.group_id))),
        ("account", data.account.as_ref().map(text)),
        ("at", Some(number(data.at))),
        ("by", data.by.as_ref().map(text)),
        ("changed", Some(list(&data.changed)).filter(|_| !data.changed.is_empty())),
        ("before", data.before.as_ref().map(map)),
        ("after", Some(map(&data.after))),
        ("omitted", Some(list(&data.omitted)).filter(|_| !data.omitted.is_empty())),
        ("recorded_at", Some(number(recorded_at))),
        ("expires_at", Some(number(expires_at))),
    ];
    attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The account in whose history an event stands: the member's, or the new owner's.
fn account_of(event: &CloudEvent) -> Option<&str> {
    let is_of_owner = || event.data.changed.iter().any(|name| name == fact::OWNER_ACCOUNT);
    let owner = || event.data.after.get(fact::OWNER_ACCOUNT)?.as_str().filter(|_| is_of_owner());
    event.data.account.as_deref().or_else(owner)
}

/// Whether two items have the same key.
fn is_same(a: &Attributes, b: &Attributes) -> bool {
    ["pk", "sk"].iter().all(|name| a.get(*name) == b.get(*name))
}
