//! A pass over all groups, in three parts, as much of it as one call can do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};

use super::place::{Place, Stage};
use super::{Note, Observer, Reconcile, ReconcileError, ReconcileRequest, Report};
use crate::chat::{Class, GROUPS_MAX};
use crate::event::{Event, Facts, GROUP_ID_MAX_BYTES, GroupKey};
use crate::store::{Listed, chunks, position};
use crate::time::{from_millis, to_millis};

/// How many groups are one piece of work: as many as one read of the table, or two questions to Chat, can hold.
pub(super) const CHUNK: usize = 100;

/// How many pieces are under way at once, and how many groups of each.
const PARALLEL_CHUNKS: usize = 3;
pub(super) const PARALLEL_GROUPS: usize = 16;

/// How long one question may take, repeated attempts included, and one event to be written.
const QUESTION_BUDGET: Duration = Duration::from_secs(40);

/// How long after the end of a call's time its last question may end.
const GRACE: Duration = Duration::from_secs(90);

/// A pass that destroys more groups than this, and more than a tenth, is not believed.
const GONE_MAX: u64 = 20;
const GONE_SHARE: u64 = 10;

/// How many groups that were skipped have a line in the log of one call.
const SKIPPED_MAX_LINES: u64 = 50;

/// What one call does.
pub struct Pass<'a> {
    pub(super) reconcile: &'a Reconcile,
    pub(super) request: &'a ReconcileRequest,
    stop_at: Instant,
    observer: Observer<'a>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    place: Place,
    report: Report,
    /// The custom fields that the table has shown: Chat tells only of those that it is asked for.
    custom_fields: BTreeSet<String>,
}

impl<'a> Pass<'a> {
    pub fn new(
        reconcile: &'a Reconcile,
        request: &'a ReconcileRequest,
        stop_at: Instant,
        observer: Observer<'a>,
    ) -> Self {
        let report = Report { dry_run: request.dry_run, ..Report::default() };
        let state = Mutex::new(State { report, ..State::default() });
        Self { reconcile, request, stop_at, observer, state }
    }

    /// Takes up the place that another call has left.
    pub fn resume(&self, place: Option<&str>) {
        self.with(|state| state.place = Place::resume(place, self.request));
    }

    pub fn report(&self) -> Report {
        self.with(|state| state.report.clone())
    }

    pub fn place(&self) -> Place {
        self.with(|state| state.place.clone())
    }

    /// Where the next call goes on.
    pub fn place_after(&self, result: &Result<bool, ReconcileError>) -> Place {
        let place = self.place();
        match result {
            Ok(true) => place.next_pass(),
            Err(ReconcileError::TooManyGone { .. }) => place.again(),
            Ok(false) | Err(_) => place,
        }
    }

    /// Compares these groups alone, with their members.
    pub async fn named(&self, group_ids: &[String]) -> Result<bool, ReconcileError> {
        self.with(|state| state.place.all_members = true);
        for group_ids in group_ids.chunks(CHUNK) {
            if self.is_over() {
                return Ok(false);
            }
            let groups = self.look_up(group_ids).await?;
            let there = groups.iter().filter(|group| group.is_there()).count() as u64;
            self.with(|state| state.place.groups += there);
            self.check(groups).await?;
        }
        self.confirm().await
    }

    /// Goes on until the pass has come to its end, or its time.
    pub async fn walk(&self) -> Result<bool, ReconcileError> {
        let mut is_first = true;
        while !self.is_over() {
            match self.place().stage {
                Stage::Table(_) => self.walk_table().await?,
                Stage::List { .. } => self.walk_list(is_first).await?,
                Stage::Gone => return self.confirm().await,
            }
            is_first = false;
        }
        Ok(false)
    }

    /// Compares a page of the table.
    async fn walk_table(&self) -> Result<(), ReconcileError> {
        let Stage::Table(start) = self.place().stage else { return Ok(()) };
        let Reconcile { store, sdk_app_id, .. } = self.reconcile;
        let page = store.scan(*sdk_app_id, start.as_ref(), self.deadline()).await?;
        let work: Vec<_> = chunks(page.groups, CHUNK).map(|groups| self.check_chunk(groups)).collect();
        let mut done = stream::iter(work).buffered(PARALLEL_CHUNKS);
        while let Some(chunk) = done.try_next().await? {
            let Some((last, there)) = chunk else { return Ok(()) };
            self.with(|state| {
                state.place.stage = Stage::Table(Some(position(&last)));
                state.place.groups += there;
            });
        }
        let stage = page.next.map_or(Stage::List { next: 0, done: 0 }, |next| Stage::Table(Some(next)));
        self.with(|state| state.place.stage = stage);
        if self.with(|state| state.place.is_full()) {
            self.confirm().await?;
        }
        Ok(())
    }

    /// Compares groups of the table; the last of them and how many are there, or nothing once the time is over.
    async fn check_chunk(&self, groups: Vec<Listed>) -> Result<Option<(GroupKey, u64)>, ReconcileError> {
        let Some(last) = groups.last().map(|group| group.key.clone()).filter(|_| !self.is_over()) else {
            return Ok(None);
        };
        let (there, destroyed): (Vec<_>, Vec<_>) = groups.into_iter().partition(Listed::is_there);
        let count = there.len() as u64;
        self.sweep(destroyed).await?;
        self.check(there).await?;
        Ok(Some((last, count)))
    }

    /// Removes what destroyed groups have left behind: their own marks go by TTL, the items of their members don't.
    async fn sweep(&self, groups: Vec<Listed>) -> Result<(), ReconcileError> {
        if self.request.dry_run {
            return Ok(());
        }
        let sweep = async |group: Listed| {
            let nothing = Event { key: group.key, group: Facts::default(), members: BTreeMap::new() };
            self.reconcile.store.settle(&nothing, self.deadline()).await
        };
        let work: Vec<_> = groups.into_iter().map(sweep).collect();
        let mut done = stream::iter(work).buffer_unordered(PARALLEL_GROUPS);
        while done.try_next().await?.is_some() {}
        Ok(())
    }

    /// Adds those groups of a page of Chat's list that the table lacks.
    async fn walk_list(&self, is_first: bool) -> Result<(), ReconcileError> {
        let Stage::List { next, done } = self.place().stage else { return Ok(()) };
        let list = match self.reconcile.chat.groups(next, GROUPS_MAX, self.deadline()).await {
            // Perhaps Chat does not know the page of an earlier call any more.
            Err(error) if error.class() == Class::Other && is_first && next != 0 => {
                self.with(|state| state.place.stage = Stage::List { next: 0, done: 0 });
                return Ok(());
            }
            list => list?.value,
        };
        let ids: Vec<String> = list.ids.into_iter().filter(|id| id.len() <= GROUP_ID_MAX_BYTES).collect();
        let rest = ids.get(done..).unwrap_or_default();
        let work: Vec<_> = rest.chunks(CHUNK).map(|chunk| self.add_chunk(chunk)).collect();
        let mut work = stream::iter(work).buffered(PARALLEL_CHUNKS);
        while let Some(chunk) = work.try_next().await? {
            let Some(count) = chunk else { return Ok(()) };
            self.with(|state| {
                state.report.groups_listed += count as u64;
                if let Stage::List { done, .. } = &mut state.place.stage {
                    *done += count;
                }
            });
        }
        let stage = if list.next == 0 { Stage::Gone } else { Stage::List { next: list.next, done: 0 } };
        self.with(|state| state.place.stage = stage);
        Ok(())
    }

    /// Adds groups that are not there; how many were looked up, or nothing once the time is over.
    async fn add_chunk(&self, group_ids: &[String]) -> Result<Option<usize>, ReconcileError> {
        if self.is_over() {
            return Ok(None);
        }
        let groups = self.look_up(group_ids).await?;
        self.check(groups.into_iter().filter(|group| !group.is_there()).collect()).await?;
        Ok(Some(group_ids.len()))
    }

    /// What the table says of these groups.
    async fn look_up(&self, group_ids: &[String]) -> Result<Vec<Listed>, ReconcileError> {
        let sdk_app_id = self.reconcile.sdk_app_id;
        let key = |group_id: &String| GroupKey { sdk_app_id, group_id: group_id.clone() };
        let keys: Vec<GroupKey> = group_ids.iter().map(key).collect();
        let listed = self.reconcile.store.listed(&keys).await?;
        let mut facts: BTreeMap<GroupKey, Facts> =
            listed.into_iter().map(|group| (group.key, group.facts)).collect();
        let listed = |key: GroupKey| Listed { facts: facts.remove(&key).unwrap_or_default(), key };
        Ok(keys.into_iter().map(listed).collect())
    }

    /// Asks a second time about the groups that Chat called gone, and destroys those that it still does.
    async fn confirm(&self) -> Result<bool, ReconcileError> {
        let place = self.place();
        if place.gone.is_empty() {
            return Ok(true);
        }
        if self.is_over() {
            return Ok(false);
        }
        let confirm_after = self.reconcile.pace.confirm_after;
        let since = SystemTime::now().duration_since(from_millis(place.gone_at)).unwrap_or_default();
        sleep(confirm_after.saturating_sub(since)).await;
        let gone = self.still_gone(&place.gone).await?;
        let (count, groups) = (place.destroyed + gone.len() as u64, place.groups);
        if count > GONE_MAX && count * GONE_SHARE > groups && !self.request.allow_destroy {
            return Err(ReconcileError::TooManyGone { gone: count, groups });
        }
        let work: Vec<_> = gone.into_iter().map(|event| self.destroy(event)).collect();
        let mut done = stream::iter(work).buffer_unordered(PARALLEL_GROUPS);
        while done.try_next().await?.is_some() {}
        self.with(|state| {
            state.place.destroyed = count;
            state.place.gone.clear();
        });
        Ok(true)
    }

    /// Counts and tells of a group that could not be compared.
    pub(super) fn skip(&self, group_id: &str, error: &str) {
        let skipped = self.with(|state| {
            state.report.skipped += 1;
            state.report.skipped
        });
        if skipped <= SKIPPED_MAX_LINES {
            (self.observer)(&Note::Skipped { group_id, error });
        }
    }

    /// Counts and tells of a group that is corrected.
    pub(super) fn correct(&self, correction: &super::Correction) {
        self.with(|state| state.report.count(correction));
        (self.observer)(&Note::Corrected(correction));
    }

    /// Counts groups that were compared.
    pub(super) fn checked(&self, count: u64) {
        let report = self.with(|state| {
            state.report.groups_checked += count;
            state.report.clone()
        });
        (self.observer)(&Note::Progress(&report));
    }

    /// Remembers that Chat called a group gone.
    pub(super) fn gone(&self, group_id: String, said_at: u64) {
        self.with(|state| {
            state.place.gone.entry(group_id).or_insert(said_at);
            state.place.gone_at = to_millis(SystemTime::now());
        });
    }

    /// Adds to the custom fields that are known, and returns them.
    pub(super) fn custom_fields(&self, more: impl Iterator<Item = String>) -> Vec<String> {
        self.with(|state| {
            state.custom_fields.extend(more);
            state.custom_fields.iter().cloned().collect()
        })
    }

    pub(super) fn is_turn_of(&self, group_id: &str) -> bool {
        self.with(|state| state.place.is_turn_of(group_id))
    }

    /// When a question that is asked now must be answered.
    pub(super) fn deadline(&self) -> Instant {
        (Instant::now() + QUESTION_BUDGET).min(self.stop_at + GRACE)
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.stop_at
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
