//! Writing one item: merge into the stored facts, put on the condition that nobody else did meanwhile.

use std::time::SystemTime;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::merge::{Merged, merge};
use super::{
    Effect, HEDGE_AFTER, ItemKey, MAX_PARALLEL, Store, StoreError, TOMBSTONE_TTL, chunks, item, sweep,
};
use crate::event::{Attributes, Facts, number};
use crate::retry::{Backoff, hedged, retry_until};
use crate::time::to_seconds;

/// An item to be written, and its expected state.
pub(super) struct ItemWrite<'a> {
    pub key: ItemKey<'a>,
    pub incoming: &'a Facts,
    pub expected: Expected,
    pub attempt: Option<Attempt>,
}

/// The expected state of an item.
pub(super) enum Expected {
    Unread,
    Absent,
    Stored(Attributes),
}

/// Our previous attempt, whose response may be lost: if it did succeed, the next attempt's condition fails.
pub(super) struct Attempt {
    pub revision: u64,
    pub effect: Effect,
}

/// The result of writing one item.
pub(super) struct Written {
    pub effect: Effect,
    /// The facts that are stored now.
    pub facts: Facts,
    /// Whether a life of the group has ended and was not swept yet.
    pub is_sweep_due: bool,
}

impl<'a> ItemWrite<'a> {
    /// The item of a creation or a join is most likely absent.
    pub(super) fn new(key: ItemKey<'a>, incoming: &'a Facts) -> Self {
        let is_arrival = incoming.began.is_some() && incoming.ended.is_none();
        let expected = if is_arrival { Expected::Absent } else { Expected::Unread };
        Self { key, incoming, expected, attempt: None }
    }
}

impl Store {
    /// Writes members, in batches as far as they are absent; returns the strongest effect.
    pub(super) async fn write_members(
        &self,
        mut writes: Vec<ItemWrite<'_>>,
        deadline: Instant,
    ) -> Result<Effect, StoreError> {
        let mut effect = Effect::Duplicate;
        loop {
            self.read_expected(&mut writes, deadline).await?;
            let is_absent = |write: &ItemWrite<'_>| matches!(write.expected, Expected::Absent);
            if writes.iter().filter(|write| is_absent(write)).count() < 2 {
                break;
            }
            let (absent, stored): (Vec<_>, Vec<_>) = writes.into_iter().partition(is_absent);
            let count = absent.len();
            let mut refused = self.insert(absent, deadline).await?;
            if refused.len() < count {
                effect = Effect::Stored;
            }
            // Two writers of the same event then don't collide on each member.
            fastrand::shuffle(&mut refused);
            writes = stored;
            writes.extend(refused);
        }
        for writes in chunks(writes, MAX_PARALLEL) {
            let written = writes.into_iter().map(|write| self.write_item(write, deadline));
            let written = try_join_all(written).await?;
            effect = written.iter().map(|written| written.effect).fold(effect, Effect::max);
        }
        // Whether a new life has begun is for the group to say.
        Ok(effect.min(Effect::Stored))
    }

    /// Merges facts into one item, retrying while other writers win.
    pub(super) async fn write_item(
        &self,
        mut write: ItemWrite<'_>,
        deadline: Instant,
    ) -> Result<Written, StoreError> {
        let mut backoff = Backoff::default();
        loop {
            let stored = match write.expected {
                Expected::Unread => self.item(write.key, deadline).await?,
                Expected::Absent => None,
                Expected::Stored(item) => Some(item),
            };
            let facts = stored.as_ref().map(item::read).unwrap_or_default();
            let is_sweep_due = stored.as_ref().is_some_and(sweep::is_due);
            let is_own =
                |attempt: &mut Attempt| stored.as_ref().and_then(revision_of) == Some(attempt.revision);
            if let Some(Attempt { effect, .. }) = write.attempt.take_if(is_own) {
                return Ok(Written { effect, facts, is_sweep_due });
            }
            let (merged, effect) = match merge(&facts, write.incoming) {
                Merged::Unchanged => return Ok(Written { effect: Effect::Duplicate, facts, is_sweep_due }),
                Merged::Stale => return Ok(Written { effect: Effect::Stale, facts, is_sweep_due }),
                Merged::Changed { facts, is_new_life: true } => (facts, Effect::Replaced),
                Merged::Changed { facts, is_new_life: false } => (facts, Effect::Stored),
            };
            let merged = item::cut(&merged).unwrap_or(merged);
            let ends_life = effect == Effect::Replaced || merged.ended_at() != facts.ended_at();
            let item = Item {
                key: write.key,
                facts: &merged,
                stored: stored.as_ref(),
                ends_life: ends_life && write.key.account.is_none(),
                revision: new_revision(),
            };
            match self.put(&item, deadline).await? {
                None => {
                    let is_sweep_due = is_sweep_due || item.ends_life;
                    return Ok(Written { effect, facts: merged, is_sweep_due });
                }
                Some(present) => write.expected = present,
            }
            write.attempt = Some(Attempt { revision: item.revision, effect });
            if stored.is_some() {
                backoff.wait(deadline).await;
            }
        }
    }

    /// Puts an item in the place of the stored one; returns the present one if that is another.
    async fn put(&self, item: &Item<'_>, deadline: Instant) -> Result<Option<Expected>, StoreError> {
        let attempt = async || {
            let request = self
                .client
                .put_item()
                .table_name(&self.table_name)
                .set_item(Some(item.attributes()))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let request = match (item.stored, item.stored.and_then(|stored| stored.get("revision"))) {
                (None, _) => request.condition_expression("attribute_not_exists(pk)"),
                // Another program may have written it without one.
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

/// An item as it is to be stored.
struct Item<'a> {
    key: ItemKey<'a>,
    facts: &'a Facts,
    stored: Option<&'a Attributes>,
    ends_life: bool,
    revision: u64,
}

/// Typical attribute count; reserving it halves the cost of building an item.
const ITEM_CAPACITY: usize = 20;

impl Item<'_> {
    /// Attributes of the stored item that are not known here stay.
    fn attributes(&self) -> Attributes {
        let mut item = Attributes::with_capacity(ITEM_CAPACITY);
        let unmanaged = self.stored.into_iter().flat_map(|stored| self.key.unmanaged(stored));
        item.extend(unmanaged.map(|(name, value)| (name.clone(), value.clone())));
        let mut put = |name: &str, value| drop(item.insert(name.to_owned(), value));
        self.key.write(self.facts, &mut put);
        stamp(self.facts, self.revision, &mut put);
        if self.ends_life {
            put(sweep::SWEPT, AttributeValue::Bool(false));
        }
        item
    }
}

/// Adds the attributes that depend on the write and not on facts alone.
pub(super) fn stamp(facts: &Facts, revision: u64, mut put: impl FnMut(&str, AttributeValue)) {
    put("revision", number(revision));
    if facts.ended.is_some() {
        put("expires_at", number(to_seconds(SystemTime::now() + TOMBSTONE_TTL)));
    }
}

/// A random number, which makes each write recognizable: with a counter, an item that was removed and made again could
/// pass for the one that was read. It has 53 bits, so that every JSON reader holds it exactly.
pub(super) fn new_revision() -> u64 {
    fastrand::u64(1..1 << 53)
}

fn revision_of(item: &Attributes) -> Option<u64> {
    item.get("revision")?.as_n().ok()?.parse().ok()
}

/// Whether a write failed because another writer has changed the item.
pub(super) fn is_refused<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
}

/// The present item, if a put failed because it is another one.
fn refusal(error: &SdkError<PutItemError>) -> Option<Expected> {
    match error.as_service_error()? {
        PutItemError::ConditionalCheckFailedException(refused) => {
            Some(refused.item.clone().map_or(Expected::Absent, Expected::Stored))
        }
        _ => None,
    }
}
