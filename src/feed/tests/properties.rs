//! Properties of any images, and of any order in which events come.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::{record, valid};
use crate::event::{Attributes, Facts, GroupKey};
use crate::feed::{CloudEvent, Record, Roster, RosterGroup, RosterMember, Written};
use crate::store::{ItemKey, any_facts, change, is_member, is_there, join, read};
use crate::time::EventTime;

/// An attribute of any type, also of none that DynamoDB has.
fn any_attribute() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        "[a-c]{0,3}".prop_map(|text| json!({ "S": text })),
        "[0-9]{1,21}|-1|1e5|".prop_map(|digits| json!({ "N": digits })),
        Just(json!({ "NULL": true })),
        Just(json!({ "BOOL": true })),
        Just(json!({ "L": [{ "S": "a" }] })),
        Just(json!({ "SS": ["a"] })),
        Just(json!({ "S": 5 })),
        Just(json!({ "X": "a" })),
        Just(json!([])),
        Just(json!({})),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let names = select(vec!["name", "role", "user_defined.k", "k", ""]).prop_map(str::to_owned);
        proptest::collection::hash_map(names, inner, 0..3).prop_map(|map| json!({ "M": map }))
    })
}

fn any_image() -> impl Strategy<Value = Value> {
    let names = select(vec![
        "event_time",
        "destroyed_at",
        "left_at",
        "name",
        "role",
        "owner_account",
        "user_defined",
        "changed_at",
        "changed_by",
        "operator_account",
        "joined_by",
        "initial_member_count",
        "extra",
        "pk",
        "sk",
        "other",
    ]);
    let keys =
        (select(vec!["1#g", "1", "#", "1#", "x#g"]), select(vec!["GROUP", "MEMBER#a", "MEMBER#", "PLACE"]));
    (keys, proptest::collection::hash_map(names, any_attribute(), 0..8)).prop_map(|((pk, sk), attributes)| {
        let mut image = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
        for (name, value) in attributes {
            image[name] = value;
        }
        image
    })
}

/// Items of one group: of itself, and of two accounts.
const ACCOUNTS: [Option<&str>; 3] = [None, Some("ana"), Some("ben")];

/// The states of an item one after the other, as the table holds them.
fn states(key: ItemKey<'_>, incoming: &[Facts]) -> Vec<Attributes> {
    let mut facts = Facts::default();
    let mut states = Vec::new();
    for incoming in incoming {
        let mut incoming = incoming.clone();
        let is_of_kind =
            |name: &str| name.starts_with("user_defined.") || (name == "role") == key.account.is_some();
        incoming.values.retain(|name, _| is_of_kind(name));
        facts = join(&facts, &incoming);
        states.push(key.item(&facts));
    }
    states
}

/// Whatever readers can see of an item by itself.
fn visible(item: &Attributes) -> Option<(EventTime, BTreeMap<String, String>)> {
    let facts = Some(read(item)).filter(is_there)?;
    let values = facts.values.iter().filter_map(|(name, fact)| Some((name.to_string(), fact.value.clone()?)));
    Some((facts.event_time()?, values.collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_image_stops_the_feed(old in any_image(), new in any_image()) {
        for (old, new) in [(Some(old.clone()), Some(new.clone())), (None, Some(new)), (Some(old), None)] {
            let record = record(old, new);
            let json = |record: &Value| Record::read(record).event.map(|event| valid(event).to_json());
            prop_assert_eq!(json(&record), json(&record));
        }
    }

    #[test]
    fn events_in_any_order_repeated_and_with_holes_fold_to_the_readers_view(
        incoming in proptest::collection::vec(proptest::collection::vec(any_facts(), 1..7), 3),
        holes in proptest::collection::vec(any::<bool>(), 24),
        order in proptest::collection::vec(any::<Index>(), 40),
    ) {
        let key = GroupKey { sdk_app_id: 1, group_id: "g".to_owned() };
        let (mut delivered, mut last) = (Vec::new(), Vec::new());
        for (account, incoming) in ACCOUNTS.into_iter().zip(&incoming) {
            let (mut before, mut events) = (None, Vec::new());
            let states = states(ItemKey { group: &key, account }, incoming);
            let written = Written { sequence_number: "1", at: EventTime::from_millis(1) };
            for after in &states {
                let change = change(before, Some(after)).map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(before.and_then(visible) != visible(after), change.is_some());
                let event = |change| valid(CloudEvent::new(&change, "id".to_owned(), Some(written)));
                events.extend(change.map(event));
                before = Some(after);
            }
            delivered.extend(events.pop());
            let is_kept = |(index, _): &(usize, CloudEvent)| holes.get(delivered.len() + index).is_some_and(|kept| *kept);
            let kept: Vec<_> = events.into_iter().enumerate().filter(is_kept).map(|(_, event)| event).collect();
            delivered.extend(kept);
            last.extend(states.last().cloned());
        }
        let mut roster = Roster::default();
        if !delivered.is_empty() {
            order.iter().for_each(|index| roster.apply(index.get(&delivered)));
        }
        delivered.iter().rev().for_each(|event| roster.apply(event));

        let facts: Vec<_> = last.iter().map(read).collect();
        let group = facts.first().filter(|group| is_there(group));
        let expected = group.and_then(|group| {
            let (event_time, fields) = visible(last.first()?)?;
            let members = ACCOUNTS.iter().zip(&last).zip(&facts).filter(|(_, facts)| is_member(facts, group));
            let members = members.filter_map(|((account, item), _)| {
                let (event_time, fields) = visible(item)?;
                let event_time = event_time.as_millis();
                Some(((*account)?.to_owned(), RosterMember { event_time, fields, omitted: [].into() }))
            });
            let event_time = event_time.as_millis();
            Some(RosterGroup { event_time, fields, members: members.collect(), omitted: [].into() })
        });
        prop_assert_eq!(roster.group(&key), expected);
    }
}
