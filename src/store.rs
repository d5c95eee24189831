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
mod reader;
mod scan;
mod sweep;

use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use futures_util::future::try_join_all;
use thiserror::Error;
use tokio::time::Instant;

pub(crate) use item::ItemKey;
pub use item::{GROUP_SK, partition_key, text_of};
pub(crate) use known::Known;
pub(crate) use merge::is_member;
pub(crate) use place::Lease;
pub use reader::{Group, Reader};
pub(crate) use scan::{Listed, Position, position};

use crate::event::{Attributes, Event, Facts, number};
use crate::retry::{Backoff, RetryError, hedged, retry_until};
use crate::time::to_seconds;
use insert::BATCH_MAX_STATEMENTS;
use merge::{Merged, is_of_earlier_life, merge};

/// How many requests of one event are under way at once.
const MAX_PARALLEL: usize = 16;

/// When a second attempt is made beside the first. DynamoDB takes some 20 ms for a hundred items.
const HEDGE_AFTER: Duration = Duration::from_millis(400);

/// How long the mark of a destroyed group or a left member stays, so that a late event finds it.
const TOMBSTONE_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

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

/// What an event changed, in one word: the greatest of what its items say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing changed: all of it was there.
    Duplicate,
    /// Nothing changed: newer facts are there.
    Stale,
    /// At least one fact is new.
    Stored,
    /// A new life of the group has begun in place of an earlier one.
    Replaced,
}

impl Effect {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Replaced => "replaced",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
        }
    }
}

impl Store {
    /// A store in a table that exists.
    pub fn new(client: Client, table_name: String) -> Self {
        Self { client, table_name }
    }

    /// Writes an event. One of few members reads nothing beforehand that is likely absent.
    pub async fn apply(&self, event: &Event, deadline: Instant) -> Result<Applied, StoreError> {
        if event.members.len() > BATCH_MAX_STATEMENTS {
            let known = self.known(&event.key, deadline).await?;
            self.write(event, Some(&known), deadline).await
        } else {
            self.write(event, None, deadline).await
        }
    }

    /// Writes an event of which a part may be in the table already, and removes what an earlier life left downstream: reads
    /// the partition first, and writes only what differs.
    pub async fn settle(&self, event: &Event, deadline: Instant) -> Result<Applied, StoreError> {
        let known = self.known(&event.key, deadline).await?;
        self.settle_over(event, &known, deadline).await
    }

    /// The same over what was read before.
    pub(crate) async fn settle_over(
        &self,
        event: &Event,
        known: &Known,
        deadline: Instant,
    ) -> Result<Applied, StoreError> {
        let applied = self.write(event, Some(known), deadline).await?;
        self.sweep(event, known, deadline).await;
        Ok(Applied { has_leftovers: false, ..applied })
    }

    /// Writes the members, then the group.
    async fn write(
        &self,
        event: &Event,
        known: Option<&Known>,
        deadline: Instant,
    ) -> Result<Applied, StoreError> {
        let members = self.write_members(event, known, deadline).await?;
        if event.group.is_empty() {
            return Ok(Applied { effect: members, has_leftovers: false });
        }
        let write = Write::new(ItemKey { group: &event.key, account: None }, &event.group, known);
        let (effect, has_leftovers) = match self.write_item(write, deadline).await? {
            Merged::Changed { is_new_life: true, .. } => (Effect::Replaced, true),
            Merged::Changed { .. } => (Effect::Stored, event.group.gone_at.is_some()),
            // Its members were written before it was known to be stale: out of sight, they are no news.
            Merged::Stale { is_earlier_life: true } => (Effect::Stale, members == Effect::Stored),
            Merged::Stale { .. } => (members.max(Effect::Stale), false),
            Merged::Unchanged => (members, false),
        };
        Ok(Applied { effect, has_leftovers })
    }

    async fn write_members(
        &self,
        event: &Event,
        known: Option<&Known>,
        deadline: Instant,
    ) -> Result<Effect, StoreError> {
        let group = known.map(|known| known.group_after(&event.group)).unwrap_or_default();
        let (outdated, current): (Vec<_>, Vec<_>) =
            event.members.iter().partition(|(_, said)| is_of_earlier_life(said, &group));
        let mut effect = if outdated.is_empty() { Effect::Duplicate } else { Effect::Stale };
        let writes = current.into_iter().map(|(account, said)| {
            Write::new(ItemKey { group: &event.key, account: Some(account) }, said, known)
        });
        let (mut absent, mut writes): (Vec<_>, Vec<_>) =
            writes.partition(|write| matches!(write.seen, Seen::Absent));
        if absent.len() == 1 {
            writes.append(&mut absent);
        }
        let count = absent.len();
        let refused = self.insert(absent, deadline).await?;
        if refused.len() < count {
            effect = Effect::Stored;
        }
        writes.extend(refused);
        for writes in chunks(writes, MAX_PARALLEL) {
            let merged =
                try_join_all(writes.into_iter().map(|write| self.write_item(write, deadline))).await?;
            effect = merged.iter().map(Merged::effect).fold(effect, Effect::max);
        }
        Ok(effect)
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
            let facts = known.as_ref().map(item::read).unwrap_or_default();
            if let Some(Own { is_new_life, .. }) =
                write.own.take_if(|own| known.as_ref().and_then(revision) == Some(&own.revision))
            {
                return Ok(Merged::Changed { facts, is_new_life });
            }
            let merged = merge(&facts, write.said);
            let Merged::Changed { facts, is_new_life } = &merged else {
                return Ok(merged);
            };
            let (item, revision) = stamp(write.key.write(facts, known.as_ref()), facts);
            match self.put(&item, known.as_ref(), deadline).await? {
                None => return Ok(merged),
                Some(seen) => write.seen = seen,
            }
            write.own = Some(Own { revision, is_new_life: *is_new_life });
            if known.is_some() {
                backoff.wait(deadline).await;
            }
        }
    }

    /// Puts an item in the place of `known`, if that is still there; else returns what is there.
    async fn put(
        &self,
        item: &Attributes,
        known: Option<&Attributes>,
        deadline: Instant,
    ) -> Result<Option<Seen>, StoreError> {
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
                Ok(_) => Ok(None),
                Err(error) => refusal(&error).map(Some).ok_or(error),
            }
        };
        Ok(retry_until(deadline, || hedged(HEDGE_AFTER, attempt)).await?)
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
fn refusal(error: &SdkError<PutItemError>) -> Option<Seen> {
    match error.as_service_error()? {
        PutItemError::ConditionalCheckFailedException(refused) => {
            Some(refused.item.clone().map_or(Seen::Absent, Seen::There))
        }
        _ => None,
    }
}

/// What makes each write recognizable: a random number. A counter would take an item that was removed and made again
/// for the one that was read. It has 53 bits, so that every JSON reader holds it exactly.
fn stamp(mut item: Attributes, facts: &Facts) -> (Attributes, AttributeValue) {
    let revision = number(fastrand::u64(1..1 << 53));
    item.insert("revision".to_owned(), revision.clone());
    if facts.gone_at.is_some() {
        let expires_at = to_seconds(SystemTime::now() + TOMBSTONE_TTL);
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

impl<'a> Write<'a> {
    /// Without a read of the partition, what a creation or a join speaks of is most likely absent.
    fn new(key: ItemKey<'a>, said: &'a Facts, known: Option<&Known>) -> Self {
        let seen = match known {
            Some(known) => known.item(&key.sk()).cloned().map_or(Seen::Absent, Seen::There),
            None if said.event_time.is_some() && said.gone_at.is_none() => Seen::Absent,
            None => Seen::Unknown,
        };
        Self { key, said, seen, own: None }
    }
}

impl Merged {
    /// What an item's change means for an event; whether a new life has begun is the group's to say.
    fn effect(&self) -> Effect {
        match self {
            Self::Changed { .. } => Effect::Stored,
            Self::Stale { .. } => Effect::Stale,
            Self::Unchanged => Effect::Duplicate,
        }
    }
}

/// Why an event could not be written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// DynamoDB, or the way to it, failed.
    #[error("the table failed")]
    Failed(#[from] RetryError),
    /// A statement was refused for good, or not answered.
    #[error("the table refused a statement: {0}")]
    Refused(String),
}
