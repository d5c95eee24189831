//! A pass over all groups, in three phases, as much of it as one call can do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};

use super::checkpoint::{Checkpoint, ListCursor, Phase, is_plausible};
use super::compare::Comparer;
use super::piece::PARALLEL_GROUPS;
use super::{Members, Observer, ReconcileError, Report};
use crate::chat::{Class, GROUPS_MAX};
use crate::event::{Event, Facts, GROUP_ID_MAX_BYTES, GroupKey};
use crate::store::{Lease, Listed, ScanKey, StoreError, chunks, scan_key};
use crate::time::from_millis;

/// How many groups are compared between two checkpoints: twenty questions to Chat.
const PIECE: usize = 1000;

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

impl Pass<'_> {
    /// Compares these groups alone, with their members.
    pub(super) async fn run_named(&mut self, group_ids: &[String]) -> Result<(), ReconcileError> {
        self.checkpoint.members = Members::All;
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

    /// Asks a second time about the groups that Chat called gone, and destroys those that it still does, unless there are
    /// too many of them.
    async fn confirm_gone(&mut self) -> Result<(), ReconcileError> {
        let comparer = self.comparer;
        let since = SystemTime::now().duration_since(from_millis(self.checkpoint.gone_at.as_millis()));
        let wait = comparer.reconcile.confirm_after.saturating_sub(since.unwrap_or_default());
        if self.checkpoint.gone.is_empty() {
            return Ok(());
        }
        if Instant::now() + wait >= comparer.end {
            return Err(ReconcileError::OutOfTime);
        }
        sleep(wait).await;
        let events = self.still_gone().await?;
        let Checkpoint { destroyed, more_gone, groups, .. } = self.checkpoint;
        let gone = destroyed + events.len() as u64 + more_gone;
        if !is_plausible(gone, groups) && !comparer.request.allow_destroy {
            return Err(ReconcileError::TooManyGone { gone, groups });
        }
        let work = events.into_iter().map(async |event| {
            comparer.check_time()?;
            let id = event.key.group_id.clone();
            Ok::<_, ReconcileError>((id, comparer.write(event, BTreeMap::new()).await?))
        });
        let work: Vec<_> = work.collect();
        let mut work = stream::iter(work).buffer_unordered(PARALLEL_GROUPS);
        while let Some(destroyed) = work.next().await {
            let (id, correction) = destroyed?;
            self.checkpoint.gone.remove(&id);
            self.checkpoint.destroyed += 1;
            correction.iter().for_each(|correction| self.note_corrected(correction));
        }
        self.checkpoint.gone.clear();
        Ok(())
    }

    /// The destruction of those groups that the table still shows and Chat calls gone again, as of the first time.
    async fn still_gone(&mut self) -> Result<Vec<Event>, ReconcileError> {
        let gone = self.checkpoint.gone.clone();
        let mut groups = self.look_up(gone.keys().map(String::as_str)).await?;
        // A callback may have told of it meanwhile, or of a new life.
        groups.retain(|Listed { key, facts, .. }| facts.event_time() <= gone.get(&key.group_id).copied());
        groups.retain(Listed::is_there);
        let still_gone = self.compare_piece(groups).await?.into_iter();
        let destroyed = still_gone.filter_map(|(Listed { key, .. }, _)| {
            let group = Facts::destroyed(*gone.get(&key.group_id)?);
            Some(Event { key, group, members: BTreeMap::new() })
        });
        Ok(destroyed.collect())
    }

    /// Stores the checkpoint, if the lease is still ours.
    pub(super) async fn save(&self) -> Result<(), ReconcileError> {
        let Some(lease) = self.lease else { return Ok(()) };
        let is_ours = self.comparer.reconcile.store.save(lease, &self.checkpoint).await?;
        if is_ours { Ok(()) } else { Err(ReconcileError::Busy) }
    }

    /// The items of these groups.
    async fn look_up(&self, group_ids: impl IntoIterator<Item = &str>) -> Result<Vec<Listed>, StoreError> {
        let sdk_app_id = self.comparer.reconcile.sdk_app_id;
        let key = |group_id: &str| GroupKey { sdk_app_id, group_id: group_id.to_owned() };
        let keys = group_ids.into_iter().map(key).collect();
        self.comparer.reconcile.store.listed(keys, self.comparer.deadline()).await
    }
}
