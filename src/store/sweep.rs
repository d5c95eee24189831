//! Removes the items that an ended life of a group left behind.

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::merge::is_of_earlier_life;
use super::read::BATCH_MAX_KEYS;
use super::write::{is_refused, new_revision};
use super::{HEDGE_AFTER, ItemKey, MAX_PARALLEL, Store, StoreError, item, text_of};
use crate::event::{Attributes, Event, Facts, GroupKey, number, text};
use crate::retry::{RetryError, hedged, retry_until};

/// Whether the earlier lives of a group are swept: `false` since one ended, `true` once a sweep has come to its end.
pub(super) const SWEPT: &str = "swept";

/// How many items a sweep has in memory at once.
const PAGE_ITEMS: i32 = 500;

/// Whether a life of the group has ended and was not swept since then.
pub(super) fn is_due(group: &Attributes) -> bool {
    match group.get(SWEPT).and_then(|swept| swept.as_bool().ok()) {
        Some(is_swept) => !is_swept,
        None => group.contains_key("destroyed_at"),
    }
}

impl Store {
    /// Removes the members of earlier lives of an event's group: all of them where a life has ended, else those that the
    /// event itself has written too late. Returns whether it came to its end in time; readers don't see the rest.
    pub async fn sweep(&self, event: &Event, deadline: Instant) -> Result<bool, StoreError> {
        match self.sweep_all(event, deadline).await {
            Ok(()) => Ok(true),
            Err(StoreError::Failed(RetryError::TimedOut | RetryError::Transient(_))) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn sweep_all(&self, event: &Event, deadline: Instant) -> Result<(), StoreError> {
        let key = |account| ItemKey { group: &event.key, account };
        let Some(item) = self.item(key(None), deadline).await? else { return Ok(()) };
        let group = item::read(&item);
        if is_due(&item) {
            self.sweep_partition(&event.key, &group, deadline).await?;
            return self.mark_swept(&item, deadline).await;
        }
        let accounts: Vec<_> = event.members.keys().map(|account| key(Some(account.as_str()))).collect();
        for keys in accounts.chunks(BATCH_MAX_KEYS) {
            let keys = keys.iter().map(ItemKey::attributes).collect();
            let items = self.items(keys, true, deadline).await?;
            self.remove_leftovers(items, &group, deadline).await?;
        }
        Ok(())
    }

    /// Walks through all members, a page at a time.
    async fn sweep_partition(
        &self,
        key: &GroupKey,
        group: &Facts,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        let query = self
            .query(key)
            .key_condition_expression("pk = :pk AND begins_with(sk, :member)")
            .expression_attribute_values(":member", text(item::MEMBER_PREFIX))
            .projection_expression("pk, sk, event_time, left_at, changed_at, revision")
            .limit(PAGE_ITEMS);
        let mut start = None;
        loop {
            let attempt = || query.clone().set_exclusive_start_key(start.clone()).send();
            let page = retry_until(deadline, || hedged(HEDGE_AFTER, attempt)).await?;
            self.remove_leftovers(page.items.unwrap_or_default(), group, deadline).await?;
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    async fn remove_leftovers(
        &self,
        items: Vec<Attributes>,
        group: &Facts,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        let is_leftover = |item: &Attributes| is_of_earlier_life(&item::read(item), group);
        let leftovers: Vec<_> = items.into_iter().filter(is_leftover).collect();
        for leftovers in leftovers.chunks(MAX_PARALLEL) {
            if Instant::now() >= deadline {
                return Err(RetryError::TimedOut.into());
            }
            try_join_all(leftovers.iter().map(|item| self.remove(item, deadline))).await?;
        }
        Ok(())
    }

    /// Removes an item if it is still the one that was read.
    async fn remove(&self, item: &Attributes, deadline: Instant) -> Result<(), StoreError> {
        let attempt = async || {
            let request = self.client.delete_item().table_name(&self.table_name).set_key(key_of(item));
            let request = match item.get("revision") {
                Some(revision) => request
                    .condition_expression("revision = :revision")
                    .expression_attribute_values(":revision", revision.clone()),
                None => request.condition_expression("attribute_not_exists(revision)"),
            };
            match request.send().await {
                Err(error) if is_refused(&error) => Ok(()),
                result => result.map(drop),
            }
        };
        Ok(retry_until(deadline, attempt).await?)
    }

    /// Marks a group as swept, unless it has changed since the sweep began.
    async fn mark_swept(&self, group: &Attributes, deadline: Instant) -> Result<(), StoreError> {
        let Some(revision) = group.get("revision") else { return Ok(()) };
        let attempt = async || {
            let request = self
                .client
                .update_item()
                .table_name(&self.table_name)
                .set_key(key_of(group))
                .update_expression("SET swept = :swept, revision = :new")
                .condition_expression("revision = :revision")
                .expression_attribute_values(":swept", AttributeValue::Bool(true))
                .expression_attribute_values(":new", number(new_revision()))
                .expression_attribute_values(":revision", revision.clone());
            match request.send().await {
                Err(error) if is_refused(&error) => Ok(()),
                result => result.map(drop),
            }
        };
        Ok(retry_until(deadline, attempt).await?)
    }
}

fn key_of(item: &Attributes) -> Option<Attributes> {
    Some(item::key(text_of(item, "pk")?, text_of(item, "sk")?))
}
