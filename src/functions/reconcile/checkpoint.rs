//! How far a pass has come: the state in the table from which another call goes on.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ReconcileError, ReconcileRequest};
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
    /// When the last finished pass began.
    pub last_begun_at: Option<EventTime>,
    /// Whether this pass lists the members of every group.
    pub all_members: bool,
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
    /// The groups at which the last call ran out of time.
    pub cut_off: BTreeMap<String, CutOff>,
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

/// The state of a group at which a call ran out of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CutOff {
    /// Once: the next call tries it again.
    Once,
    /// Twice: this pass leaves it out.
    Skipped,
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
        text: Option<&str>,
        request: &ReconcileRequest,
        every: Duration,
        now: EventTime,
    ) -> Option<Self> {
        // A pass begins anew from a state that can't be read.
        let mut stored: Self = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        if stored.is_refused && !request.allow_destroy {
            stored = stored.next();
        }
        let asks_for_more = request.members.is_some() && !stored.all_members;
        if stored.begun_at.is_some() && !asks_for_more {
            return Some(Self { is_refused: false, ..stored });
        }
        // A clock that was set back must not hold up the next pass.
        let is_due = stored.last_begun_at.is_none_or(|last| last + every <= now || last > now);
        (is_due || request.now).then(|| Self {
            pass: stored.pass,
            last_begun_at: stored.last_begun_at,
            begun_at: Some(now),
            all_members: request.members.is_some(),
            ..Self::default()
        })
    }

    /// The state after a call with this result.
    pub(super) fn after(self, result: &Result<(), ReconcileError>) -> Self {
        match result {
            Ok(()) => Self { last_begun_at: self.begun_at, ..self.next() },
            Err(ReconcileError::TooManySkipped { .. }) => self.next(),
            Err(ReconcileError::TooManyGone { .. }) => Self { is_refused: true, ..self },
            Err(_) => self,
        }
    }

    /// The state before the next pass.
    fn next(self) -> Self {
        Self { pass: self.pass + 1, last_begun_at: self.last_begun_at, ..Self::default() }
    }

    /// As it is stored.
    pub(super) fn to_text(&self) -> String {
        // Strings and numbers always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether the members of a group are listed in this pass, though nothing else about it differs.
    pub(super) fn is_due(&self, group_id: &str) -> bool {
        // The same in every build, unlike the hashes of the standard library.
        let hash = Sha256::digest(group_id).iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte));
        self.all_members || hash % MEMBER_PASSES == self.pass % MEMBER_PASSES
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

    fn resume(text: &str, request: &ReconcileRequest) -> Option<Checkpoint> {
        Checkpoint::resume(Some(text), request, DAY, now())
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
        let all = ReconcileRequest { members: Some(Members::All), now: true, ..plain.clone() };
        assert_eq!(resume(&stored.to_text(), &plain), Some(stored.clone()));
        let begun = Checkpoint { pass: 7, begun_at: Some(now()), all_members: true, ..Checkpoint::default() };
        assert_eq!(resume(&stored.to_text(), &all), Some(begun));
        let going = Checkpoint { all_members: true, ..stored };
        assert_eq!(resume(&going.to_text(), &all), Some(going.clone()));
        assert_eq!(resume(&going.to_text(), &plain), Some(going.clone()));
        let refused = Checkpoint { is_refused: true, phase: Phase::Gone, ..going.clone() };
        let allowed = ReconcileRequest { allow_destroy: true, now: true, ..plain.clone() };
        let confirming = Checkpoint { phase: Phase::Gone, ..going };
        assert_eq!(resume(&refused.to_text(), &allowed), Some(confirming));
        let next = Checkpoint { pass: 8, begun_at: Some(now()), ..Checkpoint::default() };
        assert_eq!(resume(&refused.to_text(), &plain), Some(next));
        for text in ["", "{}", "{"] {
            let first = Checkpoint { begun_at: Some(now()), ..Checkpoint::default() };
            assert_eq!(resume(text, &plain), Some(first));
        }
    }

    #[test]
    fn a_scheduled_call_begins_a_pass_once_the_last_finished_one_began_long_enough_ago() {
        let plain = ReconcileRequest::default();
        let by_hand = ReconcileRequest { now: true, ..plain.clone() };
        let last = |begun_at| {
            let begun = Checkpoint { pass: 3, begun_at: Some(begun_at), ..Checkpoint::default() };
            begun.after(&Ok(())).to_text()
        };
        let begun =
            |begun_at, request| resume(&last(begun_at), request).map(|begun| (begun.pass, begun.begun_at));
        let second = Duration::from_secs(1);
        assert_eq!(begun(ago(DAY - second), &plain), None);
        assert_eq!(begun(ago(DAY - second), &by_hand), Some((4, Some(now()))));
        assert_eq!(begun(ago(DAY), &plain), Some((4, Some(now()))));
        assert_eq!(begun(now() + DAY, &plain), Some((4, Some(now()))), "the clock was set back");
        // A pass that failed is not finished.
        let failed = Checkpoint { pass: 3, begun_at: Some(ago(second)), ..Checkpoint::default() };
        let failed = failed.after(&Err(ReconcileError::TooManySkipped { skipped: 21, groups: 21 }));
        assert_eq!(resume(&failed.to_text(), &plain).map(|begun| begun.pass), Some(4));
    }

    #[test]
    fn twenty_of_few_groups_and_a_tenth_of_many_are_plausible() {
        assert!(is_plausible(20, 0) && is_plausible(21, 210) && is_plausible(0, 0));
        assert!(!is_plausible(21, 209) && !is_plausible(1_000, 9_999));
    }
}
