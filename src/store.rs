//! The table: how an event is written so that it counts once, in any order, and shows only when it is whole.
//!
//! Each item is written by itself: read it (or assume that it is absent), merge, put it on the condition that its
//! `revision` is still the one that was read. Members go first and the group item last: it is the commit mark. A reader
//! that queries a partition reads the group item first, and so finds all of its members after it.
//!
//! An event costs reads and writes of the items that it names. Only a sweep walks through a partition.

mod change;
mod insert;
mod item;
mod lease;
mod merge;
mod page;
mod partition;
#[cfg(test)]
#[expect(clippy::panic, clippy::expect_used)]
mod protocol;
mod read;
mod reader;
mod scan;
mod sweep;
mod write;

use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use thiserror::Error;
use tokio::time::Instant;

pub(crate) use change::{Change, ChangeKind, change, snapshot};
pub use item::{GROUP_SK, MEMBER_PREFIX, partition_key, read, text_of};
pub(crate) use item::{ItemKey, scoped_key};
pub(crate) use lease::{Lease, PassKind};
pub(crate) use merge::is_of_earlier_life;
#[cfg(test)]
pub(crate) use merge::tests::any_facts;
pub use merge::{is_member, is_there, join};
pub(crate) use partition::is_change;
pub use reader::{Group, Reader};
pub(crate) use scan::{Listed, ScanKey, scan_key};

use crate::event::{Event, Facts};
use crate::retry::RetryError;
use crate::time::EventTime;
use merge::newest;
use write::ItemWrite;

/// When a second attempt is made beside the first. DynamoDB takes some 20 ms for a hundred items.
const HEDGE_AFTER: Duration = Duration::from_millis(400);

/// How many requests of one event are under way at once.
const MAX_PARALLEL: usize = 16;

/// How long the tombstone of a destroyed group or a departed member stays, so that a late event finds it.
const TOMBSTONE_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// An event of members that is older than this may belong to an ended life. One that is younger is written before the
/// sweep of a life that ends meanwhile begins: the retry queue holds each message back for 5 s.
const LATE_AFTER: Duration = Duration::from_secs(2);

/// The DynamoDB table of groups and members.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    table_name: String,
}

/// The result of writing an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The strongest effect that the event has on any item.
    pub effect: Effect,
    /// Whether items of an ended life may be left, which [`Store::sweep`] removes.
    pub has_leftovers: bool,
}

/// The effect of an event, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing changed: all facts were stored before.
    Duplicate,
    /// Nothing changed: newer facts are stored.
    Stale,
    /// At least one fact is new.
    Stored,
    /// A new life of the group has begun in place of an earlier one.
    Replaced,
}

impl Store {
    /// A store in a table that exists.
    pub fn new(client: Client, table_name: String) -> Self {
        Self { client, table_name }
    }

    /// Writes an event: first its members, then its group.
    pub async fn apply(&self, event: &Event, deadline: Instant) -> Result<Applied, StoreError> {
        let key = |account| ItemKey { group: &event.key, account };
        let members =
            event.members.iter().map(|(account, facts)| ItemWrite::new(key(Some(account.as_str())), facts));
        let members = self.write_members(members.collect(), deadline).await?;
        if event.group.is_empty() {
            let group = match is_late(event) {
                true => self.item(key(None), deadline).await?.as_ref().map(item::read),
                false => None,
            };
            let has_leftovers = group.is_some_and(|group| leaves_members(event, &group));
            return Ok(Applied { effect: members, has_leftovers });
        }
        let group = self.write_item(ItemWrite::new(key(None), &event.group), deadline).await?;
        let effect = match group.effect {
            // Its members were written before it was known to be stale: readers don't see them.
            Effect::Stale if is_of_earlier_life(&event.group, &group.facts) => Effect::Stale,
            effect => effect.max(members),
        };
        let has_leftovers = group.is_sweep_due || leaves_members(event, &group.facts);
        Ok(Applied { effect, has_leftovers })
    }
}

/// Whether an event of members alone is so old that the life of their group may have ended and been swept.
fn is_late(event: &Event) -> bool {
    let latest = lasting(event).filter_map(newest).max();
    latest.is_some_and(|time| time + LATE_AFTER < EventTime::from(SystemTime::now()))
}

/// Whether an event writes members of an earlier life of the group.
fn leaves_members(event: &Event, group: &Facts) -> bool {
    lasting(event).any(|facts| is_of_earlier_life(facts, group))
}

/// The facts of members whose items stay until they are swept: tombstones go by themselves.
fn lasting(event: &Event) -> impl Iterator<Item = &Facts> {
    event.members.values().map(|facts| &**facts).filter(|facts| facts.ended.is_none())
}

/// The items in chunks that take no more memory than they need, unlike those of `split_off`.
pub(crate) fn chunks<T>(items: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || {
        Some(items.by_ref().take(size).collect()).filter(|chunk: &Vec<T>| !chunk.is_empty())
    })
}

/// Why the table did not take or give something.
#[derive(Debug, Error)]
pub enum StoreError {
    /// DynamoDB, or the way to it, failed.
    #[error("the table failed")]
    Failed(#[from] RetryError),
    /// A statement was refused for good, or not answered.
    #[error("the table refused a statement: {0}")]
    Refused(String),
}
