//! The change feed through the whole chain: callbacks, the table, its stream, `publish`, the history and the bus.

mod faults;
mod process;
mod snapshot;

use std::collections::{BTreeMap, HashMap};
use std::env::VarError;
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::types::AttributeValue;
use chat_groups::config::PublishSettings;
use chat_groups::feed::{CloudEvent, Roster};
use chat_groups::publish::{Publish, PublishRecord};
use fastrand::Rng;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::bus::Bus;
use crate::database::HISTORY_TABLE_NAME;
use crate::feeder::Feeder;
use crate::harness::{SDK_APP_ID, Table, body, deliver, key, plain};
use crate::model::{any_history, seen_by_model};
use chat_groups_testkit::bodies::Group;
use chat_groups_testkit::model::{folded, seen};
use chat_groups_testkit::schema::EventSchema;

const ARN: &str = "arn:aws:events:local:123456789012:event-bus/changes";

/// A table with its stream, whatever follows it, and the bus and the history behind that.
struct Chain {
    table: Table,
    feeder: Feeder,
    bus: Bus,
}

impl Chain {
    async fn start() -> Self {
        let (table, database) = Table::start_with_stream().await;
        let feeder = Feeder::new(database).unwrap();
        Self { table, feeder, bus: Bus::start([]).await.unwrap() }
    }

    /// The function, with other settings.
    fn publish(&self, settings: &[(&str, &str)]) -> Publish {
        let mut env = self.table.env_with(&[
            ("HISTORY_TABLE_NAME", HISTORY_TABLE_NAME),
            ("EVENT_BUS_ARN", ARN),
            ("AWS_ENDPOINT_URL_EVENTBRIDGE", &self.bus.url),
        ]);
        env.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let read = |name: &str| env.get(name).cloned().ok_or(VarError::NotPresent);
        Publish::from_settings(PublishSettings::from_env(&read).unwrap())
    }

    /// Lets a function follow the stream up to its end.
    async fn follow(&mut self, publish: &Publish) {
        let feed = self.feeder.feed(async |batch| Ok(run(publish, &batch).await.0));
        feed.await.unwrap();
    }

    /// The items of the history as plain JSON, by their event ids.
    async fn history(&self) -> BTreeMap<String, Value> {
        let scan = self.table.client().scan().table_name(HISTORY_TABLE_NAME).consistent_read(true);
        let items: Vec<HashMap<_, _>> =
            scan.into_paginator().items().send().collect::<Result<_, _>>().await.unwrap();
        let item = |item: HashMap<String, AttributeValue>| {
            let item = item.iter().map(|(name, value)| (name.clone(), plain(value)));
            let item = Value::from(item.collect::<Map<_, _>>());
            (item["event_id"].as_str().unwrap().to_owned(), item)
        };
        let count = items.len();
        let by_id: BTreeMap<_, _> = items.into_iter().map(item).collect();
        assert_eq!(by_id.len(), count, "a change stands in the history twice");
        by_id
    }
}

async fn run(publish: &Publish, payload: &Value) -> (Value, PublishRecord) {
    run_for(publish, payload, Duration::from_secs(30)).await
}

async fn run_for(publish: &Publish, payload: &Value, budget: Duration) -> (Value, PublishRecord) {
    let (answer, record) = Box::pin(publish.run(payload, SystemTime::now(), Instant::now() + budget)).await;
    (answer.unwrap(), record)
}

fn roster(events: &[Value]) -> Roster {
    let mut roster = Roster::default();
    for event in events {
        roster.apply(&CloudEvent::deserialize(event).unwrap());
    }
    roster
}

/// Checks events by the schema.
fn check(events: &[Value]) {
    let schema = EventSchema::new().unwrap();
    events.iter().for_each(|event| schema.check(event).unwrap());
}

/// The types of events in their order.
fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_groups_life_is_told_in_the_order_of_its_writes() {
    let mut chain = Chain::start().await;
    let (webhook, publish) = (chain.table.webhook(), chain.publish(&[]));
    let group = Group::new("g", "Public");
    for body in [
        group.created(1, "ana", &["ana", "ben"]),
        group.joined(2, &["cleo"]),
        group.changed(
            3,
            json!({ "Name": "New", "UserDefinedDataList": [{ "Key": "color", "Value": "red" }] }),
        ),
        group.member_changed(4, "ben", json!({ "Role": "Admin" })),
        group.handed_over(5, "ana", "cleo"),
        group.left(6, &["ben"]),
        group.destroyed(7, &[]),
    ] {
        assert_eq!(deliver(&webhook, &body).await.codes(), (200, 0));
        // Delivered again, it changes nothing and tells nothing.
        assert_eq!(deliver(&webhook, &body).await.codes(), (200, 0));
    }
    chain.follow(&publish).await;
    let events = chain.bus.events();
    let mut types = types(&events);
    types[..2].sort_unstable();
    assert_eq!(
        types,
        [
            "member.joined",
            "member.joined",
            "group.created",
            "member.joined",
            "group.updated",
            "member.updated",
            "group.updated",
            "member.left",
            "group.destroyed",
        ]
    );
    assert_eq!(events[4]["data"]["changed"], json!(["name", "user_defined.color"]));
    assert_eq!(events[4]["data"]["before"], json!({ "name": "A group" }));
    assert_eq!(events[7]["data"]["by"], json!("administrator"));
    assert_eq!(events[7]["data"]["after"]["exit_type"], json!("Kicked"));
    for (entry, event) in chain.bus.entries().iter().zip(&events) {
        assert_eq!((&entry["Source"], &entry["EventBusName"]), (&json!("chat-groups"), &json!(ARN)));
        assert_eq!(entry["DetailType"], event["type"]);
        assert!(entry.get("Time").is_none());
    }
}

#[tokio::test]
async fn the_history_holds_each_change_once_with_its_author_and_its_end() {
    let mut chain = Chain::start().await;
    let (webhook, publish) = (chain.table.webhook(), chain.publish(&[("HISTORY_DAYS", "2")]));
    let group = Group::new("g", "Public");
    deliver(&webhook, &group.created(1, "ana", &["ana", "ben"])).await;
    deliver(&webhook, &group.handed_over(5, "ana", "ben")).await;
    let records = json!({ "Records": chain.feeder.read().unwrap() });
    chain.follow(&publish).await;
    let history = chain.history().await;
    // The same batch once more, in pieces and twice over, as Lambda may send it.
    let twice: Vec<_> = [&records["Records"], &records["Records"]]
        .iter()
        .flat_map(|records| records.as_array().unwrap().clone())
        .collect();
    let (answer, record) = run(&publish, &json!({ "Records": twice })).await;
    assert_eq!((answer, record.records), (json!({ "batchItemFailures": [] }), twice.len()));
    assert_eq!(chain.history().await, history);

    let events = chain.bus.events();
    let ids: std::collections::BTreeSet<_> =
        events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(history.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(), ids);
    let updated = history.values().find(|item| item["type"] == "group.updated").unwrap();
    let event = events.iter().find(|event| event["type"] == "group.updated").unwrap();
    let sk = format!("000000000000005#{}", event["sequence"].as_str().unwrap());
    assert_eq!((&updated["pk"], &updated["sk"]), (&json!(format!("{SDK_APP_ID}#g")), &json!(sk)));
    assert_eq!(updated["account_key"], json!(format!("{SDK_APP_ID}#ben")));
    for name in ["at", "by", "changed", "before", "after", "group_id"] {
        assert_eq!(updated[name], event["data"][name], "{name}");
    }
    let recorded_at = updated["recorded_at"].as_u64().unwrap();
    assert_eq!(updated["expires_at"].as_u64().unwrap(), recorded_at / 1000 + 2 * 24 * 60 * 60);
    let joined = history.values().find(|item| item["account"] == "ben").unwrap();
    assert_eq!(joined["account_key"], json!(format!("{SDK_APP_ID}#ben")));
    let created = history.values().find(|item| item["type"] == "group.created").unwrap();
    assert_eq!(created.get("account_key"), None);
}

#[tokio::test]
async fn random_histories_fold_to_the_readers_view_in_any_order_repeated_and_with_holes() {
    let mut chain = Chain::start().await;
    let (webhook, publish) = (chain.table.webhook(), chain.publish(&[]));
    let mut groups = Vec::new();
    for number in 0..40 {
        let mut rng = Rng::with_seed(number);
        let (ids, bodies) = any_history(number, &mut rng);
        for body in &bodies {
            assert_eq!(deliver(&webhook, body).await.codes(), (200, 0));
        }
        groups.extend(ids.into_iter().map(|id| (id.clone(), seen_by_model(&bodies, &id))));
    }
    chain.follow(&publish).await;
    let events = chain.bus.events();
    assert!(events.len() > 100, "{}", events.len());
    check(&events);
    let mut ids: Vec<_> = events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    assert_eq!(chain.history().await.into_keys().collect::<Vec<_>>(), ids);

    let mut rng = Rng::with_seed(0);
    let last: HashMap<_, _> = events.iter().map(|event| (item(event), event["id"].clone())).collect();
    let is_last = |event: &Value| last.get(&item(event)) == Some(&event["id"]);
    let holed: Vec<Value> = events.iter().filter(|event| is_last(event) || rng.bool()).cloned().collect();
    let mut shuffled = [holed.clone(), holed].concat();
    rng.shuffle(&mut shuffled);
    for roster in [roster(&events), roster(&shuffled)] {
        for (id, expected) in &groups {
            assert_eq!(&folded(roster.group(&key(id)).as_ref()), expected, "{id}");
            let read = seen(chain.table.group(id).await.as_ref());
            assert_eq!(&read, expected, "{id}");
        }
    }
}

#[test]
fn the_fold_gives_the_groups_of_every_vector() {
    let vectors = include_str!("../vectors/feed.jsonl");
    assert!(vectors.lines().count() > 10);
    for case in vectors.lines() {
        let case: Value = serde_json::from_str(case).unwrap();
        let roster = roster(case["events"].as_array().unwrap());
        for (group_id, expected) in case["roster"].as_object().unwrap() {
            assert_eq!(&json!(roster.group(&key(group_id))), expected, "{}", case["name"]);
        }
    }
}

/// The item that an event is of.
fn item(event: &Value) -> (String, String) {
    (event["subject"].to_string(), event["data"]["account"].to_string())
}

#[tokio::test]
async fn a_payload_of_another_kind_is_answered_null_and_an_empty_batch_is_done() {
    let chain = Chain::start().await;
    let publish = chain.publish(&[]);
    for payload in [json!({}), json!(null), json!({ "warm": true }), json!([1]), json!({ "Records": 5 })] {
        let (answer, record) = run(&publish, &payload).await;
        assert_eq!(answer, Value::Null, "{payload}");
        assert!(record.to_line().contains(r#""level":"WARN","outcome":"ignored""#), "{}", record.to_line());
    }
    let (answer, record) = run(&publish, &json!({ "Records": [] })).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert!(record.to_line().contains(r#""level":"INFO","outcome":"published""#));
}

#[tokio::test]
async fn a_record_that_can_not_be_told_stops_no_other() {
    let mut chain = Chain::start().await;
    let (webhook, publish) = (chain.table.webhook(), chain.publish(&[]));
    deliver(&webhook, &body("g", 5, &["ana"])).await;
    let mut records = chain.feeder.read().unwrap().to_vec();
    let mut broken = records[0].clone();
    broken["dynamodb"]["NewImage"]["event_time"] = json!({ "S": "then" });
    records.insert(1, broken);
    records.insert(0, json!({ "dynamodb": 5 }));
    records.insert(0, json!("no record"));
    let (answer, record) = run(&publish, &json!({ "Records": records })).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!((record.records, record.events), (5, 2));
    assert_eq!(types(&chain.bus.events()), ["member.joined", "group.created"]);
}
