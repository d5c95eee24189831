//! The table: how an event is written so that it counts once, whole, and only while it is the newest.
//!
//! The group item is the commit mark: it is written last, or in one transaction with all the members.
//! Every action carries a condition on `event_time`, so that no write, however late it arrives,
//! undoes that of a newer event.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use tokio::time::Instant;

use crate::action::{Actions, Expected};
use crate::group::GroupCreated;
use crate::hedge::hedged;
use crate::item;
use crate::pause::Pause;

/// The most actions in one DynamoDB transaction.
const TRANSACTION_MAX_ACTIONS: usize = 100;

/// How many transactions of one event are under way at once.
const MAX_PARALLEL: usize = 32;

/// The reasons of a cancellation that pass by themselves; "None" stands with the actions that were fine.
const PASSING: [&str; 4] =
    ["None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];

/// When a second attempt is made beside the first. DynamoDB takes some 20 ms for a hundred items.
const HEDGE_AFTER: Duration = Duration::from_millis(400);

/// What the table made of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The group is new.
    New,
    /// The group was there already, from the same event.
    Duplicate,
    /// An earlier group of the same id was there; it and its members are gone.
    Replaced,
    /// A later group of the same id is there; nothing changed.
    Stale,
}

/// The DynamoDB table of groups and members.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) client: Client,
    pub(crate) table_name: String,
}

impl Store {
    /// A store in a table that exists.
    pub fn new(client: Client, table_name: String) -> Self {
        Self { client, table_name }
    }

    /// Writes an event. Where it fits into one transaction, nothing is read before. Refuses to take an earlier group
    /// apart, which must not be left half done: that is for [`Store::finish`], once the event is safe elsewhere.
    pub async fn put(&self, event: &GroupCreated, deadline: Instant) -> Result<Stored, StoreError> {
        let put = async {
            if event.members.len() < TRANSACTION_MAX_ACTIONS
                && let Some(stored) = self.insert(event).await?
            {
                return Ok(stored);
            }
            self.settle(event, Earlier::Keep).await
        };
        tokio::time::timeout_at(deadline, put).await.map_err(|_| StoreError::TimedOut)?
    }

    /// Writes an event that is safe elsewhere, and of which a part may be in the table already: reads first, then
    /// writes what is missing.
    pub async fn finish(&self, event: &GroupCreated, deadline: Instant) -> Result<Stored, StoreError> {
        let settle = self.settle(event, Earlier::TakeApart);
        tokio::time::timeout_at(deadline, settle).await.map_err(|_| StoreError::TimedOut)?
    }

    /// Tries to write a new group in one transaction; `None` where that is not enough.
    async fn insert(&self, event: &GroupCreated) -> Result<Option<Stored>, StoreError> {
        let actions = self.actions(event);
        let group = std::iter::once(actions.put_group(Expected::Absent));
        let members = event.members.keys().map(|account| actions.put_member(account));
        let refused = match self.transact(group.chain(members).collect::<Result<_, _>>()?).await? {
            Transacted::Done => return Ok(Some(Stored::New)),
            Transacted::Refused(reasons) => reasons,
        };
        let there = refused.first().and_then(|reason| reason.item.as_ref());
        Ok(there.and_then(|group| seen(item::event_time(group), event)))
    }

    /// Brings the table to what the event says, again and again until no other writer interferes.
    async fn settle(&self, event: &GroupCreated, earlier: Earlier) -> Result<Stored, StoreError> {
        let mut pause = Pause::default();
        loop {
            let found = self.look(event).await?;
            match found.group_time.and_then(|time| seen(time, event)) {
                Some(Stored::Stale) => {
                    self.remove_leftovers(event, &found).await?;
                    return Ok(Stored::Stale);
                }
                Some(stored) => return Ok(stored),
                None => {}
            }
            let members = self.member_changes(event, &found)?;
            let is_large = members.len() >= TRANSACTION_MAX_ACTIONS;
            if is_large && found.group_time.is_some() && earlier == Earlier::Keep {
                return Err(StoreError::TakesApart);
            }
            if self.replace(event, found.group_time, members).await? {
                return Ok(found.group_time.map_or(Stored::New, |_| Stored::Replaced));
            }
            pause.wait().await;
        }
    }

    /// What has to happen to the members that were found, so that they are the event's.
    fn member_changes(
        &self,
        event: &GroupCreated,
        found: &Found,
    ) -> Result<Vec<TransactWriteItem>, BuildError> {
        let actions = self.actions(event);
        let wanted: HashMap<String, &String> =
            event.members.keys().map(|account| (item::member_sk(account), account)).collect();
        // An attempt that was cut off may have written some of them.
        let missing = wanted.iter().filter(|(sk, _)| found.members.get(*sk) != Some(&event.event_time));
        let puts = missing.map(|(_, account)| actions.put_member(account));
        let gone = found.members.keys().filter(|sk| !wanted.contains_key(*sk));
        let deletes = gone.map(|sk| actions.delete_member(sk));
        puts.chain(deletes).collect()
    }

    /// Puts the event in the place of the group of `earlier`; `false` where that is not what is there any more.
    async fn replace(
        &self,
        event: &GroupCreated,
        earlier: Option<u64>,
        members: Vec<TransactWriteItem>,
    ) -> Result<bool, StoreError> {
        let actions = self.actions(event);
        if members.len() < TRANSACTION_MAX_ACTIONS {
            let mut all = vec![actions.put_group(earlier.map_or(Expected::Absent, Expected::At))?];
            all.extend(members);
            return Ok(self.transact(all).await?.is_done());
        }
        // Too much for one transaction: while the members change there is no group.
        if let Some(time) = earlier
            && !self.transact(vec![actions.delete_group(time)?]).await?.is_done()
        {
            return Ok(false);
        }
        let commit = vec![actions.put_group(Expected::Absent)?];
        Ok(self.wave(members).await? && self.transact(commit).await?.is_done())
    }

    /// Removes members that an attempt of this event wrote before a newer event overtook it.
    async fn remove_leftovers(&self, event: &GroupCreated, found: &Found) -> Result<(), StoreError> {
        let actions = self.actions(event);
        let own = found.members.iter().filter(|(_, time)| **time == event.event_time);
        let deletes = own.map(|(sk, _)| actions.delete_member(sk)).collect::<Result<_, _>>()?;
        // Refused where the newer event has written the member meanwhile: then it is no leftover.
        self.wave(deletes).await.map(|_| ())
    }

    /// Runs any number of actions on members, in parallel transactions; `false` where one met a newer event.
    async fn wave(&self, actions: Vec<TransactWriteItem>) -> Result<bool, StoreError> {
        let transactions: Vec<_> =
            actions.chunks(TRANSACTION_MAX_ACTIONS).map(|chunk| self.transact(chunk.to_vec())).collect();
        stream::iter(transactions)
            .buffer_unordered(MAX_PARALLEL)
            .try_fold(true, |done, transacted| future::ready(Ok(done && transacted.is_done())))
            .await
    }

    /// Runs one transaction. The SDK repeats it after throttling or a lost answer, but never a cancelled one:
    /// conflicts are repeated here.
    async fn transact(&self, actions: Vec<TransactWriteItem>) -> Result<Transacted, StoreError> {
        let mut pause = Pause::default();
        loop {
            // One token for all attempts: what one of them has done, the next one finds done.
            let token = format!("{:032x}", fastrand::u128(..));
            if let Some(transacted) = hedged(HEDGE_AFTER, || self.attempt(&token, &actions)).await? {
                return Ok(transacted);
            }
            pause.wait().await;
        }
    }

    /// Sends a transaction; `None` where only other writers were in its way, or too many of them.
    async fn attempt(
        &self,
        token: &str,
        actions: &[TransactWriteItem],
    ) -> Result<Option<Transacted>, StoreError> {
        let request = self.client.transact_write_items().client_request_token(token);
        let Err(error) = request.set_transact_items(Some(actions.to_vec())).send().await else {
            return Ok(Some(Transacted::Done));
        };
        let reasons = cancellation_reasons(&error);
        let codes: HashSet<_> = reasons.iter().filter_map(|reason| reason.code()).collect();
        if codes.contains("ConditionalCheckFailed") {
            Ok(Some(Transacted::Refused(reasons.to_vec())))
        } else if !codes.is_empty() && codes.iter().all(|code| PASSING.contains(code)) {
            Ok(None)
        } else {
            Err(StoreError::failed(error))
        }
    }

    /// Reads which items of an event's group are there, and of which event.
    async fn look(&self, event: &GroupCreated) -> Result<Found, StoreError> {
        let pk = item::partition_key(event.delivery.sdk_app_id, &event.group_id);
        let mut found = Found::default();
        for item in self.partition(&pk, Some("sk, event_time")).await? {
            match item::text_of(&item, "sk") {
                Some(item::GROUP_SK) => found.group_time = Some(item::event_time(&item)),
                Some(sk) => found.members.extend([(sk.to_owned(), item::event_time(&item))]),
                None => {}
            }
        }
        Ok(found)
    }

    fn actions<'a>(&'a self, event: &'a GroupCreated) -> Actions<'a> {
        Actions { table_name: &self.table_name, event }
    }
}

/// What may become of an earlier group that can't be replaced in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Earlier {
    Keep,
    TakeApart,
}

/// What a group item of `time` makes of an event; `None` where the event is the newer one.
fn seen(time: u64, event: &GroupCreated) -> Option<Stored> {
    match time.cmp(&event.event_time) {
        std::cmp::Ordering::Equal => Some(Stored::Duplicate),
        std::cmp::Ordering::Greater => Some(Stored::Stale),
        std::cmp::Ordering::Less => None,
    }
}

/// The items of one group that are in the table.
#[derive(Debug, Default)]
struct Found {
    /// The group item's event_time.
    group_time: Option<u64>,
    /// Each member item's event_time, by its range key.
    members: HashMap<String, u64>,
}

/// What became of a transaction.
enum Transacted {
    Done,
    /// A condition did not hold, so that repeating is no use; a reason for each action.
    Refused(Vec<CancellationReason>),
}

impl Transacted {
    fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Why DynamoDB cancelled a transaction, action by action; nothing where it was not cancelled.
fn cancellation_reasons(error: &SdkError<TransactWriteItemsError>) -> &[CancellationReason] {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            cancelled.cancellation_reasons()
        }
        _ => &[],
    }
}

/// Why the table did not take an event.
#[derive(Debug)]
pub enum StoreError {
    /// Not before the deadline. Whether it was written is not known.
    TimedOut,
    /// It takes the place of an earlier group in more than one transaction. A failure on the way would leave
    /// neither of the two, so it has to be safe elsewhere first.
    TakesApart,
    /// DynamoDB, or the way to it, failed.
    Failed(Box<dyn Error + Send + Sync>),
}

impl StoreError {
    pub(crate) fn failed(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl From<BuildError> for StoreError {
    fn from(error: BuildError) -> Self {
        Self::failed(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the table did not answer in time"),
            Self::TakesApart => f.write_str("an earlier group has to be taken apart first"),
            Self::Failed(_) => f.write_str("the table failed"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TimedOut | Self::TakesApart => None,
            Self::Failed(error) => Some(error.as_ref()),
        }
    }
}
