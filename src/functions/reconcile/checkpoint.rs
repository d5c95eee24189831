//! How far a pass has come: the state in the table from which another call goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Members, ReconcileError, ReconcileRequest};
use crate::store::ScanKey;
use crate::time::EventTime;

/// The number of passes in which the members of every group are listed once.
const MEMBER_PASSES: u64 = 24;

/// The most bytes for the ids of groups that may be gone, together. The item holds 400 KB.
const GONE_MAX_BYTES: usize = 150_000;

/// A part of all groups is not plausible if it is more groups than this, and more than a tenth.
const PLAUSIBLE_MAX: u64 = 20;
const PLAUSIBLE_SHARE: u64 = 10;

/// The state of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Checkpoint {
    /// The number of passes that have ended.
    pub pass: u64,
    /// When this pass began.
    pub begun_at: Option<EventTime>,
    /// When the pass began that the next one waits for.
    pub last_begun_at: Option<EventTime>,
    /// Whether the last pass failed at its end.
    pub has_failed: bool,
    pub members: Members,
    pub phase: Phase,
    /// The number of groups that the table has shown so far.
    pub groups: u64,
    /// The number of groups that were compared so far, and of those that could not be.
    pub checked: u64,
    pub skipped: u64,
    /// The number of groups that were destroyed so far.
    pub destroyed: u64,
    /// The groups that Chat called gone once, with the moment of that answer.
    pub gone: BTreeMap<String, EventTime>,
    /// When the last of them was called gone, by our clock.
    pub gone_at: EventTime,
    /// The number of groups that may be gone beyond those: the next pass confirms them.
    pub more_gone: u64,
    /// Whether they were too many. A call that allows them only has to confirm them; another begins the next pass.
    pub is_refused: bool,
    /// The hashes of those groups of the piece under way that have a result: no call begins a piece from its beginning
    /// again.
    pub done: BTreeSet<u64>,
    /// The hashes of those at which calls ran out of time, or were killed.
    pub cut_off: BTreeMap<u64, CutOff>,
}

/// The parts of a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Compares the groups of the table, those after this key.
    Table(Option<ScanKey>),
    /// Adds the groups that Chat lists and the table lacks.
    List(ListCursor),
    /// Confirms the groups that may be gone.
    Gone,
}

/// The place in Chat's list of groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ListCursor {
    /// The page.
    pub next: u64,
    /// How many groups of the page are done.
    pub done: usize,
    /// How many groups the list has named so far.
    pub listed: u64,
    /// Whether the list was begun again, because it was too short or its page was unknown.
    pub is_again: bool,
}

/// The calls that did not get beyond a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CutOff {
    /// One: the next call tries the group again.
    Once,
    /// Two, of which the second one was killed: the next call skips the group.
    Twice,
}

impl Default for Phase {
    fn default() -> Self {
        Self::Table(None)
    }
}

impl Checkpoint {
    /// Goes on from the stored state, unless this call asks for more than the pass that was broken off. `None` if the next
    /// pass is not due.
    pub(super) fn resume(
        mut self,
        request: &ReconcileRequest,
        every: Duration,
        now: EventTime,
    ) -> Option<Self> {
        if self.is_refused && !request.allow_destroy {
            self = self.end(false);
        }
        if self.begun_at.is_some() && request.members <= self.members {
            return Some(Self { is_refused: false, ..self });
        }
        // A clock that was set back must not hold up the next pass.
        let is_due = self.last_begun_at.is_none_or(|last| last + every <= now || last > now);
        let Self { pass, last_begun_at, has_failed, .. } = self;
        let (begun_at, members) = (Some(now), request.members);
        let begun = Self { pass, last_begun_at, has_failed, begun_at, members, ..Self::default() };
        (is_due || request.now).then_some(begun)
    }

    /// The state after a call with this result.
    pub(super) fn after(self, result: &Result<(), ReconcileError>) -> Self {
        match result {
            Ok(()) => self.end(true),
            Err(ReconcileError::TooManySkipped { .. } | ReconcileError::ShortList { .. }) => self.end(false),
            Err(ReconcileError::TooManyGone { .. }) => Self { is_refused: true, ..self },
            Err(_) => self,
        }
    }

    /// The state after a pass. The next one waits until it is due; but after a failed one the pass is repeated at once, if
    /// the one before had not failed too.
    fn end(self, is_success: bool) -> Self {
        let is_repeated = !is_success && !self.has_failed;
        let last_begun_at = if is_repeated { self.last_begun_at } else { self.begun_at };
        Self { pass: self.pass + 1, last_begun_at, has_failed: !is_success, ..Self::default() }
    }

    /// Whether the members of a group are listed in this pass, though nothing else about it differs.
    pub(super) fn is_due(&self, group_id: &str) -> bool {
        self.members == Members::All || hash(group_id) % MEMBER_PASSES == self.pass % MEMBER_PASSES
    }

    /// Remembers that Chat called a group gone; counts it if there is no room left.
    pub(super) fn note_gone(&mut self, group_id: String, as_of: EventTime, allow_destroy: bool) {
        // With `allow_destroy` the list is emptied soon, so a few more entries fit.
        if self.is_full() && !allow_destroy {
            self.more_gone += 1;
        } else {
            self.gone.entry(group_id).or_insert(as_of);
            self.gone_at = SystemTime::now().into();
        }
    }

    /// Whether no more groups that may be gone fit.
    pub(super) fn is_full(&self) -> bool {
        self.gone.keys().map(|group_id| group_id.len() + 20).sum::<usize>() > GONE_MAX_BYTES
    }

    /// Fails if too many groups could not be compared.
    pub(super) fn check_skipped(&self) -> Result<(), ReconcileError> {
        let (skipped, groups) = (self.skipped, self.checked + self.skipped);
        let error = ReconcileError::TooManySkipped { skipped, groups };
        if is_plausible(skipped, groups) { Ok(()) } else { Err(error) }
    }
}

/// A number that is the same in every build, unlike the hashes of the standard library.
pub(super) fn hash(group_id: &str) -> u64 {
    Sha256::digest(group_id).iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Whether so many of all groups may have vanished, or failed.
pub(super) fn is_plausible(part: u64, groups: u64) -> bool {
    part <= PLAUSIBLE_MAX || part * PLAUSIBLE_SHARE <= groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::reconcile::Members;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Two days after the Unix epoch.
    fn now() -> EventTime {
        EventTime::default() + DAY * 2
    }

    fn ago(duration: Duration) -> EventTime {
        EventTime::default() + (DAY * 2 - duration)
    }

    fn resume(stored: &Checkpoint, request: &ReconcileRequest) -> Option<Checkpoint> {
        stored.clone().resume(request, DAY, now())
    }

    #[test]
    fn every_group_has_its_turn_once_in_24_passes_and_the_turns_are_spread() {
        let mut in_pass_0 = 0;
        for number in 0..2_400 {
            let group_id = format!("@TGS#{number}");
            let turns = (0..24).filter(|pass| {
                let checkpoint = Checkpoint { pass: 100 + pass, ..Checkpoint::default() };
                checkpoint.is_due(&group_id)
            });
            assert_eq!(turns.count(), 1);
            in_pass_0 += usize::from(Checkpoint::default().is_due(&group_id));
        }
        assert!((60..140).contains(&in_pass_0), "{in_pass_0}");
    }

    #[test]
    fn a_pass_goes_on_unless_more_is_asked_for() {
        let list = ListCursor { next: u64::MAX, done: 3, listed: 3, is_again: false };
        let stored = Checkpoint {
            pass: 7,
            begun_at: Some(ago(DAY / 2)),
            phase: Phase::List(list),
            gone: [("g".to_owned(), EventTime::from_millis(5))].into(),
            ..Checkpoint::default()
        };
        let plain = ReconcileRequest::default();
        let all = ReconcileRequest { members: Members::All, now: true, ..plain.clone() };
        assert_eq!(resume(&stored, &plain), Some(stored.clone()));
        let begun =
            Checkpoint { pass: 7, begun_at: Some(now()), members: Members::All, ..Checkpoint::default() };
        assert_eq!(resume(&stored, &all), Some(begun));
        let going = Checkpoint { members: Members::All, ..stored };
        assert_eq!(resume(&going, &all), Some(going.clone()));
        assert_eq!(resume(&going, &plain), Some(going.clone()));
        let refused = Checkpoint { is_refused: true, phase: Phase::Gone, ..going.clone() };
        let allowed = ReconcileRequest { allow_destroy: true, now: true, ..plain.clone() };
        let confirming = Checkpoint { phase: Phase::Gone, ..going };
        assert_eq!(resume(&refused, &allowed), Some(confirming));
        let next = Checkpoint { pass: 8, begun_at: Some(now()), has_failed: true, ..Checkpoint::default() };
        assert_eq!(resume(&refused, &plain), Some(next));
        let first = Checkpoint { begun_at: Some(now()), ..Checkpoint::default() };
        assert_eq!(resume(&Checkpoint::default(), &plain), Some(first));
    }

    #[test]
    fn a_scheduled_call_begins_a_pass_once_the_last_finished_one_began_long_enough_ago() {
        let plain = ReconcileRequest::default();
        let by_hand = ReconcileRequest { now: true, ..plain.clone() };
        let last = |begun_at| {
            let begun = Checkpoint { pass: 3, begun_at: Some(begun_at), ..Checkpoint::default() };
            begun.after(&Ok(()))
        };
        let begun =
            |begun_at, request| resume(&last(begun_at), request).map(|begun| (begun.pass, begun.begun_at));
        let second = Duration::from_secs(1);
        assert_eq!(begun(ago(DAY - second), &plain), None);
        assert_eq!(begun(ago(DAY - second), &by_hand), Some((4, Some(now()))));
        assert_eq!(begun(ago(DAY), &plain), Some((4, Some(now()))));
        assert_eq!(begun(now() + DAY, &plain), Some((4, Some(now()))), "the clock was set back");
    }

    #[test]
    fn a_pass_that_failed_at_its_end_is_repeated_at_once_but_only_once() {
        let plain = ReconcileRequest::default();
        let failed = |stored: Checkpoint| {
            stored.after(&Err(ReconcileError::TooManySkipped { skipped: 21, groups: 21 }))
        };
        let first = Checkpoint { pass: 3, begun_at: Some(ago(DAY / 2)), ..Checkpoint::default() };
        let second = resume(&failed(first), &plain).unwrap_or_default();
        assert_eq!((second.pass, second.begun_at), (4, Some(now())));
        let second = Checkpoint { begun_at: Some(ago(DAY / 4)), ..second };
        assert_eq!(resume(&failed(second.clone()), &plain), None);
        let refused = second.clone().after(&Err(ReconcileError::TooManyGone { gone: 21, groups: 21 }));
        assert_eq!(resume(&refused, &plain), None);
        // A day later it is due again, and after a success all is as before.
        let third = resume(&failed(Checkpoint { begun_at: Some(ago(DAY)), ..second }), &plain);
        let third = third.unwrap_or_default();
        assert!(third.has_failed && !third.after(&Ok(())).has_failed);
    }

    #[test]
    fn twenty_of_few_groups_and_a_tenth_of_many_are_plausible() {
        assert!(is_plausible(20, 0) && is_plausible(21, 210) && is_plausible(0, 0));
        assert!(!is_plausible(21, 209) && !is_plausible(1_000, 9_999));
    }
}
