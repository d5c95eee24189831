//! A pass over all groups, in three phases, as much of it as one call can do. It counts, tells and remembers the results.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::mem;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::checkpoint::{Checkpoint, CutOff, ListCursor, Phase, is_plausible};
use super::compare::{Compared, Comparer, MEMBERS_MAX};
use super::diff::as_of;
use super::{Correction, Note, Observer, ReconcileError, Report};
use crate::chat::{Class, GROUPS_MAX, GroupInfo};
use crate::event::{Event, Facts, GROUP_ID_MAX_BYTES, GroupKey, fact};
use crate::log::error_chain;
use crate::retry::Backoff;
use crate::store::{Lease, Listed, ScanKey, StoreError, chunks, scan_key};
use crate::time::EventTime;

/// How many groups are compared between two checkpoints: six questions to Chat.
const PIECE: usize = 300;

/// How many groups of a piece are compared at once.
pub(super) const PARALLEL_GROUPS: usize = 16;

/// How long a group that met a transient error waits for its next turn; longer each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The part of one call that changes.
pub(super) struct Pass<'a> {
    pub comparer: &'a Comparer<'a>,
    pub observer: Observer<'a>,
    /// None of a call for named groups, which keeps no checkpoint.
    pub lease: Option<&'a Lease>,
    pub checkpoint: Checkpoint,
    pub report: Report,
    /// The custom fields that the table has shown: Chat tells only of those that it is asked for.
    pub custom_fields: BTreeSet<String>,
}

/// A group that has no result yet.
struct Open {
    group: Listed,
    /// Whether an earlier call ran out of time at it.
    cut_off: Option<CutOff>,
    /// The error at which it stands; none if it was not begun.
    error: Option<ReconcileError>,
}

impl<'a> Pass<'a> {
    /// Compares these groups alone, with their members.
    pub(super) async fn run_named(&mut self, group_ids: &[String]) -> Result<(), ReconcileError> {
        self.checkpoint.members = super::Members::All;
        for group_ids in group_ids.chunks(PIECE) {
            let groups = self.look_up(group_ids.iter().map(String::as_str)).await?;
            let (there, absent) = groups.into_iter().partition(Listed::is_there);
            self.compare_and_note(there).await?;
            self.compare_and_note(absent).await?;
        }
        self.confirm_gone().await?;
        self.checkpoint.check_skipped()
    }

    /// Goes on until the pass has come to its end.
    pub(super) async fn run(&mut self) -> Result<(), ReconcileError> {
        loop {
            self.comparer.check_time()?;
            match self.checkpoint.phase.clone() {
                _ if self.checkpoint.is_full() && self.comparer.request.allow_destroy => {
                    self.confirm_gone().await?
                }
                Phase::Table(start) => self.compare_table(start).await?,
                Phase::List(cursor) => self.add_listed(cursor).await?,
                Phase::Gone => {
                    self.confirm_gone().await?;
                    return self.checkpoint.check_skipped();
                }
            }
        }
    }

    /// Compares the groups of one page of the table or, where a page has few groups, of several.
    async fn compare_table(&mut self, start: Option<ScanKey>) -> Result<(), ReconcileError> {
        let (comparer, sdk_app_id) = (self.comparer, self.comparer.reconcile.sdk_app_id);
        let scan = async |start: Option<&ScanKey>| {
            comparer.reconcile.store.scan(sdk_app_id, start, comparer.deadline()).await
        };
        let mut page = scan(start.as_ref()).await?;
        while page.groups.len() < PIECE && page.next.is_some() {
            if page.groups.is_empty() {
                self.checkpoint.phase = Phase::Table(page.next.clone());
            }
            let more = scan(page.next.as_ref()).await?;
            page.groups.extend(more.groups);
            page.next = more.next;
        }
        for groups in chunks(page.groups, PIECE) {
            let last = groups.last().map(|group| scan_key(&group.key));
            self.sweep(groups.iter().filter(|group| group.is_sweep_due)).await?;
            self.compare_and_note(groups.into_iter().filter(Listed::is_there).collect()).await?;
            self.checkpoint.phase = Phase::Table(last);
            self.save().await?;
        }
        self.checkpoint.phase =
            page.next.map_or(Phase::List(ListCursor::default()), |next| Phase::Table(Some(next)));
        Ok(())
    }

    /// Sweeps groups of which a life has ended. The store remembers that it was done.
    async fn sweep(&self, groups: impl Iterator<Item = &Listed>) -> Result<(), ReconcileError> {
        let sweep = |group: &Listed| {
            let group = Event { key: group.key.clone(), group: Facts::default(), members: BTreeMap::new() };
            async move { self.comparer.reconcile.store.sweep(&group, self.comparer.deadline()).await }
        };
        let work: Vec<_> = groups.filter(|_| !self.comparer.request.dry_run).map(sweep).collect();
        // A sweep that could not finish is no failure: the next pass goes on.
        stream::iter(work).buffer_unordered(PARALLEL_GROUPS).try_collect::<Vec<_>>().await?;
        Ok(())
    }

    /// Adds those groups of a page of Chat's list that the table lacks.
    async fn add_listed(&mut self, mut cursor: ListCursor) -> Result<(), ReconcileError> {
        let list = match self.comparer.chat.groups(cursor.next, GROUPS_MAX).await {
            // Perhaps Chat does not know the page of an earlier call any more.
            Err(error) if error.class() == Class::Permanent && cursor.next != 0 => {
                return self.list_again(cursor, error.into());
            }
            list => list?.value,
        };
        for group_ids in list.ids.get(cursor.done..).unwrap_or_default().chunks(PIECE) {
            // Chat may list a group twice.
            let ids = group_ids.iter().map(String::as_str).filter(|id| id.len() <= GROUP_ID_MAX_BYTES);
            let groups = self.look_up(ids.collect::<BTreeSet<_>>()).await?;
            self.compare_and_note(groups.into_iter().filter(|group| !group.is_there()).collect()).await?;
            let count = group_ids.len() as u64;
            self.report.groups_listed += count;
            cursor.done += group_ids.len();
            cursor.listed += count;
            self.checkpoint.phase = Phase::List(cursor);
            self.save().await?;
        }
        if list.next != 0 {
            self.checkpoint.phase = Phase::List(ListCursor { next: list.next, done: 0, ..cursor });
            return Ok(());
        }
        let (listed, total) = (cursor.listed, list.total.unwrap_or_default());
        let missing = total.saturating_sub(listed);
        // Groups that are created meanwhile may be missing.
        if missing > total / 1000 && !(cursor.is_again && is_plausible(missing, total)) {
            return self.list_again(cursor, ReconcileError::ShortList { listed, total });
        }
        self.checkpoint.phase = Phase::Gone;
        Ok(())
    }

    /// Begins Chat's list again, once in a pass; the second time, the pass fails.
    fn list_again(&mut self, cursor: ListCursor, error: ReconcileError) -> Result<(), ReconcileError> {
        let first = ListCursor { is_again: !cursor.is_again, ..ListCursor::default() };
        self.checkpoint.phase = Phase::List(first);
        if cursor.is_again { Err(error) } else { Ok(()) }
    }

    /// Compares groups, and remembers those that Chat calls gone.
    async fn compare_and_note(&mut self, groups: Vec<Listed>) -> Result<(), ReconcileError> {
        let there = groups.iter().filter(|group| group.is_there()).count() as u64;
        for (group, as_of) in self.compare_piece(groups).await? {
            self.note_checked();
            if group.is_there() {
                self.checkpoint.note_gone(group.key.group_id, as_of, self.comparer.request.allow_destroy);
            }
        }
        self.checkpoint.groups += there;
        Ok(())
    }

    /// Compares groups with Chat's answers until each has a result or the call's time is over. A group that meets a
    /// transient error comes again after the others, however often. Returns those that Chat calls gone, as of these times.
    pub(super) async fn compare_piece(
        &mut self,
        groups: Vec<Listed>,
    ) -> Result<Vec<(Listed, EventTime)>, ReconcileError> {
        let (mut open, mut gone) = (self.open(groups), Vec::new());
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !open.is_empty() {
            match self.compare_open(&mut open, &mut gone).await {
                Err(error) if error.class() == Some(Class::OutOfTime) => break,
                result => result?,
            }
            if !open.is_empty() {
                pause.wait(self.comparer.end).await;
            }
        }
        let mut is_done = true;
        for Open { group, cut_off, error } in open {
            is_done &= error.is_some_and(|error| self.is_skipped(&group.key.group_id, cut_off, &error));
        }
        if !is_done {
            return Err(ReconcileError::OutOfTime);
        }
        self.checkpoint.cut_off.clear();
        Ok(gone)
    }

    /// The groups of a piece, without those that this pass leaves out.
    fn open(&mut self, groups: Vec<Listed>) -> Vec<Open> {
        let mut open = Vec::with_capacity(groups.len());
        for group in groups {
            let cut_off = self.checkpoint.cut_off.get(&group.key.group_id).copied();
            match cut_off {
                Some(CutOff::Twice) => {
                    self.is_skipped(&group.key.group_id, cut_off, &ReconcileError::Killed);
                }
                Some(CutOff::Skipped) => {}
                Some(CutOff::Once) | None => open.push(Open { group, cut_off, error: None }),
            }
        }
        open
    }

    /// Remembers that a call ran out of time at a group. If an earlier one did so too, the group is skipped.
    fn is_skipped(&mut self, id: &str, earlier: Option<CutOff>, error: &dyn Error) -> bool {
        let cut_off = if earlier.is_some() { CutOff::Skipped } else { CutOff::Once };
        self.checkpoint.cut_off.insert(id.to_owned(), cut_off);
        if earlier.is_some() {
            self.note_skipped(id, error);
        }
        earlier.is_some()
    }

    /// Compares open groups once. Those stay that have no result yet.
    async fn compare_open(
        &mut self,
        open: &mut Vec<Open>,
        gone: &mut Vec<(Listed, EventTime)>,
    ) -> Result<(), ReconcileError> {
        let comparer = self.comparer;
        comparer.check_time()?;
        let custom_fields = self.custom_fields(open);
        let ids: Vec<&str> = open.iter().map(|one| one.group.key.group_id.as_str()).collect();
        let infos = comparer.chat.group_infos(&ids, custom_fields).await?;
        let (as_of, mut infos) = (as_of(infos.asked_at), infos.value);
        let (mut work, mut large) = (Vec::new(), Vec::new());
        for mut one in mem::take(open) {
            match infos.remove(&one.group.key.group_id) {
                Some(Ok(info)) => {
                    let is_large = info.member_num.is_some_and(|members| members > u64::from(MEMBERS_MAX));
                    if is_large { &mut large } else { &mut work }.push((one, info));
                }
                Some(Err(error)) if error.class() == Class::NotFound => gone.push((one.group, as_of)),
                Some(Err(error)) if error.is_transient() => {
                    one.error = Some(error.into());
                    open.push(one);
                }
                Some(Err(error)) => self.note_skipped(&one.group.key.group_id, &error),
                None => {}
            }
        }
        let work = work.into_iter().map(|(one, info)| self.compare(one, info, as_of));
        let work: Vec<_> = work.collect();
        let mut work = stream::iter(work).buffer_unordered(PARALLEL_GROUPS);
        while let Some((one, compared)) = work.next().await {
            open.extend(self.note(one, compared)?);
        }
        // One after the other, and behind all others. The checkpoint names each, in case the call is killed there.
        for (one, info) in large {
            let cut_off = if one.cut_off.is_some() { CutOff::Twice } else { CutOff::Once };
            self.checkpoint.cut_off.insert(one.group.key.group_id.clone(), cut_off);
            self.save().await?;
            let (one, compared) = self.compare(one, info, as_of).await;
            open.extend(self.note(one, compared)?);
        }
        Ok(())
    }

    fn compare(&self, one: Open, info: GroupInfo, as_of: EventTime) -> LocalBoxFuture<'a, (Open, Compared)> {
        let comparer = self.comparer;
        let is_due = self.checkpoint.is_due(&one.group.key.group_id);
        Box::pin(async move {
            let compared = comparer.compare(&one.group, &info, as_of, is_due).await;
            (one, compared)
        })
    }

    /// Counts, tells and remembers the result for a group. Returns the group if it has none yet. An error concerns the
    /// whole pass.
    fn note(&mut self, mut one: Open, compared: Compared) -> Result<Option<Open>, ReconcileError> {
        compared.correction.iter().for_each(|correction| self.note_corrected(correction));
        let id = &one.group.key.group_id;
        match compared.error.map(|error| (error.class(), error)) {
            // It was not begun.
            Some((_, ReconcileError::OutOfTime)) => return Ok(Some(one)),
            Some((Some(Class::Transient | Class::RateLimited | Class::OutOfTime), error)) => {
                one.error = Some(error);
                return Ok(Some(one));
            }
            Some((Some(Class::NotFound | Class::TooLarge | Class::Permanent), error)) => {
                self.note_skipped(id, &error);
            }
            Some((_, error)) => return Err(error),
            None => self.note_checked(),
        }
        self.checkpoint.cut_off.remove(id);
        Ok(None)
    }

    fn note_checked(&mut self) {
        self.report.groups_checked += 1;
        self.checkpoint.checked += 1;
        (self.observer)(&Note::Progress(&self.report));
    }

    pub(super) fn note_corrected(&mut self, correction: &Correction) {
        self.report.count(correction);
        (self.observer)(&Note::Corrected(correction));
    }

    fn note_skipped(&mut self, group_id: &str, error: &dyn Error) {
        self.report.skipped += 1;
        self.checkpoint.skipped += 1;
        (self.observer)(&Note::Skipped { group_id, error: &error_chain(error) });
    }

    /// Stores the checkpoint, if the lease is still ours.
    async fn save(&self) -> Result<(), ReconcileError> {
        let Some(lease) = self.lease else { return Ok(()) };
        let is_ours = self.comparer.reconcile.store.save(lease, &self.checkpoint).await?;
        if is_ours { Ok(()) } else { Err(ReconcileError::Busy) }
    }

    /// The items of these groups.
    pub(super) async fn look_up(
        &self,
        group_ids: impl IntoIterator<Item = &str>,
    ) -> Result<Vec<Listed>, StoreError> {
        let sdk_app_id = self.comparer.reconcile.sdk_app_id;
        let key = |group_id: &str| GroupKey { sdk_app_id, group_id: group_id.to_owned() };
        let keys = group_ids.into_iter().map(key).collect();
        self.comparer.reconcile.store.listed(keys, self.comparer.deadline()).await
    }

    /// The custom fields to ask for: those that the table has shown. All of them, if none of these groups is there or
    /// none has shown any.
    fn custom_fields(&mut self, groups: &[Open]) -> Option<&BTreeSet<String>> {
        let names = groups.iter().flat_map(|one| one.group.facts.values.keys());
        let names = names.filter_map(|name| name.strip_prefix(fact::USER_DEFINED)).map(str::to_owned);
        self.custom_fields.extend(names);
        let is_needed = !self.custom_fields.is_empty() && groups.iter().any(|one| one.group.is_there());
        is_needed.then_some(&self.custom_fields)
    }
}
