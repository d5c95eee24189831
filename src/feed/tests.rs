//! Records of the stream, and the events that they make.

mod properties;

use chat_groups_testkit::schema::EventSchema;
use serde_json::{Map, Value, json};

use super::{CloudEvent, EVENT_MAX_BYTES, Record};

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
    Record::read(&record(old, new)).event.map(valid)
}

/// The event itself, once the schema holds for it.
#[expect(clippy::panic, reason = "a test that has failed")]
fn valid(event: CloudEvent) -> CloudEvent {
    thread_local!(static SCHEMA: Result<EventSchema, String> = EventSchema::new());
    let checked = SCHEMA.with(|schema| schema.as_ref().map_err(Clone::clone)?.check(&json!(event)));
    checked.map(|()| event).unwrap_or_else(|error| panic!("{error}"))
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
