//! Newest wins, each fact by itself. Here alone it is decided which of two facts is kept.
//!
//! Merging is commutative, idempotent and associative, so the order of events and their repetition can't matter.

use crate::event::{Attributes, FactName, Facts};
use crate::time::EventTime;

/// The effect of incoming facts on stored ones.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Merged {
    /// At least one incoming fact is newer.
    Changed {
        /// The facts to store.
        facts: Facts,
        /// Whether a new life begins after an earlier one.
        is_new_life: bool,
    },
    /// All incoming facts are stored already.
    Unchanged,
    /// No incoming fact is newer, and at least one is older.
    Stale,
}

/// Merges incoming facts into stored ones.
pub(super) fn merge(stored: &Facts, incoming: &Facts) -> Merged {
    let facts = join(stored, incoming);
    if (&facts.began, &facts.ended, &facts.values) != (&stored.began, &stored.ended, &stored.values) {
        let is_new_life =
            life(stored).is_some() && facts.ended.is_none() && facts.event_time() > stored.event_time();
        Merged::Changed { facts, is_new_life }
    } else if is_stale(stored, incoming) {
        Merged::Stale
    } else {
        Merged::Unchanged
    }
}

/// Whether every fact of an item was said before the group's creation, or not after its destruction.
pub(crate) fn is_of_earlier_life(facts: &Facts, group: &Facts) -> bool {
    let newest = newest(facts);
    newest.is_some() && (newest < group.event_time() || newest <= group.ended_at())
}

/// The time of the newest fact.
pub(super) fn newest(facts: &Facts) -> Option<EventTime> {
    facts.values.values().map(|fact| fact.time).max().max(life(facts))
}

/// Whether readers see a group.
pub fn is_there(group: &Facts) -> bool {
    group.began.is_some() && group.ended.is_none()
}

/// Whether readers see an account as a member of a group that is there.
pub fn is_member(facts: &Facts, group: &Facts) -> bool {
    facts.began.is_some() && facts.ended.is_none() && facts.event_time() >= group.event_time()
}

/// The join (least upper bound) of two sets of facts.
pub fn join(stored: &Facts, incoming: &Facts) -> Facts {
    let began = stored.began.as_ref().max(incoming.began.as_ref());
    let event_time = began.map(|fact| fact.time);
    let values = names(stored, incoming).filter_map(|name| {
        let fact = stored.fact(name).max(incoming.fact(name))?;
        let is_default = fact.value.is_none() && fact.by.is_none() && Some(fact.time) == event_time;
        (!is_default).then(|| (name.clone(), fact))
    });
    let ended = stored.ended.as_ref().max(incoming.ended.as_ref());
    Facts {
        values: values.collect(),
        ended: ended.filter(|fact| Some(fact.time) >= event_time).cloned(),
        began: began.cloned(),
        details: details(stored, incoming),
    }
}

/// Details are those of the newest creation or join; of two at the same time, of the first to arrive.
fn details(stored: &Facts, incoming: &Facts) -> Option<Attributes> {
    let is_newer = incoming.event_time() > stored.event_time();
    let (newer, older) = if is_newer { (incoming, stored) } else { (stored, incoming) };
    newer.details.as_ref().or(older.details.as_ref()).cloned()
}

fn names<'a>(stored: &'a Facts, incoming: &'a Facts) -> impl Iterator<Item = &'a FactName> {
    let only_stored = stored.values.keys().filter(|name| !incoming.values.contains_key(*name));
    incoming.values.keys().chain(only_stored)
}

fn is_stale(stored: &Facts, incoming: &Facts) -> bool {
    let since = |facts: &Facts, name: &str| facts.fact(name).map(|fact| fact.time);
    let is_older = |name: &FactName| since(incoming, name) < since(stored, name);
    let is_incoming = |name: &&FactName| incoming.began.is_some() || incoming.values.contains_key(*name);
    let life_is_older = life(incoming).is_some() && life(incoming) < life(stored);
    life_is_older || names(stored, incoming).filter(is_incoming).any(is_older)
}

/// The last time at which the group, or the membership, began or ended.
fn life(facts: &Facts) -> Option<EventTime> {
    facts.event_time().max(facts.ended_at())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use std::sync::Arc;

    use super::*;
    use crate::event::{Fact, Stamp, fact};

    fn at(millis: u64) -> EventTime {
        EventTime::from_millis(millis)
    }

    fn any_time() -> impl Strategy<Value = EventTime> {
        (0_u64..5).prop_map(at)
    }

    fn any_stamp() -> impl Strategy<Value = Stamp> {
        let by = prop_oneof![Just(None), "[xy]".prop_map(|by| Some(Arc::from(by)))];
        (any_time(), by).prop_map(|(time, by)| Stamp { time, by })
    }

    /// The facts of one event about an item; few times, values and authors, so that ties happen.
    pub(crate) fn any_facts() -> impl Strategy<Value = Facts> {
        let value = || prop_oneof![Just(None), Just(Some(String::new())), "[ab]".prop_map(Some)];
        let names = prop_oneof![Just(fact::NAME), Just(fact::ROLE), Just("user_defined.k")];
        let values = proptest::collection::btree_map(names, value(), 0..3);
        (any_stamp(), values, value(), 0..4).prop_map(|(stamp, values, value, kind)| {
            let mut facts = match kind {
                0 => Facts::joined(stamp.clone(), value, Attributes::new()),
                1 => return Facts::departed(stamp, value),
                2 => return Facts::destroyed(stamp),
                _ => Facts::default(),
            };
            values.into_iter().for_each(|(name, value)| facts.set(name, value, stamp.clone()));
            facts
        })
    }

    /// The join of facts in this order; without details, which are no facts.
    fn all<'a>(facts: impl IntoIterator<Item = &'a Facts>) -> Facts {
        let merged = facts.into_iter().fold(Facts::default(), |stored, incoming| join(&stored, incoming));
        Facts { details: None, ..merged }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, max_global_rejects: 50_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn order_and_repetition_do_not_matter(
            (facts, shuffled) in proptest::collection::vec(any_facts(), 1..7).prop_flat_map(|facts| {
                let twice: Vec<Facts> = facts.iter().chain(&facts).cloned().collect();
                (Just(facts), Just(twice).prop_shuffle())
            })
        ) {
            prop_assert_eq!(all(&facts), all(&shuffled));
        }

        #[test]
        fn parts_can_be_merged_first(
            a in proptest::collection::vec(any_facts(), 0..4),
            b in proptest::collection::vec(any_facts(), 0..4),
            c in proptest::collection::vec(any_facts(), 0..4),
        ) {
            let (a, b, c) = (all(&a), all(&b), all(&c));
            prop_assert_eq!(all([&all([&a, &b]), &c]), all([&a, &all([&b, &c])]));
            prop_assert_eq!(all([&a, &a]), a);
        }

        #[test]
        fn a_merge_is_a_join_and_changes_nothing_the_second_time(stored in proptest::collection::vec(any_facts(), 0..5), incoming in any_facts()) {
            let stored = all(&stored);
            if let Merged::Changed { facts, .. } = merge(&stored, &incoming) {
                prop_assert_ne!(merge(&facts, &incoming), Merged::Changed { facts: facts.clone(), is_new_life: false });
                prop_assert_eq!(all([&stored, &incoming]), Facts { details: None, ..facts });
            } else {
                prop_assert_eq!(all([&stored, &incoming]), stored);
            }
        }

        #[test]
        fn readers_see_the_same_with_and_without_an_item_of_an_earlier_life(
            group in proptest::collection::vec(any_facts(), 1..5),
            member in proptest::collection::vec(any_facts(), 1..5),
            later in (proptest::collection::vec(any_facts(), 0..4), proptest::collection::vec(any_facts(), 0..4)),
        ) {
            let (group, member) = (all(&group), all(&member));
            prop_assume!(is_of_earlier_life(&member, &group));
            let (group_after, without) = (all([&group, &all(&later.0)]), all(&later.1));
            let with = all([&member, &without]);
            prop_assert_eq!(view(&with, &group_after), view(&without, &group_after));
        }
    }

    /// The readers' view of a member.
    fn view<'a>(member: &'a Facts, group: &Facts) -> Option<&'a std::collections::BTreeMap<FactName, Fact>> {
        (is_there(group) && is_member(member, group)).then_some(&member.values)
    }

    fn group(time: u64, name: &str) -> Facts {
        let mut facts = Facts::present(at(time));
        facts.set(fact::NAME, Some(name.to_owned()), at(time));
        facts
    }

    fn renamed(time: u64, name: &str) -> Facts {
        let mut facts = Facts::default();
        facts.set(fact::NAME, Some(name.to_owned()), at(time));
        facts
    }

    fn destroyed(time: u64) -> Facts {
        Facts::destroyed(at(time))
    }

    #[test]
    fn gone_beats_there_and_the_greater_value_wins_at_the_same_time() {
        assert_eq!(all([&group(5, "a"), &destroyed(5)]).ended_at(), Some(at(5)));
        assert_eq!(all([&renamed(5, "b"), &group(5, "a")]).value(fact::NAME), Some("b"));
        assert_eq!(all([&renamed(5, ""), &Facts::present(at(5))]).value(fact::NAME), Some(""));
        assert_eq!(all([&Facts::departed(at(5), None), &Facts::present(at(5))]).ended_at(), Some(at(5)));
    }

    #[test]
    fn a_new_creation_ends_the_facts_of_the_earlier_life() {
        let again = all([&group(5, "a"), &renamed(7, "b"), &destroyed(8), &Facts::present(at(9))]);
        assert_eq!(again, Facts { details: None, ..Facts::present(at(9)) });
    }

    #[test]
    fn an_event_changes_an_item_or_repeats_it_or_is_stale() {
        let stored = all([&group(5, "a"), &renamed(7, "b")]);
        let new_life = |incoming: &Facts| match merge(&stored, incoming) {
            Merged::Changed { is_new_life, .. } => Some(is_new_life),
            Merged::Unchanged | Merged::Stale => None,
        };
        assert_eq!(new_life(&renamed(8, "c")), Some(false));
        assert_eq!(new_life(&destroyed(8)), Some(false));
        assert_eq!(new_life(&group(8, "d")), Some(true));
        assert_eq!(merge(&stored, &renamed(7, "b")), Merged::Unchanged);
        assert_eq!(merge(&stored, &renamed(6, "c")), Merged::Stale);
        assert_eq!(merge(&stored, &group(4, "a")), Merged::Stale);
        // The same creation again: its name is stale by now.
        assert_eq!(merge(&stored, &group(5, "a")), Merged::Stale);
        assert_eq!(merge(&group(5, "a"), &group(5, "a")), Merged::Unchanged);
        assert_eq!(merge(&all([&group(5, "a"), &destroyed(8)]), &group(5, "a")), Merged::Stale);
        // A later creation, but not later than the destruction: no new life.
        let ended = all([&group(5, "a"), &destroyed(8)]);
        assert!(matches!(merge(&ended, &group(7, "b")), Merged::Changed { is_new_life: false, .. }));
    }

    #[test]
    fn an_item_is_of_an_earlier_life_until_the_destruction_and_before_the_creation() {
        let (mut ended, begun) = (destroyed(8), group(8, "a"));
        ended.began = Facts::present(at(5)).began;
        let is_earlier = |time| {
            let member = Facts::present(at(time));
            [&ended, &begun].map(|group| is_of_earlier_life(&member, group))
        };
        assert_eq!([is_earlier(7), is_earlier(8), is_earlier(9)], [[true; 2], [true, false], [false; 2]]);
        assert!(!is_of_earlier_life(&Facts::default(), &ended));
    }

    #[test]
    fn details_are_those_of_the_newest_creation_and_of_the_first_to_arrive_at_the_same_time() {
        let created = |time, by: &str| {
            let details = [("request_id".to_owned(), crate::event::text(by))];
            Facts { details: Some(details.into()), ..Facts::present(at(time)) }
        };
        let (early, first, second) = (created(4, "early"), created(5, "first"), created(5, "second"));
        for order in [[&early, &first, &second], [&first, &early, &second], [&first, &second, &early]] {
            let merged = order.into_iter().fold(Facts::default(), |stored, incoming| join(&stored, incoming));
            assert_eq!(merged.details, first.details);
        }
    }
}
