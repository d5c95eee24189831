//! A piece of a pass: some groups, compared with Chat's answers, several at once. One loop counts, tells and remembers.

use std::collections::BTreeSet;
use std::error::Error;
use std::mem;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::{StreamExt, stream};

use super::checkpoint::{CutOff, hash};
use super::compare::{Compared, MEMBERS_MAX};
use super::diff::as_of;
use super::pass::Pass;
use super::{Correction, Note, ReconcileError};
use crate::chat::{Class, GroupInfo};
use crate::event::fact;
use crate::log::error_chain;
use crate::retry::Backoff;
use crate::store::Listed;
use crate::time::EventTime;

/// How many groups of a piece are compared at once.
pub(super) const PARALLEL_GROUPS: usize = 16;

/// How long a group that met a transient error waits for its next turn; longer each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A group that has no result yet.
struct Open {
    group: Listed,
    /// Whether an earlier call ran out of time at it, or was killed there.
    is_second: bool,
    /// The error at which it stands; none if it was not begun.
    error: Option<ReconcileError>,
}

impl<'a> Pass<'a> {
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
        for Open { group: Listed { key, .. }, is_second, error } in open {
            match error {
                Some(error) if is_second => self.note_skipped(&key.group_id, &error),
                Some(_) => {
                    self.checkpoint.cut_off.insert(hash(&key.group_id), CutOff::Once);
                    is_done = false;
                }
                None => is_done = false,
            }
        }
        if !is_done {
            return Err(ReconcileError::OutOfTime);
        }
        self.checkpoint.cut_off.clear();
        self.checkpoint.done.clear();
        Ok(gone)
    }

    /// The groups of a piece that have no result yet.
    fn open(&mut self, groups: Vec<Listed>) -> Vec<Open> {
        let mut open = Vec::with_capacity(groups.len());
        for group in groups {
            let id = &group.key.group_id;
            match self.checkpoint.cut_off.get(&hash(id)) {
                _ if self.checkpoint.done.contains(&hash(id)) => {}
                Some(CutOff::Twice) => self.note_skipped(id, &ReconcileError::Killed),
                cut_off => open.push(Open { is_second: cut_off.is_some(), group, error: None }),
            }
        }
        open
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
        let mut work = Vec::new();
        for mut one in mem::take(open) {
            match infos.remove(&one.group.key.group_id) {
                Some(Ok(info)) => work.push((one, info)),
                Some(Err(error)) if error.class() == Class::NotFound => gone.push((one.group, as_of)),
                Some(Err(error)) if error.is_transient() => {
                    one.error = Some(error.into());
                    open.push(one);
                }
                Some(Err(error)) => self.note_skipped(&one.group.key.group_id, &error),
                None => {}
            }
        }
        self.compare_all(work, as_of, open).await
    }

    /// Compares several groups at once, and then those one after the other that fill the memory alone: the checkpoint names
    /// each of these, in case the call is killed there.
    async fn compare_all(
        &mut self,
        mut groups: Vec<(Open, GroupInfo)>,
        as_of: EventTime,
        open: &mut Vec<Open>,
    ) -> Result<(), ReconcileError> {
        // A large group holds up no smaller one.
        groups.sort_by_key(|(_, info)| info.member_num);
        let is_large = |(_, info): &(Open, GroupInfo)| info.member_num > Some(u64::from(MEMBERS_MAX));
        let (large, small): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_large);
        let small: Vec<_> = small.into_iter().map(|(one, info)| self.compare(one, info, as_of)).collect();
        let mut small = stream::iter(small).buffer_unordered(PARALLEL_GROUPS);
        while let Some((one, compared)) = small.next().await {
            open.extend(self.note(one, compared)?);
        }
        for (one, info) in large {
            if self.comparer.check_time().is_err() {
                open.push(one);
                continue;
            }
            let cut_off = if one.is_second { CutOff::Twice } else { CutOff::Once };
            self.checkpoint.cut_off.insert(hash(&one.group.key.group_id), cut_off);
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
            None => {
                self.checkpoint.done.insert(hash(id));
                self.note_checked();
            }
        }
        self.checkpoint.cut_off.remove(&hash(id));
        Ok(None)
    }

    pub(super) fn note_checked(&mut self) {
        self.report.groups_checked += 1;
        self.checkpoint.checked += 1;
        (self.observer)(&Note::Progress(&self.report));
    }

    pub(super) fn note_corrected(&mut self, correction: &Correction) {
        self.report.count(correction);
        (self.observer)(&Note::Corrected(correction));
    }

    fn note_skipped(&mut self, group_id: &str, error: &dyn Error) {
        self.checkpoint.done.insert(hash(group_id));
        self.report.skipped += 1;
        self.checkpoint.skipped += 1;
        (self.observer)(&Note::Skipped { group_id, error: &error_chain(error) });
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
