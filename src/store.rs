//! The table: how an event is written so that it counts once, in any order, and shows only when it is whole.
//!
//! Each item is written by itself: read it (or assume that it is absent), merge, put it on the condition that its
//! `revision` is what was seen. Members go first and the group item last: it is the commit mark. A reader that queries
//! a partition reads the group item first, and so finds all of its members after it.

mod insert;
mod item;
mod known;
mod merge;
mod place;
mod read;
mod scan;
mod sweep;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use futures_util::future::try_join_all;
use thiserror::Error;
use tokio::time::Instant;

pub use item::{GROUP_SK, ItemKey, MEMBER_PREFIX, account_key, partition_key, text_of};
pub(crate) use known::Known;
pub use merge::is_member;
pub(crate) use place::Lease;
pub use read::Group;
pub(crate) use scan::{Listed, Position, position};

use crate::event::{Attributes, Event, Facts, number};
use crate::retry::{Backoff, RetryError, hedged, until};
use crate::time::to_seconds;
use insert::BATCH_MAX_STATEMENTS;
use merge::{Merged, is_of_earlier_life, merge};

/// How many requests of one event are under way at once.
const MAX_PARALLEL: usize = 16;

/// When a second attempt is made beside the first. DynamoDB takes some 20 ms for a hundred items.
const HEDGE_AFTER: Duration = Duration::from_millis(400);

/// How long the mark of a destroyed group or a left member stays, so that a late event finds it.
const MARK_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The DynamoDB table of groups and members.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    table_name: String,
}

/// What an event changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// In one word.
    pub effect: Effect,
    /// Whether items of an earlier life may be left, which [`Store::settle`] removes.
    pub has_leftovers: bool,
}

/// What an event changed, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// At least one fact is new.
    Stored,
    /// A new life of the group has begun in place of an earlier one.
    Replaced,
    /// Nothing changed: newer facts are there.
    Stale,
    /// Nothing changed: all of it was there.
    Duplicate,
}

/// The items of a partition as they were read, by range key.
type Partition = HashMap<String, Attributes>;

impl Store {
    /// A store in a table that exists.
    pub fn new(client: Client, table_name: String) -> Self {
        Self { client, table_name }
    }

    /// Writes an event. One of few members reads nothing beforehand that is likely absent.
    pub async fn apply(&self, event: &Event, deadline: Instant) -> Result<Applied, StoreError> {
        if event.members.len() > BATCH_MAX_STATEMENTS {
            let partition = self.partition(&event.key, deadline).await?;
            self.write(event, Some(&partition), deadline).await
        } else {
            self.write(event, None, deadline).await
        }
    }

    /// Writes an event of which a part may be in the table already, and removes what an earlier life left behind: reads
    /// the partition first, and writes only what differs.
    pub async fn settle(&self, event: &Event, deadline: Instant) -> Result<Applied, StoreError> {
        let known = self.known(&event.key, deadline).await?;
        self.settle_over(event, &known, deadline).await
    }

    /// Writes the members, then the group.
    async fn write(
        &self,
        event: &Event,
        partition: Option<&Partition>,
        deadline: Instant,
    ) -> Result<Applied, StoreError> {
        let mut tally = self.write_members(event, partition, deadline).await?;
        if !event.group.is_empty() {
            let write = Write::new(ItemKey { group: &event.key, account: None }, &event.group, partition);
            let group = self.write_item(write, deadline).await?;
            tally.has_leftovers = match &group {
                Merged::News { is_new_life, .. } => *is_new_life || event.group.gone_at.is_some(),
                // Its members were written before it was known to be stale: out of sight, they are no news.
                Merged::Outdated { is_earlier_life: true } => std::mem::take(&mut tally.has_news),
                Merged::Known | Merged::Outdated { .. } => false,
            };
            tally.add(&group);
            tally.is_new_life = matches!(group, Merged::News { is_new_life: true, .. });
        }
        Ok(tally.applied())
    }

    async fn write_members(
        &self,
        event: &Event,
        partition: Option<&Partition>,
        deadline: Instant,
    ) -> Result<Tally, StoreError> {
        let mut tally = Tally::default();
        let group = partition.map(|partition| group_after(event, partition)).unwrap_or_default();
        let (outdated, current): (Vec<_>, Vec<_>) =
            event.members.iter().partition(|(_, said)| is_of_earlier_life(said, &group));
        tally.is_outdated = !outdated.is_empty();
        let writes = current.into_iter().map(|(account, said)| {
            Write::new(ItemKey { group: &event.key, account: Some(account) }, said, partition)
        });
        let (mut absent, mut writes): (Vec<_>, Vec<_>) =
            writes.partition(|write| matches!(write.seen, Seen::Absent));
        if absent.len() == 1 {
            writes.append(&mut absent);
        }
        let count = absent.len();
        let refused = self.insert(absent, deadline).await?;
        tally.has_news = refused.len() < count;
        writes.extend(refused);
        for writes in chunks(writes, MAX_PARALLEL) {
            let merged =
                try_join_all(writes.into_iter().map(|write| self.write_item(write, deadline))).await?;
            merged.iter().for_each(|merged| tally.add(merged));
        }
        Ok(tally)
    }

    /// Brings one item to what is said, again and again until no other writer interferes.
    async fn write_item(&self, mut write: Write<'_>, deadline: Instant) -> Result<Merged, StoreError> {
        let mut backoff = Backoff::default();
        loop {
            let known = match write.seen {
                Seen::Unknown => self.item(write.key, deadline).await?,
                Seen::Absent => None,
                Seen::There(item) => Some(item),
            };
            let facts = known.as_ref().map(|item| write.key.read(item)).unwrap_or_default();
            if let Some(Own { is_new_life, .. }) =
                write.own.take_if(|own| known.as_ref().and_then(revision) == Some(&own.revision))
            {
                return Ok(Merged::News { facts, is_new_life });
            }
            let merged = merge(&facts, write.said);
            let Merged::News { facts, is_new_life } = &merged else {
                return Ok(merged);
            };
            let (item, revision) = stamp(write.key.write(facts, known.as_ref()), facts);
            write.seen = match self.put(&item, known.as_ref(), deadline).await? {
                Put::Done => return Ok(merged),
                Put::Refused(Some(item)) => Seen::There(item),
                Put::Refused(None) => Seen::Absent,
            };
            write.own = Some(Own { revision, is_new_life: *is_new_life });
            if known.is_some() {
                backoff.wait(deadline).await;
            }
        }
    }

    /// Puts an item in the place of `known`, if that is still there.
    async fn put(
        &self,
        item: &Attributes,
        known: Option<&Attributes>,
        deadline: Instant,
    ) -> Result<Put, StoreError> {
        let attempt = async || {
            let request = self
                .client
                .put_item()
                .table_name(&self.table_name)
                .set_item(Some(item.clone()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let request = match (known, known.and_then(revision)) {
                (None, _) => request.condition_expression("attribute_not_exists(pk)"),
                (Some(_), None) => request.condition_expression("attribute_not_exists(revision)"),
                (Some(_), Some(revision)) => request
                    .condition_expression("revision = :revision")
                    .expression_attribute_values(":revision", revision.clone()),
            };
            match request.send().await {
                Ok(_) => Ok(Put::Done),
                Err(error) => refusal(&error).ok_or(error),
            }
        };
        Ok(until(deadline, || hedged(HEDGE_AFTER, attempt)).await?)
    }
}

/// The items in chunks that take no more memory than they need, unlike those of `split_off`.
pub(crate) fn chunks<T>(items: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || {
        Some(items.by_ref().take(size).collect()).filter(|chunk: &Vec<T>| !chunk.is_empty())
    })
}

/// What refused a put, if that is why it failed.
fn refusal(error: &SdkError<PutItemError>) -> Option<Put> {
    match error.as_service_error()? {
        PutItemError::ConditionalCheckFailedException(refused) => Some(Put::Refused(refused.item.clone())),
        _ => None,
    }
}

/// What is known of the group once the event is written.
fn group_after(event: &Event, partition: &Partition) -> Facts {
    known_after(ItemKey { group: &event.key, account: None }, partition.get(GROUP_SK), &event.group)
}

/// What is known of an item once this is said.
fn known_after(key: ItemKey<'_>, item: Option<&Attributes>, said: &Facts) -> Facts {
    let known = item.map(|item| key.read(item)).unwrap_or_default();
    match merge(&known, said) {
        Merged::News { facts, .. } => facts,
        Merged::Known | Merged::Outdated { .. } => known,
    }
}

/// What makes each write recognizable: a random number. A counter would take an item that was removed and made again
/// for the one that was read. It has 53 bits, so that every JSON reader holds it exactly.
fn stamp(mut item: Attributes, facts: &Facts) -> (Attributes, AttributeValue) {
    let revision = number(fastrand::u64(1..1 << 53));
    item.insert("revision".to_owned(), revision.clone());
    if facts.gone_at.is_some() {
        let expires_at = to_seconds(SystemTime::now() + MARK_LIFETIME);
        item.insert("expires_at".to_owned(), number(expires_at));
    }
    (item, revision)
}

fn revision(item: &Attributes) -> Option<&AttributeValue> {
    item.get("revision")
}

/// What is to be written to one item, and what is assumed to be there.
struct Write<'a> {
    key: ItemKey<'a>,
    said: &'a Facts,
    seen: Seen,
    own: Option<Own>,
}

/// What is there, as far as it is known.
enum Seen {
    Unknown,
    Absent,
    There(Attributes),
}

/// A write whose answer may be lost: what refuses the next attempt may be this one.
struct Own {
    revision: AttributeValue,
    is_new_life: bool,
}

enum Put {
    Done,
    Refused(Option<Attributes>),
}

impl<'a> Write<'a> {
    /// Without a read of the partition, what a creation or a join speaks of is most likely absent.
    fn new(key: ItemKey<'a>, said: &'a Facts, partition: Option<&Partition>) -> Self {
        let seen = match partition {
            Some(partition) => partition.get(&key.sk()).cloned().map_or(Seen::Absent, Seen::There),
            None if said.event_time.is_some() && said.gone_at.is_none() => Seen::Absent,
            None => Seen::Unknown,
        };
        Self { key, said, seen, own: None }
    }
}

/// What the writes of one event have found.
#[derive(Debug, Default)]
struct Tally {
    has_news: bool,
    is_new_life: bool,
    is_outdated: bool,
    has_leftovers: bool,
}

impl Tally {
    fn add(&mut self, merged: &Merged) {
        match merged {
            Merged::News { .. } => self.has_news = true,
            Merged::Outdated { .. } => self.is_outdated = true,
            Merged::Known => {}
        }
    }

    fn applied(&self) -> Applied {
        let effect = match self {
            Self { is_new_life: true, .. } => Effect::Replaced,
            Self { has_news: true, .. } => Effect::Stored,
            Self { is_outdated: true, .. } => Effect::Stale,
            _ => Effect::Duplicate,
        };
        Applied { effect, has_leftovers: self.has_leftovers }
    }
}

/// Why an event could not be written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// DynamoDB, or the way to it, failed.
    #[error("the table failed")]
    Failed(#[from] RetryError),
    /// DynamoDB's answer is not one to the question.
    #[error("the table's answer has {found} results for {expected} statements")]
    Incomplete {
        /// How many statements were sent.
        expected: usize,
        /// How many results came back.
        found: usize,
    },
    /// A statement was refused for good.
    #[error("the table refused a statement: {0}")]
    Refused(String),
}
