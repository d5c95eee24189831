//! Records of the stream, and the events that they make.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use super::*;
use crate::event::{Attributes, Facts, GroupKey};
use crate::store::{ItemKey, is_member, is_there, join, read, said};
use crate::time::EventTime;

const EVENT_ID: &str = "c81e728d9d4c2f636f067f89cc14862c";
const SEQUENCE_NUMBER: &str = "202328600001712385967261";

/// A record of one write, as Lambda hands it over.
fn record(old: Option<Value>, new: Option<Value>) -> Value {
    let mut stream = json!({
        "ApproximateCreationDateTime": 1_682_914_764.0, "SequenceNumber": SEQUENCE_NUMBER,
        "SizeBytes": 1, "StreamViewType": "NEW_AND_OLD_IMAGES",
    });
    for (name, image) in [("OldImage", old), ("NewImage", new)] {
        if let Some(image) = image {
            stream[name] = image;
        }
    }
    json!({ "eventID": EVENT_ID, "eventName": "MODIFY", "eventSource": "aws:dynamodb", "dynamodb": stream })
}

/// An image with DynamoDB's types, from plain JSON.
fn typed(plain: &Value) -> Value {
    let entries = plain.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), attribute(value))).collect::<Map<_, _>>().into()
}

fn attribute(value: &Value) -> Value {
    match value {
        Value::String(text) => json!({ "S": text }),
        Value::Number(number) => json!({ "N": number.to_string() }),
        Value::Object(_) => json!({ "M": typed(value) }),
        _ => json!({ "NULL": true }),
    }
}

fn group(fields: Value) -> Option<Value> {
    Some(typed(&with(
        json!({ "pk": "1400000000#@TGS#2Z4", "sk": "GROUP", "group_id": "@TGS#2Z4", "sdk_app_id": 1_400_000_000,
        "revision": 7, "client_ip": "203.0.113.7", "request_id": "r", "extra": { "k": "v" } }),
        fields,
    )))
}

fn member(fields: Value) -> Option<Value> {
    Some(typed(&with(
        json!({ "pk": "1400000000#@TGS#2Z4", "sk": "MEMBER#bob", "group_id": "@TGS#2Z4", "account": "bob", "revision": 7 }),
        fields,
    )))
}

fn with(mut item: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().into_iter().flatten() {
        item[name] = value.clone();
    }
    item
}

fn event(old: Option<Value>, new: Option<Value>) -> Option<CloudEvent> {
    Record::read(&record(old, new)).event
}

/// Type and data of an event; null if there is none.
fn told(old: Option<Value>, new: Option<Value>) -> Value {
    let Some(event) = event(old, new) else { return Value::Null };
    let mut data = json!(event.data);
    assert_eq!((&data["sdk_app_id"], &data["group_id"]), (&json!(1_400_000_000), &json!("@TGS#2Z4")));
    if let Some(data) = data.as_object_mut() {
        data.retain(|name, _| name != "sdk_app_id" && name != "group_id");
    }
    json!([event.r#type, data])
}

#[test]
fn an_event_is_a_cloud_event_and_the_same_record_makes_the_same_bytes() {
    let created = json!({ "event_time": 1_682_914_763_569_u64, "type": "Public", "name": "test",
        "owner_account": "ana", "operator_account": "ana", "initial_member_count": 2, "user_defined": { "b": "2", "a": "1" } });
    let record = record(None, group(created));
    let json = |record: &Value| Record::read(record).event.map(|event| event.to_json());
    assert_eq!(
        json(&record).as_deref(),
        Some(concat!(
            r#"{"specversion":"1.0","id":"c81e728d9d4c2f636f067f89cc14862c","source":"chat-groups/1400000000","#,
            r#""type":"group.created","subject":"@TGS#2Z4","time":"2023-05-01T04:19:23.569Z","#,
            r#""recordedtime":"2023-05-01T04:19:24.000Z","sequence":"0000000000000000202328600001712385967261","#,
            r#""dataschema":"urn:chat-groups:event:1","data":{"sdk_app_id":1400000000,"group_id":"@TGS#2Z4","#,
            r#""at":1682914763569,"by":"ana","after":{"event_time":1682914763569,"initial_member_count":2,"#,
            r#""name":"test","operator_account":"ana","owner_account":"ana","type":"Public","#,
            r#""user_defined":{"a":"1","b":"2"}}}}"#
        ))
    );
    assert_eq!(json(&record), json(&record));
}

#[test]
fn each_change_that_readers_see_has_its_event() {
    let joined = json!({ "event_time": 20, "join_type": "Invited", "joined_by": "ana", "role": "Member" });
    assert_eq!(
        told(None, member(joined.clone())),
        json!(["member.joined", { "account": "bob", "at": 20, "by": "ana", "after": joined }])
    );
    let promoted = json!({ "event_time": 20, "join_type": "Invited", "joined_by": "ana", "role": "Admin",
        "changed_at": { "role": 30 }, "changed_by": { "role": "cy" } });
    assert_eq!(
        told(member(joined.clone()), member(promoted.clone())),
        json!(["member.updated", { "account": "bob", "at": 30, "by": "cy", "changed": ["role"],
            "before": { "role": "Member" }, "after": promoted }])
    );
    let left = json!({ "event_time": 40, "left_at": 40, "exit_type": "Kicked", "left_by": "ana" });
    assert_eq!(
        told(member(promoted.clone()), member(left.clone())),
        json!(["member.left", { "account": "bob", "at": 40, "by": "ana", "before": promoted, "after": left }])
    );
    let again = json!({ "event_time": 50, "role": "Member" });
    assert_eq!(
        told(member(left), member(again.clone())),
        json!(["member.joined", { "account": "bob", "at": 50, "after": again }])
    );
    let later = json!({ "event_time": 60, "joined_by": "dan", "role": "Member" });
    assert_eq!(
        told(member(again), member(later.clone())),
        json!(["member.joined", { "account": "bob", "at": 60, "by": "dan", "before": { "event_time": 50 }, "after": later }])
    );

    let created =
        json!({ "event_time": 10, "name": "test", "user_defined": { "color": "red", "size": "1" } });
    let renamed = json!({ "event_time": 10, "name": "new", "user_defined": { "color": "blue", "size": "1" },
        "changed_at": { "name": 30, "user_defined.color": 31 }, "changed_by": { "name": "ana" } });
    assert_eq!(
        told(group(created.clone()), group(renamed.clone())),
        json!(["group.updated", { "at": 31, "changed": ["name", "user_defined.color"],
            "before": { "name": "test", "user_defined": { "color": "red" } }, "after": renamed }])
    );
    let destroyed = with(renamed.clone(), json!({ "destroyed_at": 40, "destroyed_by": "ana" }));
    assert_eq!(
        told(group(renamed.clone()), group(destroyed.clone())),
        json!(["group.destroyed", { "at": 40, "by": "ana", "before": renamed, "after": destroyed }])
    );
    let next_life = json!({ "event_time": 50, "operator_account": "cy" });
    let created_again = |before: Value| {
        let mut data = json!({ "at": 50, "by": "cy", "after": next_life });
        if !before.is_null() {
            data["before"] = before;
        }
        json!(["group.created", data])
    };
    assert_eq!(told(group(destroyed), group(next_life.clone())), created_again(Value::Null));
    assert_eq!(told(group(created), group(next_life.clone())), created_again(json!({ "event_time": 10 })));
}

#[test]
fn whatever_readers_do_not_see_is_silent() {
    let stored = json!({ "event_time": 10, "name": "test", "operator_account": "ana" });
    for (name, value) in [
        ("revision", json!(8)),
        ("operator_account", json!("ben")),
        ("client_ip", json!("203.0.113.8")),
        ("initial_member_count", json!(3)),
        ("extra", json!({ "k": "w" })),
        ("of_another_program", json!("x")),
        ("changed_by", json!({ "name": "ben" })),
        ("changed_at", json!({ "name": 11 })),
    ] {
        let mut changed = stored.clone();
        changed[name] = value;
        assert_eq!(told(group(stored.clone()), group(changed)), Value::Null, "{name}");
    }
    let tombstone = json!({ "event_time": 10, "left_at": 10, "expires_at": 20 });
    let renewed = json!({ "event_time": 11, "left_at": 11, "expires_at": 21 });
    assert_eq!(told(member(tombstone.clone()), member(renewed)), Value::Null);
    assert_eq!(told(None, member(tombstone.clone())), Value::Null);
    assert_eq!(told(member(tombstone), None), Value::Null);
    assert_eq!(told(group(stored), None), Value::Null);
    assert_eq!(
        told(None, group(json!({ "name": "of a creation not seen", "changed_at": { "name": 5 } }))),
        Value::Null
    );
    let lease = typed(&json!({ "pk": "1400000000!reconcile", "sk": "PLACE", "event_time": 10 }));
    assert_eq!(told(None, Some(lease)), Value::Null);
}

#[test]
fn an_image_of_another_shape_is_passed_over() {
    let stored = json!({ "event_time": 10, "name": "test" });
    for (name, value) in [
        ("event_time", json!("10")),
        ("event_time", json!(1.5)),
        ("event_time", Value::Null),
        ("destroyed_at", json!("now")),
        ("name", json!(5)),
        ("user_defined", json!("none")),
        ("user_defined", json!({ "k": 1 })),
        ("changed_at", json!({ "name": "then" })),
        ("changed_by", json!({ "name": 1 })),
        ("operator_account", json!(1)),
        ("pk", Value::Null),
        ("pk", json!("14#")),
        ("pk", json!("no number#g")),
        ("pk", json!("+14#g")),
        ("sk", json!(1)),
    ] {
        let wrong = group(with(stored.clone(), json!({ name: value })));
        let is_silent = name == "pk" && value == "14#";
        assert_eq!(event(None, wrong.clone()).is_some(), is_silent, "{name} {value}");
        assert_eq!(event(wrong, group(json!({ "event_time": 11 }))).is_some(), name == "pk" || name == "sk");
    }
    for record in [
        json!(null),
        json!({}),
        json!([]),
        json!({ "dynamodb": 5 }),
        json!({ "dynamodb": { "NewImage": [] } }),
    ] {
        assert!(Record::read(&record).event.is_none());
    }
    let mut nameless = record(None, group(stored));
    nameless["eventID"] = Value::Null;
    assert!(Record::read(&nameless).event.is_none());
}

#[test]
fn an_event_that_is_too_large_loses_before_and_then_its_longest_values() {
    let long = |count: usize| "x".repeat(count);
    let fields = |introduction: usize, notification: usize| {
        json!({ "event_time": 10, "name": "test", "introduction": long(introduction), "notification": long(notification),
            "user_defined": { "k": long(50_000), "short": "s" }, "changed_at": { "introduction": 20 } })
    };
    let before = group(fields(100_000, 10));
    let event = |after| event(before.clone(), group(after)).unwrap_or_else(|| unreachable!());

    let whole = event(fields(40_000, 10));
    assert!(whole.data.before.is_some() && whole.data.omitted.is_empty());
    let without_before = event(fields(110_000, 10));
    assert!(without_before.data.before.is_none() && without_before.data.omitted.is_empty());
    let cut = event(fields(110_000, 60_000));
    assert_eq!(cut.data.omitted, ["introduction"]);
    assert_eq!(cut.data.after.get("changed_at"), Some(&json!({ "introduction": 20 })));
    let cut = event(fields(210_000, 199_900));
    assert_eq!(cut.data.omitted, ["introduction", "notification"]);
    assert_eq!(cut.data.changed, ["introduction", "notification"]);
    assert!(cut.data.after.contains_key("user_defined") && cut.to_json().len() <= EVENT_MAX_BYTES);
}

#[test]
fn names_and_authors_of_any_length_leave_an_event_that_can_be_sent() {
    let name = |n: usize| format!("{n}{}", "\u{0}".repeat(30_000));
    let custom: Map<_, _> = (0..6).map(|n| (name(n), json!(""))).collect();
    let times: Map<_, _> = (0..6).map(|n| (format!("user_defined.{}", name(n)), json!(20))).collect();
    let fields = json!({ "event_time": 10, "operator_account": "\u{0}".repeat(50_000), "user_defined": custom, "changed_at": times });
    let event = event(None, group(fields)).unwrap_or_else(|| unreachable!());
    assert!(event.to_json().len() <= EVENT_MAX_BYTES);
    assert_eq!(event.data.omitted, ["operator_account", "user_defined", "changed_by"]);
}

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
fn states(key: ItemKey<'_>, said: &[Facts]) -> Vec<Attributes> {
    let mut facts = Facts::default();
    let mut states = Vec::new();
    for said in said {
        let mut said = said.clone();
        let is_of_kind =
            |name: &str| name.starts_with("user_defined.") || (name == "role") == key.account.is_some();
        said.values.retain(|name, _| is_of_kind(name));
        facts = join(&facts, &said);
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
            let json = |record: &Value| Record::read(record).event.map(|event| event.to_json());
            prop_assert_eq!(json(&record), json(&record));
        }
    }

    #[test]
    fn events_in_any_order_repeated_and_with_holes_fold_to_the_readers_view(
        said in proptest::collection::vec(proptest::collection::vec(said(), 1..7), 3),
        holes in proptest::collection::vec(any::<bool>(), 24),
        order in proptest::collection::vec(any::<Index>(), 40),
    ) {
        let key = GroupKey { sdk_app_id: 1, group_id: "g".to_owned() };
        let (mut delivered, mut last) = (Vec::new(), Vec::new());
        for (account, said) in ACCOUNTS.into_iter().zip(&said) {
            let (mut before, mut events) = (None, Vec::new());
            let states = states(ItemKey { group: &key, account }, said);
            for after in &states {
                let change = crate::store::change(before, Some(after));
                let change = change.map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(before.and_then(visible) != visible(after), change.is_some());
                let event = |change| CloudEvent::of_record(&change, "id", "1", EventTime::from_millis(1));
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
