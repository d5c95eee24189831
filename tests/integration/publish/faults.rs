//! A bus and a history that fail, hang, take a part or lose their answers: the first record that is owed comes again.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Chain, run, run_for, types};
use crate::bus::{Bus, Refusals};
use crate::database::HISTORY_TABLE_NAME;
use crate::harness::{SDK_APP_ID, body, deliver};
use crate::proxy::{Fault, Proxy, Script};
use chat_groups_testkit::bodies::Group;

/// Creates a group of 12, so that there are 13 records and two requests to the bus.
async fn with_records(chain: &mut Chain) -> Vec<Value> {
    let accounts: Vec<String> = (10..22).map(|n| format!("user-{n}")).collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    deliver(&chain.table.webhook(), &body("g", 5, &accounts)).await;
    let records = chain.feeder.read().unwrap().to_vec();
    assert_eq!(records.len(), 13);
    records
}

fn failure(record: &Value) -> Value {
    json!({ "batchItemFailures": [{ "itemIdentifier": record["dynamodb"]["SequenceNumber"] }] })
}

async fn with_refusals(refusals: Vec<Refusals>) -> (Chain, Vec<Value>) {
    let mut chain = Chain { bus: Bus::start(refusals).await.unwrap(), ..Chain::start().await };
    let records = with_records(&mut chain).await;
    (chain, records)
}

#[tokio::test]
async fn refused_entries_are_sent_again_until_the_bus_takes_them() {
    let busy = vec![(2, "ThrottlingException"), (9, "InternalFailure")];
    let (chain, records) = with_refusals(vec![busy, vec![(0, "InternalException")]]).await;
    let (answer, record) = run(&chain.publish(&[]), &json!({ "Records": records })).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!((record.records, record.events, record.failed_at), (13, 13, None));
    assert_eq!(chain.bus.requests(), [10, 2, 1, 3]);
    assert_eq!(types(&chain.bus.events()).last(), Some(&"group.created"));
    assert_eq!(chain.bus.events().len(), 13);
}

#[tokio::test]
async fn an_entry_that_is_refused_for_good_is_returned_at_once() {
    let (chain, records) = with_refusals(vec![vec![(4, "AccessDeniedException")]]).await;
    let (answer, record) = run(&chain.publish(&[]), &json!({ "Records": records })).await;
    assert_eq!(answer, failure(&records[4]));
    assert_eq!(record.failed_at.as_deref(), records[4]["dynamodb"]["SequenceNumber"].as_str());
    let line = record.to_line();
    assert!(
        line.contains(r#""level":"ERROR","outcome":"failed""#) && line.contains("AccessDenied"),
        "{line}"
    );
    assert!(!line.contains("user-1"), "{line}");
    // The history has all of them: it comes first.
    assert_eq!(chain.history().await.len(), 13);
}

#[tokio::test]
async fn entries_that_stay_refused_are_returned_when_the_time_is_over() {
    let busy: Vec<Refusals> = (0..100).map(|_| vec![(0, "ThrottlingException")]).collect();
    let (chain, records) = with_refusals(busy).await;
    let budget = Duration::from_millis(500);
    let (answer, record) = run_for(&chain.publish(&[]), &json!({ "Records": records }), budget).await;
    assert_eq!(answer, failure(&records[0]));
    assert!(record.to_line().contains(r#""level":"WARN","outcome":"failed""#), "{}", record.to_line());
}

#[tokio::test]
async fn a_bus_that_fails_hangs_or_loses_its_answers_gets_every_event_in_the_end() {
    for fault in
        [Fault::Answer(503, "{}"), Fault::ResetAfter, Fault::LoseAnswer, Fault::error("ThrottlingException")]
    {
        let mut chain = Chain::start().await;
        let records = with_records(&mut chain).await;
        let proxy = Proxy::start(&chain.bus.url, Script::times(2, fault)).await.unwrap();
        let publish = chain.publish(&[("AWS_ENDPOINT_URL_EVENTBRIDGE", &proxy.url)]);
        let (answer, _) = run(&publish, &json!({ "Records": records })).await;
        assert_eq!(answer, json!({ "batchItemFailures": [] }), "{fault:?}");
        let mut ids: Vec<_> = chain.bus.events().iter().map(|event| event["id"].to_string()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 13, "{fault:?}");
    }
    let mut chain = Chain::start().await;
    let records = with_records(&mut chain).await;
    let proxy = Proxy::start(&chain.bus.url, Script::always(Fault::Hang)).await.unwrap();
    let publish = chain.publish(&[("AWS_ENDPOINT_URL_EVENTBRIDGE", &proxy.url)]);
    let (answer, _) = run_for(&publish, &json!({ "Records": records }), Duration::from_secs(2)).await;
    assert_eq!(answer, failure(&records[0]));
}

#[tokio::test]
async fn a_history_that_fails_holds_back_the_bus_from_the_first_change_that_it_owes() {
    let mut chain = Chain::start().await;
    let accounts: Vec<String> = (10..50).map(|n| format!("user-{n}")).collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    deliver(&chain.table.webhook(), &body("g", 5, &accounts)).await;
    let records = chain.feeder.read().unwrap().to_vec();
    assert_eq!(records.len(), 41);
    // The first request passes, the second one never does.
    let script = Script { first: [Fault::None].into(), then: Fault::Hang };
    let proxy = Proxy::start(&chain.table.url, script).await.unwrap();
    let publish = chain.publish(&[("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url)]);
    let (answer, record) = run_for(&publish, &json!({ "Records": records }), Duration::from_secs(2)).await;
    assert_eq!(answer, failure(&records[25]));
    assert_eq!((chain.bus.events().len(), chain.history().await.len()), (25, 25));
    assert!(record.error.is_some_and(|error| error.starts_with("the history failed")));

    let publish = chain.publish(&[]);
    chain.follow(&publish).await;
    assert_eq!((chain.bus.events().len(), chain.history().await.len()), (66, 41));
}

#[tokio::test]
async fn a_history_that_loses_its_answer_holds_each_change_once() {
    for fault in
        [Fault::LoseAnswer, Fault::error("ProvisionedThroughputExceededException"), Fault::Answer(500, "{}")]
    {
        let mut chain = Chain::start().await;
        let records = with_records(&mut chain).await;
        let proxy = Proxy::start(&chain.table.url, Script::times(2, fault)).await.unwrap();
        let publish = chain.publish(&[("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url)]);
        let (answer, _) = run(&publish, &json!({ "Records": records })).await;
        assert_eq!(answer, json!({ "batchItemFailures": [] }), "{fault:?}");
        assert_eq!(chain.history().await.len(), 13, "{fault:?}");
    }
}

#[tokio::test]
async fn a_refused_event_does_not_come_after_a_later_one_of_its_item() {
    let mut chain = Chain::start().await;
    chain.bus = Bus::start([vec![], vec![(0, "ThrottlingException")]]).await.unwrap();
    let (webhook, group) = (chain.table.webhook(), Group::new("g", "Public"));
    deliver(&webhook, &group.created(1, "ana", &["ben"])).await;
    for (time, role) in [(2, "Admin"), (3, "Member"), (4, "Admin")] {
        deliver(&webhook, &group.member_changed(time, "ben", json!({ "Role": role }))).await;
    }
    let publish = chain.publish(&[]);
    chain.follow(&publish).await;
    let events = chain.bus.events();
    let of_ben = events.iter().filter(|event| event["data"]["account"] == "ben");
    let times: Vec<_> = of_ben.map(|event| event["data"]["at"].as_u64().unwrap()).collect();
    assert_eq!(times, [1, 2, 3, 4]);
    assert_eq!(chain.bus.requests(), [2, 1, 1, 1, 1]);
}

#[tokio::test]
async fn a_request_holds_240_kb_at_most() {
    let mut chain = Chain::start().await;
    let webhook = chain.table.webhook();
    for id in ["a", "b", "c"] {
        let mut created = body(id, 5, &[]);
        created["Introduction"] = "x".repeat(110_000).into();
        deliver(&webhook, &created).await;
    }
    let publish = chain.publish(&[]);
    chain.follow(&publish).await;
    assert_eq!(chain.bus.requests(), [2, 1]);
}

#[tokio::test]
async fn changes_that_the_history_leaves_are_sent_again() {
    const LEFT: &str = r#"{"UnprocessedItems":{"history":[{"PutRequest":{"Item":
        {"pk":{"S":"x"},"sk":{"S":"y"},"event_id":{"S":"left"}}}}]}}"#;
    let mut chain = Chain::start().await;
    let records = with_records(&mut chain).await;
    let proxy = Proxy::start(&chain.table.url, Script::times(1, Fault::Answer(200, LEFT))).await.unwrap();
    let publish = chain.publish(&[("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url)]);
    let (answer, _) = run(&publish, &json!({ "Records": records })).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    // What the answer named alone: the rest it counted as written.
    assert_eq!(chain.history().await.into_keys().collect::<Vec<_>>(), ["left"]);
}

#[tokio::test]
async fn a_change_that_the_history_leaves_to_the_end_is_returned() {
    let mut chain = Chain::start().await;
    let records = with_records(&mut chain).await;
    let number = records[4]["dynamodb"]["SequenceNumber"].as_str().unwrap();
    let key = json!({ "pk": { "S": format!("{SDK_APP_ID}#g") }, "sk": { "S": format!("{:015}#{number:0>40}", 5) } });
    let left = json!({ "UnprocessedItems": { HISTORY_TABLE_NAME: [{ "PutRequest": { "Item": key } }] } });
    let script = Script::always(Fault::Answer(200, left.to_string().leak()));
    let proxy = Proxy::start(&chain.table.url, script).await.unwrap();
    let publish = chain.publish(&[("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url)]);
    let budget = Duration::from_secs(1);
    let (answer, record) = run_for(&publish, &json!({ "Records": records }), budget).await;
    assert_eq!(answer, failure(&records[4]));
    assert_eq!(chain.bus.events().len(), 4);
    assert!(record.to_line().contains(r#""level":"WARN","outcome":"failed""#), "{}", record.to_line());
}

#[tokio::test]
async fn a_history_that_refuses_for_good_is_reported_at_once() {
    let mut chain = Chain::start().await;
    let records = with_records(&mut chain).await;
    let script = Script::always(Fault::error("AccessDeniedException"));
    let proxy = Proxy::start(&chain.table.url, script).await.unwrap();
    let publish = chain.publish(&[("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url)]);
    let (answer, record) = run(&publish, &json!({ "Records": records })).await;
    assert_eq!(answer, failure(&records[0]));
    assert_eq!((chain.bus.events().len(), proxy.forwarded()), (0, 0));
    let line = record.to_line();
    assert!(
        line.contains(r#""level":"ERROR","outcome":"failed""#) && line.contains("AccessDenied"),
        "{line}"
    );
}
