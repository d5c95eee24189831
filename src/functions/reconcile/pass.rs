//! A pass over all groups, in three parts, as much of it as one call can do.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::checkpoint::{Place, Stage};
use super::{Note, Observer, Reconcile, ReconcileError, ReconcileRequest, Report, TimeLimit};
use crate::chat::{Class, GROUPS_MAX};
use crate::event::{Event, Facts, GROUP_ID_MAX_BYTES, GroupKey};
use crate::log::error_chain;
use crate::store::{Listed, Position, StoreError, chunks, position};

/// How many groups are one piece of work: as many as one read of the table, or two questions to Chat, can hold.
pub(super) const CHUNK: usize = 100;

/// How many pieces are under way at once, and how many groups of each.
const PARALLEL_CHUNKS: usize = 3;
pub(super) const PARALLEL_GROUPS: usize = 16;

/// How many members are in memory at once, at some 2.5 KB each, save for a group that has more.
const MEMBERS_MAX: u32 = 20_000;

/// How many members a destroyed group may have left downstream, for a guess.
pub(super) const LEFTOVERS: u64 = 2_500;

/// How long the table may take for one event, and how much longer for each of its members: a partition takes a thousand
/// writes a second at best.
const TABLE_BUDGET: Duration = Duration::from_secs(40);
const MEMBER_BUDGET: Duration = Duration::from_millis(10);

/// How many groups that were skipped have a line in the log of one call.
const SKIPPED_MAX_LINES: u64 = 50;

/// What one call does.
pub(super) struct Pass<'a> {
    pub(super) reconcile: &'a Reconcile,
    pub(super) request: &'a ReconcileRequest,
    pub(super) time: TimeLimit,
    observer: Observer<'a>,
    members: Semaphore,
    state: Mutex<State>,
}

/// How far it has come.
#[derive(Default)]
pub(super) struct State {
    pub place: Place,
    report: Report,
    /// The custom fields that the table has shown: Chat tells only of those that it is asked for.
    pub custom_fields: BTreeSet<String>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        reconcile: &'a Reconcile,
        request: &'a ReconcileRequest,
        time: TimeLimit,
        observer: Observer<'a>,
    ) -> Self {
        let report = Report { dry_run: request.dry_run, ..Report::default() };
        let state = Mutex::new(State { report, ..State::default() });
        Self { reconcile, request, time, observer, members: Semaphore::new(MEMBERS_MAX as usize), state }
    }

    /// Takes up the place that another call has left.
    pub(super) fn resume(&self, place: Option<&str>) {
        self.with(|state| state.place = Place::resume(place, self.request));
    }

    pub(super) fn report(&self) -> Report {
        self.with(|state| state.report.clone())
    }

    pub(super) fn place(&self) -> Place {
        self.with(|state| state.place.clone())
    }

    /// Where the next call goes on.
    pub(super) fn place_after(&self, result: &Result<(), ReconcileError>) -> Place {
        let place = self.place();
        match result {
            Ok(()) => Place { pass: place.pass + 1, ..Place::default() },
            Err(ReconcileError::TooManyGone { .. }) => Place { is_refused: true, ..place },
            Err(_) => place,
        }
    }

    /// Compares these groups alone, with their members.
    pub(super) async fn named(&self, group_ids: &[String]) -> Result<(), ReconcileError> {
        self.with(|state| state.place.all_members = true);
        for group_ids in group_ids.chunks(CHUNK) {
            self.begin()?;
            let groups = self.look_up(group_ids.iter().map(String::as_str)).await?;
            let (there, absent): (Vec<_>, Vec<_>) = groups.into_iter().partition(Listed::is_there);
            self.with(|state| state.place.groups += there.len() as u64);
            self.check(there).await?;
            self.check(absent).await?;
        }
        self.confirm().await
    }

    /// Goes on until the pass has come to its end.
    pub(super) async fn walk(&self) -> Result<(), ReconcileError> {
        let mut is_first = true;
        loop {
            self.begin()?;
            let place = self.place();
            match place.stage {
                _ if place.is_full() && self.request.allow_destroy => self.confirm().await?,
                Stage::Table(start) => self.walk_table(start).await?,
                Stage::List { next, done } => self.walk_list(next, done, is_first).await?,
                Stage::Gone => return self.confirm().await,
            }
            is_first = false;
        }
    }

    /// Compares a page of the table, or so many that a question to Chat is full.
    async fn walk_table(&self, start: Option<Position>) -> Result<(), ReconcileError> {
        let Reconcile { store, sdk_app_id, .. } = self.reconcile;
        let mut page = store.scan(*sdk_app_id, start.as_ref(), self.deadline(0)).await?;
        // A page has few groups where each has many members.
        while page.groups.len() < CHUNK && page.next.is_some() {
            self.begin()?;
            if page.groups.is_empty() {
                self.with(|state| state.place.stage = Stage::Table(page.next.clone()));
            }
            let more = store.scan(*sdk_app_id, page.next.as_ref(), self.deadline(0)).await?;
            page.groups.extend(more.groups);
            page.next = more.next;
        }
        let work: Vec<_> = chunks(page.groups, CHUNK).map(|groups| self.check_chunk(groups)).collect();
        self.drain(stream::iter(work).buffered(PARALLEL_CHUNKS), |(last, there)| {
            self.with(|state| {
                state.place.stage = Stage::Table(last.as_ref().map(position));
                state.place.groups += there;
            });
        })
        .await?;
        let stage = page.next.map_or(Stage::List { next: 0, done: 0 }, |next| Stage::Table(Some(next)));
        self.with(|state| state.place.stage = stage);
        Ok(())
    }

    /// Compares groups of the table; the last of them, and how many are there.
    async fn check_chunk(&self, groups: Vec<Listed>) -> Result<(Option<GroupKey>, u64), ReconcileError> {
        self.begin()?;
        let last = groups.last().map(|group| group.key.clone());
        let (there, destroyed): (Vec<_>, Vec<_>) = groups.into_iter().partition(Listed::is_there);
        let count = there.len() as u64;
        self.sweep(destroyed).await?;
        self.check(there).await?;
        Ok((last, count))
    }

    /// Removes what destroyed groups have left downstream: their own marks go by TTL, the items of their members don't.
    async fn sweep(&self, groups: Vec<Listed>) -> Result<(), ReconcileError> {
        let sweep = async |group: Listed| {
            let _room = self.room(LEFTOVERS).await;
            self.begin()?;
            let nothing = Event { key: group.key, group: Facts::default(), members: BTreeMap::new() };
            self.reconcile.store.sweep(&nothing, self.deadline(LEFTOVERS)).await?;
            Ok(())
        };
        let groups = groups.into_iter().filter(|_| !self.request.dry_run);
        let work: Vec<_> = groups.map(sweep).collect();
        self.drain(stream::iter(work).buffer_unordered(PARALLEL_GROUPS), |()| {}).await
    }

    /// Adds those groups of a page of Chat's list that the table lacks.
    async fn walk_list(&self, next: u64, done: usize, is_first: bool) -> Result<(), ReconcileError> {
        let list = match self.reconcile.chat.groups(next, GROUPS_MAX, self.time.end).await {
            // Perhaps Chat does not know the page of an earlier call any more.
            Err(error) if error.class() == Class::Other && is_first && next != 0 => {
                self.with(|state| state.place.stage = Stage::List { next: 0, done: 0 });
                return Ok(());
            }
            list => list?.value,
        };
        let rest = list.ids.get(done..).unwrap_or_default();
        let work: Vec<_> = rest.chunks(CHUNK).map(|chunk| self.add_chunk(chunk)).collect();
        self.drain(stream::iter(work).buffered(PARALLEL_CHUNKS), |count| {
            self.with(|state| {
                state.report.groups_listed += count as u64;
                if let Stage::List { done, .. } = &mut state.place.stage {
                    *done += count;
                }
            });
        })
        .await?;
        let stage = if list.next == 0 { Stage::Gone } else { Stage::List { next: list.next, done: 0 } };
        self.with(|state| state.place.stage = stage);
        Ok(())
    }

    /// Adds groups that are not there; how many entries of the list that were. Chat may list a group twice.
    async fn add_chunk(&self, group_ids: &[String]) -> Result<usize, ReconcileError> {
        self.begin()?;
        let ids = group_ids.iter().map(String::as_str).filter(|id| id.len() <= GROUP_ID_MAX_BYTES);
        let groups = self.look_up(ids.collect::<BTreeSet<_>>()).await?;
        self.check(groups.into_iter().filter(|group| !group.is_there()).collect()).await?;
        Ok(group_ids.len())
    }

    /// What the table says of these groups, one by one.
    pub(super) async fn look_up(
        &self,
        group_ids: impl IntoIterator<Item = &str>,
    ) -> Result<Vec<Listed>, StoreError> {
        let sdk_app_id = self.reconcile.sdk_app_id;
        let key = |group_id: &str| GroupKey { sdk_app_id, group_id: group_id.to_owned() };
        let keys = group_ids.into_iter().map(key).collect();
        self.reconcile.store.listed(keys, self.deadline(0)).await
    }

    /// Does work side by side, and takes its results up to the first that the end of the time has cut off. What is under
    /// way by then comes to its own end.
    pub(super) async fn drain<T>(
        &self,
        mut work: impl Stream<Item = Result<T, ReconcileError>> + Unpin,
        mut take: impl FnMut(T),
    ) -> Result<(), ReconcileError> {
        let mut result = Ok(());
        while let Some(done) = work.next().await {
            match done {
                Ok(done) if result.is_ok() => take(done),
                Ok(_) => {}
                Err(error) if self.is_cut_off(&error) => result = result.and(Err(error)),
                Err(error) => return Err(error),
            }
        }
        result
    }

    /// Counts and tells of a group that could not be compared.
    pub(super) fn skip(&self, group_id: &str, error: &dyn Error) {
        let skipped = self.with(|state| {
            state.report.skipped += 1;
            state.report.skipped
        });
        if skipped <= SKIPPED_MAX_LINES {
            (self.observer)(&Note::Skipped { group_id, error: &error_chain(error) });
        }
    }

    /// Counts and tells of a group that is corrected.
    pub(super) fn correct(&self, correction: &super::Correction) {
        self.with(|state| state.report.count(correction));
        (self.observer)(&Note::Corrected(correction));
    }

    /// Counts a group that was compared.
    pub(super) fn checked(&self) {
        let report = self.with(|state| {
            state.report.groups_checked += 1;
            state.report.clone()
        });
        (self.observer)(&Note::Progress(&report));
    }

    /// Waits until there is memory for so many members more.
    pub(super) async fn room(&self, members: u64) -> Option<SemaphorePermit<'_>> {
        let members = u32::try_from(members).unwrap_or(u32::MAX).clamp(1, MEMBERS_MAX);
        self.members.acquire_many(members).await.ok()
    }

    /// When the table must have read or written so many members.
    pub(super) fn deadline(&self, members: u64) -> Instant {
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let budget = TABLE_BUDGET.saturating_add(MEMBER_BUDGET.saturating_mul(members));
        (Instant::now() + budget).min(self.time.end)
    }

    /// Nothing is begun once the time is over.
    pub(super) fn begin(&self) -> Result<(), ReconcileError> {
        if self.is_over() { Err(ReconcileError::OutOfTime) } else { Ok(()) }
    }

    /// Whether an error only tells that the time is over.
    pub(super) fn is_cut_off(&self, error: &ReconcileError) -> bool {
        self.is_over() && error.is_transient() || matches!(error, ReconcileError::OutOfTime)
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.time.stop_at
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
