//! A pass over all groups, in three phases, as much of it as one call can do.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::checkpoint::{Checkpoint, CutOff, ListCursor, Phase, is_plausible};
use super::compare::Compared;
use super::diff::as_of;
use super::{Correction, Note, Observer, Reconcile, ReconcileError, ReconcileRequest, Report};
use crate::chat::{BoundedChat, Class, GROUPS_MAX};
use crate::event::{Event, Facts, GROUP_ID_MAX_BYTES, GroupKey, fact};
use crate::log::error_chain;
use crate::retry::Backoff;
use crate::store::{Lease, Listed, ScanKey, Store, StoreError, chunks, scan_key};

/// How many groups are compared between two checkpoints: six questions to Chat.
pub(super) const PIECE: usize = 300;

/// How many groups of a piece are compared at once.
pub(super) const PARALLEL_GROUPS: usize = 16;

/// How many members are in memory at once, save for a group that has more.
const MEMBERS_MAX: u32 = 20_000;

/// How long the table may take for one event, and how much longer for each of its members: a partition takes a thousand
/// writes a second at best.
const TABLE_BUDGET: Duration = Duration::from_secs(40);
const MEMBER_BUDGET: Duration = Duration::from_millis(10);

/// How long a write may go on at least, though the call's time is over.
const WRITE_GRACE: Duration = Duration::from_secs(5);

/// How long a group that met a transient error waits for its next turn; longer each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The fixed part of one call.
pub(super) struct Pass<'a> {
    pub reconcile: &'a Reconcile,
    pub request: &'a ReconcileRequest,
    pub chat: BoundedChat<'a>,
    /// When the call's time is over: whatever is under way then is cut off.
    pub end: Instant,
    observer: Observer<'a>,
    members: Semaphore,
}

/// The part of one call that changes.
#[derive(Debug, Default)]
pub(super) struct State {
    pub checkpoint: Checkpoint,
    pub report: Report,
    /// Whether no pass has come to its end before.
    pub is_first_pass: bool,
    /// The custom fields that the table has shown: Chat tells only of those that it is asked for.
    custom_fields: BTreeSet<String>,
}

/// A group that has no result yet.
struct Open {
    group: Listed,
    /// The error at which it stands; none if it was not begun.
    error: Option<ReconcileError>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        reconcile: &'a Reconcile,
        request: &'a ReconcileRequest,
        end: Instant,
        observer: Observer<'a>,
    ) -> Self {
        let members = Semaphore::new(MEMBERS_MAX as usize);
        Self { reconcile, request, chat: reconcile.chat.until(end), end, observer, members }
    }

    /// Compares these groups alone, with their members.
    pub(super) async fn run_named(
        &self,
        state: &mut State,
        group_ids: &[String],
    ) -> Result<(), ReconcileError> {
        state.checkpoint.all_members = true;
        for group_ids in group_ids.chunks(PIECE) {
            let groups = self.look_up(group_ids.iter().map(String::as_str)).await?;
            let (there, absent): (Vec<_>, Vec<_>) = groups.into_iter().partition(Listed::is_there);
            state.checkpoint.groups += there.len() as u64;
            self.compare_piece(state, there).await?;
            self.compare_piece(state, absent).await?;
        }
        self.confirm_gone(state).await?;
        state.checkpoint.check_skipped()
    }

    /// Goes on until the pass has come to its end.
    pub(super) async fn run(&self, state: &mut State, lease: &Lease) -> Result<(), ReconcileError> {
        loop {
            self.check_time()?;
            match state.checkpoint.phase.clone() {
                _ if state.checkpoint.is_full() && self.request.allow_destroy => {
                    self.confirm_gone(state).await?;
                }
                Phase::Table(start) => self.compare_table(state, lease, start).await?,
                Phase::List(cursor) => self.add_listed(state, lease, cursor).await?,
                Phase::Gone => {
                    self.confirm_gone(state).await?;
                    return state.checkpoint.check_skipped();
                }
            }
        }
    }

    /// Compares the groups of one page of the table or, where a page has few groups, of several.
    async fn compare_table(
        &self,
        state: &mut State,
        lease: &Lease,
        start: Option<ScanKey>,
    ) -> Result<(), ReconcileError> {
        let sdk_app_id = self.reconcile.sdk_app_id;
        let mut page = self.store().scan(sdk_app_id, start.as_ref(), self.table_deadline(0)).await?;
        while page.groups.len() < PIECE && page.next.is_some() {
            self.check_time()?;
            if page.groups.is_empty() {
                state.checkpoint.phase = Phase::Table(page.next.clone());
            }
            let more = self.store().scan(sdk_app_id, page.next.as_ref(), self.table_deadline(0)).await?;
            page.groups.extend(more.groups);
            page.next = more.next;
        }
        for groups in chunks(page.groups, PIECE) {
            let last = groups.last().map(|group| scan_key(&group.key));
            self.sweep(groups.iter().filter(|group| group.is_sweep_due)).await?;
            let there: Vec<_> = groups.into_iter().filter(Listed::is_there).collect();
            let count = there.len() as u64;
            self.compare_piece(state, there).await?;
            state.checkpoint.groups += count;
            state.checkpoint.phase = Phase::Table(last);
            self.save(state, lease).await?;
        }
        state.checkpoint.phase =
            page.next.map_or(Phase::List(ListCursor::default()), |next| Phase::Table(Some(next)));
        Ok(())
    }

    /// Sweeps groups of which a life has ended. The store remembers that it was done.
    async fn sweep(&self, groups: impl Iterator<Item = &Listed>) -> Result<(), ReconcileError> {
        let sweep = |group: &Listed| {
            let key = group.key.clone();
            async {
                let group = Event { key, group: Facts::default(), members: BTreeMap::new() };
                self.store().sweep(&group, self.table_deadline(0)).await
            }
        };
        let work: Vec<_> = groups.filter(|_| !self.request.dry_run).map(sweep).collect();
        // A sweep that could not finish is no failure: the next pass goes on.
        stream::iter(work).buffer_unordered(PARALLEL_GROUPS).try_collect::<Vec<_>>().await?;
        self.check_time()
    }

    /// Adds those groups of a page of Chat's list that the table lacks.
    async fn add_listed(
        &self,
        state: &mut State,
        lease: &Lease,
        mut cursor: ListCursor,
    ) -> Result<(), ReconcileError> {
        let list = match self.chat.groups(cursor.next, GROUPS_MAX).await {
            // Perhaps Chat does not know the page of an earlier call any more.
            Err(error) if error.class() == Class::Permanent && cursor.next != 0 => {
                return self.list_again(state, cursor, error.into());
            }
            list => list?.value,
        };
        for group_ids in list.ids.get(cursor.done..).unwrap_or_default().chunks(PIECE) {
            self.check_time()?;
            // Chat may list a group twice.
            let ids = group_ids.iter().map(String::as_str).filter(|id| id.len() <= GROUP_ID_MAX_BYTES);
            let groups = self.look_up(ids.collect::<BTreeSet<_>>()).await?;
            let absent = groups.into_iter().filter(|group| !group.is_there());
            self.compare_piece(state, absent.collect()).await?;
            let count = group_ids.len() as u64;
            state.report.groups_listed += count;
            cursor =
                ListCursor { done: cursor.done + group_ids.len(), listed: cursor.listed + count, ..cursor };
            state.checkpoint.phase = Phase::List(cursor);
            self.save(state, lease).await?;
        }
        if list.next != 0 {
            state.checkpoint.phase = Phase::List(ListCursor { next: list.next, done: 0, ..cursor });
            return Ok(());
        }
        let (listed, total) = (cursor.listed, list.total.unwrap_or_default());
        let missing = total.saturating_sub(listed);
        // Groups that are created meanwhile may be missing.
        if missing > total / 1000 && !(cursor.is_again && is_plausible(missing, total)) {
            return self.list_again(state, cursor, ReconcileError::ShortList { listed, total });
        }
        state.checkpoint.phase = Phase::Gone;
        Ok(())
    }

    /// Begins Chat's list again, once in a pass; the second time, the pass fails.
    fn list_again(
        &self,
        state: &mut State,
        cursor: ListCursor,
        error: ReconcileError,
    ) -> Result<(), ReconcileError> {
        let first = ListCursor { is_again: !cursor.is_again, ..ListCursor::default() };
        state.checkpoint.phase = Phase::List(first);
        if cursor.is_again { Err(error) } else { Ok(()) }
    }

    /// Compares groups with Chat's answers until each has a result or the call's time is over. A group that meets a
    /// transient error comes again after the others, however often.
    async fn compare_piece(&self, state: &mut State, groups: Vec<Listed>) -> Result<(), ReconcileError> {
        let is_skipped = |id: &str| state.checkpoint.cut_off.get(id) == Some(&CutOff::Skipped);
        let groups = groups.into_iter().filter(|group| !is_skipped(&group.key.group_id));
        let mut open: Vec<_> = groups.map(|group| Open { group, error: None }).collect();
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !open.is_empty() {
            match self.compare_open(state, &mut open).await {
                Err(error) if error.is_out_of_time(self.end) => break,
                result => result?,
            }
            if !open.is_empty() {
                pause.wait(self.end).await;
            }
        }
        let mut is_done = true;
        for Open { group, error } in open {
            is_done &= error.is_some_and(|error| self.is_second_cut(state, &group.key.group_id, &error));
        }
        if !is_done {
            return Err(ReconcileError::OutOfTime);
        }
        state.checkpoint.cut_off.clear();
        Ok(())
    }

    /// Compares open groups once. Those stay that have no result yet.
    async fn compare_open(&self, state: &mut State, open: &mut Vec<Open>) -> Result<(), ReconcileError> {
        self.check_time()?;
        let ids: Vec<&str> = open.iter().map(|open| open.group.key.group_id.as_str()).collect();
        let custom_fields = state.custom_fields(open.iter().map(|open| &open.group));
        let infos = self.chat.group_infos(&ids, custom_fields).await?;
        let (as_of, mut infos) = (as_of(infos.asked_at), infos.value);
        let info = |open: Open| Some((infos.remove(&open.group.key.group_id)?, open));
        let mut work: Vec<_> = open.drain(..).filter_map(info).collect();
        // A large group holds up no smaller one.
        work.sort_by_key(|(info, _)| info.as_ref().ok().and_then(|info| info.member_num));
        let work = work.into_iter().map(|(info, open)| {
            let is_due = state.checkpoint.is_due(&open.group.key.group_id);
            async move {
                let compared = self.compare(&open.group, info, as_of, is_due).await;
                (open, compared)
            }
        });
        let work: Vec<_> = work.collect();
        let mut work = stream::iter(work).buffer_unordered(PARALLEL_GROUPS);
        while let Some((Open { group, error }, compared)) = work.next().await {
            match compared {
                Ok(Compared::Skipped(correction, error)) if error.is_transient() => {
                    correction.iter().for_each(|correction| self.note_corrected(state, correction));
                    open.push(Open { group, error: Some(error) });
                }
                Ok(compared) => self.note(state, &group, compared),
                // It was not begun.
                Err(ReconcileError::OutOfTime) => open.push(Open { group, error }),
                Err(error) if error.is_out_of_time(self.end) => {
                    open.push(Open { group, error: Some(error) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Remembers that a call ran out of time at a group. The second time in a row, the group is skipped.
    pub(super) fn is_second_cut(&self, state: &mut State, group_id: &str, error: &dyn Error) -> bool {
        let is_second = state.checkpoint.cut_off.contains_key(group_id);
        if is_second {
            self.note_skipped(state, group_id, error);
        }
        let cut_off = if is_second { CutOff::Skipped } else { CutOff::Once };
        state.checkpoint.cut_off.insert(group_id.to_owned(), cut_off);
        is_second
    }

    /// Counts, tells and remembers the result for a group.
    fn note(&self, state: &mut State, group: &Listed, compared: Compared) {
        let group_id = &group.key.group_id;
        match compared {
            Compared::Same => {}
            Compared::Corrected(correction) => self.note_corrected(state, &correction),
            Compared::Gone(as_of) if group.is_there() => {
                state.checkpoint.note_gone(group_id.clone(), as_of, self.request.allow_destroy);
            }
            Compared::Gone(_) => {}
            Compared::Skipped(correction, error) => {
                if let Some(correction) = correction {
                    self.note_corrected(state, &correction);
                }
                return self.note_skipped(state, group_id, &error);
            }
        }
        state.report.groups_checked += 1;
        state.checkpoint.checked += 1;
        (self.observer)(&Note::Progress(&state.report));
    }

    pub(super) fn note_corrected(&self, state: &mut State, correction: &Correction) {
        state.report.count(correction);
        (self.observer)(&Note::Corrected(correction));
    }

    pub(super) fn note_skipped(&self, state: &mut State, group_id: &str, error: &dyn Error) {
        state.report.skipped += 1;
        state.checkpoint.skipped += 1;
        (self.observer)(&Note::Skipped { group_id, error: &error_chain(error) });
    }

    /// Stores the checkpoint, if the lease is still ours.
    async fn save(&self, state: &State, lease: &Lease) -> Result<(), ReconcileError> {
        let is_ours = self.store().save(lease, &state.checkpoint.to_text()).await?;
        if is_ours { Ok(()) } else { Err(ReconcileError::Busy) }
    }

    /// The items of these groups.
    pub(super) async fn look_up(
        &self,
        group_ids: impl IntoIterator<Item = &str>,
    ) -> Result<Vec<Listed>, StoreError> {
        let sdk_app_id = self.reconcile.sdk_app_id;
        let key = |group_id: &str| GroupKey { sdk_app_id, group_id: group_id.to_owned() };
        let keys = group_ids.into_iter().map(key).collect();
        self.store().listed(keys, self.table_deadline(0)).await
    }

    pub(super) fn store(&self) -> &Store {
        &self.reconcile.store
    }

    /// Waits until there is memory for so many members more.
    pub(super) async fn reserve_members(&self, members: u64) -> Option<SemaphorePermit<'_>> {
        let members = u32::try_from(members).unwrap_or(u32::MAX).clamp(1, MEMBERS_MAX);
        self.members.acquire_many(members).await.ok()
    }

    /// When the table must have read or written so many members.
    pub(super) fn table_deadline(&self, members: usize) -> Instant {
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let budget = TABLE_BUDGET.saturating_add(MEMBER_BUDGET.saturating_mul(members));
        (Instant::now() + budget).min(self.end)
    }

    /// The same for an event that is written: a write that has begun may end, so that it is told of.
    pub(super) fn write_deadline(&self, members: usize) -> Instant {
        self.table_deadline(members).max(self.end.min(Instant::now()) + WRITE_GRACE)
    }

    /// Fails once the call's time is over: nothing is begun after that.
    pub(super) fn check_time(&self) -> Result<(), ReconcileError> {
        if Instant::now() >= self.end { Err(ReconcileError::OutOfTime) } else { Ok(()) }
    }
}

impl State {
    /// The custom fields to ask for: those that the table has shown. All of them, if none of these groups is there or
    /// none has shown any.
    fn custom_fields<'a>(
        &mut self,
        groups: impl Iterator<Item = &'a Listed> + Clone,
    ) -> Option<&BTreeSet<String>> {
        let names = groups.clone().flat_map(|group| group.facts.values.keys());
        let names = names.filter_map(|name| name.strip_prefix(fact::USER_DEFINED)).map(str::to_owned);
        self.custom_fields.extend(names);
        let is_needed = !self.custom_fields.is_empty() && groups.into_iter().any(Listed::is_there);
        is_needed.then_some(&self.custom_fields)
    }
}
