//! How far a pass has come: what is kept in the table, so that another call goes on there.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::ReconcileRequest;
use crate::store::Position;
use crate::time::{EventTime, to_millis};

/// In how many passes every group's members are listed once.
const MEMBER_PASSES: u64 = 24;

/// How much the ids of groups that may be gone may take together, in bytes. The item holds 400 KB.
const GONE_MAX_BYTES: usize = 150_000;

/// The place of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    /// How many passes came to their end.
    pub pass: u64,
    /// Whether this pass lists the members of every group.
    pub all_members: bool,
    /// Where it is.
    pub stage: Stage,
    /// How many groups the table has shown so far.
    pub groups: u64,
    /// How many of them were destroyed so far.
    pub destroyed: u64,
    /// Groups that Chat called gone once, with the moment of that answer in milliseconds.
    pub gone: BTreeMap<String, u64>,
    /// When the last of them was called gone, by our clock.
    pub gone_at: u64,
    /// How many more there are than the place holds: the next pass confirms them.
    pub more_gone: u64,
    /// Whether they were too many. A call that allows them only has to confirm them; another begins the next pass.
    pub is_refused: bool,
}

/// The parts of a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// The groups of the table are compared; after this position.
    Table(Option<Position>),
    /// The groups that Chat lists and the table lacks are added.
    List {
        /// The page.
        next: u64,
        /// How many groups of it are done.
        done: usize,
    },
    /// The groups that may be gone are confirmed.
    Gone,
}

impl Default for Stage {
    fn default() -> Self {
        Self::Table(None)
    }
}

impl Place {
    /// Goes on from what the table holds, unless this call asks for more than the pass that was broken off.
    pub(super) fn resume(text: Option<&str>, request: &ReconcileRequest) -> Self {
        // What can't be read is a pass that begins.
        let place: Self = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let is_over = place.is_refused && !request.allow_destroy;
        match is_over || (request.all_members && !place.all_members) {
            true => Self {
                pass: place.pass + u64::from(is_over),
                all_members: request.all_members,
                ..Self::default()
            },
            false => Self { is_refused: false, ..place },
        }
    }

    /// As it is kept in the table.
    pub(super) fn to_text(&self) -> String {
        // Strings and numbers always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether it is a group's turn to have its members listed.
    pub(super) fn is_turn_of(&self, group_id: &str) -> bool {
        self.all_members || fnv1a(group_id) % MEMBER_PASSES == self.pass % MEMBER_PASSES
    }

    /// Remembers that Chat called a group gone, or counts it.
    pub(super) fn note_gone(&mut self, group_id: String, as_of: EventTime, is_counted: bool) {
        if is_counted {
            self.more_gone += 1;
        } else {
            self.gone.entry(group_id).or_insert(as_of.as_millis());
            self.gone_at = to_millis(SystemTime::now());
        }
    }

    /// Whether no more groups that may be gone fit.
    pub(super) fn is_full(&self) -> bool {
        self.gone.keys().map(|group_id| group_id.len() + 20).sum::<usize>() > GONE_MAX_BYTES
    }
}

/// The hash FNV-1a: the same in every build, unlike those of the standard library.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_its_turn_once_in_24_passes_and_the_turns_are_spread() {
        let mut in_pass_0 = 0;
        for number in 0..2_400 {
            let group_id = format!("@TGS#{number}");
            let turns = (0..24).filter(|pass| {
                let place = Place { pass: 100 + pass, ..Place::default() };
                place.is_turn_of(&group_id)
            });
            assert_eq!(turns.count(), 1);
            in_pass_0 += usize::from(Place::default().is_turn_of(&group_id));
        }
        assert!((60..140).contains(&in_pass_0), "{in_pass_0}");
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_pass_goes_on_unless_more_is_asked_for() {
        let place = Place {
            pass: 7,
            stage: Stage::List { next: u64::MAX, done: 3 },
            gone: [("g".to_owned(), 5)].into(),
            ..Place::default()
        };
        let (plain, all) =
            (ReconcileRequest::default(), ReconcileRequest { all_members: true, ..Default::default() });
        let text = place.to_text();
        assert_eq!(Place::resume(Some(&text), &plain), place);
        let begun = Place { pass: 7, all_members: true, ..Place::default() };
        assert_eq!(Place::resume(Some(&text), &all), begun);
        let going = Place { all_members: true, ..place };
        assert_eq!(Place::resume(Some(&going.to_text()), &all), going);
        assert_eq!(Place::resume(Some(&going.to_text()), &plain), going);
        let refused = Place { is_refused: true, stage: Stage::Gone, ..going.clone() };
        let allowed = ReconcileRequest { allow_destroy: true, ..Default::default() };
        let confirming = Place { stage: Stage::Gone, ..going };
        assert_eq!(Place::resume(Some(&refused.to_text()), &allowed), confirming);
        let next = Place { pass: 8, ..Place::default() };
        assert_eq!(Place::resume(Some(&refused.to_text()), &plain), next);
        for text in [None, Some(""), Some("{}"), Some("{")] {
            assert_eq!(Place::resume(text, &plain), Place::default());
        }
    }
}
