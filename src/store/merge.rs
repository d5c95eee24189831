//! Newest wins, each fact by itself. Nowhere else are times compared.
//!
//! Merging is commutative, idempotent and associative, so the order of events and their repetition can't matter.

use crate::event::{Attributes, FactName, Facts};
use crate::time::EventTime;

/// What an event changes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Merged {
    /// Something that it says is news.
    Changed {
        /// What is known from now on.
        facts: Facts,
        /// Whether a new life has begun where an earlier one was known.
        is_new_life: bool,
    },
    /// All that it says is known.
    Unchanged,
    /// Nothing that it says is news, and some of it is older than what is known.
    Stale {
        /// Whether all of it is: it speaks of an earlier life of the group.
        is_earlier_life: bool,
    },
}

/// Merges what an event says into what is known.
pub(super) fn merge(known: &Facts, said: &Facts) -> Merged {
    let facts = join(known, said);
    let is_news = (&facts.event_time, &facts.gone_at, &facts.values)
        != (&known.event_time, &known.gone_at, &known.values);
    if is_news {
        let is_new_life =
            life(known).is_some() && facts.gone_at.is_none() && facts.event_time > known.event_time;
        Merged::Changed { facts, is_new_life }
    } else if is_outdated(known, said) {
        Merged::Stale { is_earlier_life: is_of_earlier_life(said, known) }
    } else {
        Merged::Unchanged
    }
}

/// Whether all that is known of an item was said before the group's creation, or not after its destruction: it is of an
/// earlier life then.
pub(super) fn is_of_earlier_life(facts: &Facts, group: &Facts) -> bool {
    let newest = facts.values.values().map(|fact| fact.time).max().max(life(facts));
    newest.is_some() && (newest < group.event_time || newest <= group.gone_at)
}

/// Whether an account of these facts is a member of this group.
pub(crate) fn is_member(facts: &Facts, group: &Facts) -> bool {
    facts.gone_at.is_none() && facts.event_time.is_some() && facts.event_time >= group.event_time
}

/// The least that says all that either of two says.
pub(super) fn join(known: &Facts, said: &Facts) -> Facts {
    let event_time = known.event_time.max(said.event_time);
    let values = names(known, said).filter_map(|name| {
        let fact = known.fact(name).max(said.fact(name))?;
        let is_default = fact.value.is_none() && Some(fact.time) == event_time;
        (!is_default).then(|| (name.clone(), fact))
    });
    Facts {
        event_time,
        gone_at: known.gone_at.max(said.gone_at).filter(|gone_at| Some(*gone_at) >= event_time),
        values: values.collect(),
        details: details(known, said),
    }
}

/// Details are those of the newest creation, or join; of two at the same time, of the first to arrive.
fn details(known: &Facts, said: &Facts) -> Option<Attributes> {
    let (newer, older) = if said.event_time > known.event_time { (said, known) } else { (known, said) };
    newer.details.as_ref().or(older.details.as_ref()).cloned()
}

fn names<'a>(known: &'a Facts, said: &'a Facts) -> impl Iterator<Item = &'a FactName> {
    let only_known = known.values.keys().filter(|name| !said.values.contains_key(*name));
    said.values.keys().chain(only_known)
}

fn is_outdated(known: &Facts, said: &Facts) -> bool {
    let since = |facts: &Facts, name: &str| facts.fact(name).map(|fact| fact.time);
    let is_older = |name: &FactName| since(said, name) < since(known, name);
    let speaks_of = |name: &&FactName| said.event_time.is_some() || said.values.contains_key(*name);
    let life_is_older = life(said).is_some() && life(said) < life(known);
    life_is_older || names(known, said).filter(speaks_of).any(is_older)
}

/// When it was last said whether the group, or the member, is there.
fn life(facts: &Facts) -> Option<EventTime> {
    facts.event_time.max(facts.gone_at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Fact, fact};

    fn at(millis: u64) -> EventTime {
        EventTime::from_millis(millis)
    }

    fn any_time() -> impl Strategy<Value = EventTime> {
        (0_u64..5).prop_map(at)
    }

    /// What one event says of an item; few times and values, so that ties happen.
    fn said() -> impl Strategy<Value = Facts> {
        let value = prop_oneof![Just(None), Just(Some(String::new())), "[ab]".prop_map(Some)];
        let names = prop_oneof![Just(fact::NAME), Just(fact::ROLE), Just("user_defined.k")];
        let values = proptest::collection::btree_map(names.prop_map(FactName::from), value, 0..3);
        (any_time(), values, 0..4).prop_map(|(time, values, kind)| {
            let values = values.into_iter().map(|(name, value)| (name, Fact { time, value })).collect();
            match kind {
                0 => Facts {
                    event_time: Some(time),
                    values,
                    details: Some(Attributes::new()),
                    ..Facts::default()
                },
                1 => Facts::departed(time),
                2 => Facts { gone_at: Some(time), ..Facts::default() },
                _ => Facts { values, ..Facts::default() },
            }
        })
    }

    /// Facts in the order that they come; details apart, which are no facts.
    fn all<'a>(said: impl IntoIterator<Item = &'a Facts>) -> Facts {
        let merged = said.into_iter().fold(Facts::default(), |known, said| join(&known, said));
        Facts { details: None, ..merged }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, max_global_rejects: 50_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn order_and_repetition_do_not_matter(
            (said, shuffled) in proptest::collection::vec(said(), 1..7).prop_flat_map(|said| {
                let twice: Vec<Facts> = said.iter().chain(&said).cloned().collect();
                (Just(said), Just(twice).prop_shuffle())
            })
        ) {
            prop_assert_eq!(all(&said), all(&shuffled));
        }

        #[test]
        fn parts_can_be_merged_first(
            a in proptest::collection::vec(said(), 0..4),
            b in proptest::collection::vec(said(), 0..4),
            c in proptest::collection::vec(said(), 0..4),
        ) {
            let (a, b, c) = (all(&a), all(&b), all(&c));
            prop_assert_eq!(all([&all([&a, &b]), &c]), all([&a, &all([&b, &c])]));
            prop_assert_eq!(all([&a, &a]), a);
        }

        #[test]
        fn what_was_merged_is_known(known in proptest::collection::vec(said(), 0..5), said in said()) {
            let known = all(&known);
            if let Merged::Changed { facts, .. } = merge(&known, &said) {
                prop_assert_ne!(merge(&facts, &said), Merged::Changed { facts: facts.clone(), is_new_life: false });
                prop_assert_eq!(all([&known, &said]), Facts { details: None, ..facts });
            } else {
                prop_assert_eq!(all([&known, &said]), known);
            }
        }

        #[test]
        fn whether_an_item_of_an_earlier_life_is_removed_or_not_readers_see_the_same(
            group in proptest::collection::vec(said(), 1..5),
            member in proptest::collection::vec(said(), 1..5),
            later in (proptest::collection::vec(said(), 0..4), proptest::collection::vec(said(), 0..4)),
        ) {
            let (group, member) = (all(&group), all(&member));
            prop_assume!(is_of_earlier_life(&member, &group));
            let (group_after, without) = (all([&group, &all(&later.0)]), all(&later.1));
            let with = all([&member, &without]);
            prop_assert_eq!(view(&with, &group_after), view(&without, &group_after));
        }
    }

    /// What readers see of a member.
    fn view<'a>(member: &'a Facts, group: &Facts) -> Option<&'a std::collections::BTreeMap<FactName, Fact>> {
        let is_there = group.event_time.is_some() && group.gone_at.is_none();
        (is_there && is_member(member, group)).then_some(&member.values)
    }

    fn group(time: u64, name: &str) -> Facts {
        let mut facts = Facts::present(at(time), Attributes::new());
        facts.set(fact::NAME, Some(name.to_owned()), at(time));
        facts
    }

    fn renamed(time: u64, name: &str) -> Facts {
        let mut facts = Facts::default();
        facts.set(fact::NAME, Some(name.to_owned()), at(time));
        facts
    }

    fn destroyed(time: u64) -> Facts {
        Facts { gone_at: Some(at(time)), ..Facts::default() }
    }

    #[test]
    fn gone_beats_there_and_the_greater_value_wins_at_the_same_time() {
        assert_eq!(all([&group(5, "a"), &destroyed(5)]).gone_at, Some(at(5)));
        assert_eq!(all([&renamed(5, "b"), &group(5, "a")]).value(fact::NAME), Some("b"));
        assert_eq!(
            all([&renamed(5, ""), &Facts::present(at(5), Attributes::new())]).value(fact::NAME),
            Some("")
        );
        assert_eq!(
            all([&Facts::departed(at(5)), &Facts::present(at(5), Attributes::new())]).gone_at,
            Some(at(5))
        );
    }

    #[test]
    fn a_new_creation_ends_what_was_said_of_the_earlier_life() {
        let again =
            all([&group(5, "a"), &renamed(7, "b"), &destroyed(8), &Facts::present(at(9), Attributes::new())]);
        assert_eq!(again, Facts { event_time: Some(at(9)), ..Facts::default() });
    }

    #[test]
    fn an_event_is_news_or_known_or_outdated() {
        let known = all([&group(5, "a"), &renamed(7, "b")]);
        let outdated = |is_earlier_life| Merged::Stale { is_earlier_life };
        let news = |said: &Facts| match merge(&known, said) {
            Merged::Changed { is_new_life, .. } => Some(is_new_life),
            Merged::Unchanged | Merged::Stale { .. } => None,
        };
        assert_eq!(news(&renamed(8, "c")), Some(false));
        assert_eq!(news(&destroyed(8)), Some(false));
        assert_eq!(news(&group(8, "d")), Some(true));
        assert_eq!(merge(&known, &renamed(7, "b")), Merged::Unchanged);
        assert_eq!(merge(&known, &renamed(6, "c")), outdated(false));
        assert_eq!(merge(&known, &group(4, "a")), outdated(true));
        // The same creation again: its name is outdated by now.
        assert_eq!(merge(&known, &group(5, "a")), outdated(false));
        assert_eq!(merge(&group(5, "a"), &group(5, "a")), Merged::Unchanged);
        assert_eq!(merge(&all([&group(5, "a"), &destroyed(8)]), &group(5, "a")), outdated(true));
        // A later creation, but not later than the destruction: no new life.
        let ended = all([&group(5, "a"), &destroyed(8)]);
        assert!(matches!(merge(&ended, &group(7, "b")), Merged::Changed { is_new_life: false, .. }));
    }

    #[test]
    fn an_item_is_of_an_earlier_life_until_the_destruction_and_before_the_creation() {
        let (mut ended, mut begun) = (destroyed(8), group(8, "a"));
        (ended.event_time, begun.gone_at) = (Some(at(5)), None);
        let is_earlier = |time| {
            let member = Facts::present(at(time), Attributes::new());
            [&ended, &begun].map(|group| is_of_earlier_life(&member, group))
        };
        assert_eq!([is_earlier(7), is_earlier(8), is_earlier(9)], [[true; 2], [true, false], [false; 2]]);
        assert!(!is_of_earlier_life(&Facts::default(), &ended));
    }

    #[test]
    fn details_are_those_of_the_newest_creation_and_of_the_first_to_arrive_at_the_same_time() {
        let created = |time, by: &str| {
            let details = [("operator_account".to_owned(), crate::event::text(by))];
            Facts::present(at(time), details.into())
        };
        let (early, first, second) = (created(4, "early"), created(5, "first"), created(5, "second"));
        for known in [[&early, &first, &second], [&first, &early, &second], [&first, &second, &early]] {
            let merged = known.into_iter().fold(Facts::default(), |known, said| join(&known, said));
            assert_eq!(merged.details, first.details);
        }
    }
}
