//! Snapshots: the items as they are, told to whoever came late.

use std::time::{Duration, SystemTime};

use chat_groups::publish::PublishError;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Chain, check, roster, run, run_for, types};
use crate::harness::{deliver, key};
use chat_groups_testkit::bodies::Group;
use chat_groups_testkit::model::{folded, seen};

async fn with_groups(chain: &Chain) {
    let webhook = chain.table.webhook();
    for id in ["a", "b", "c"] {
        let group = Group::new(id, "Public");
        for body in [
            group.created(1, "ana", &["ana", "ben"]),
            group.member_changed(2, "ben", json!({ "Role": "Admin" })),
            group.left(3, &["ana"]),
        ] {
            deliver(&webhook, &body).await;
        }
    }
    deliver(&webhook, &Group::new("c", "Public").destroyed(9, &[])).await;
}

#[tokio::test]
async fn a_snapshot_of_all_groups_alone_gives_the_readers_view() {
    let chain = Chain::start().await;
    with_groups(&chain).await;
    let (answer, record) = run(&chain.publish(&[]), &json!({ "snapshot": {} })).await;
    assert_eq!((&answer["finished"], answer.get("next")), (&json!(true), None));
    let events = chain.bus.events();
    assert_eq!((record.events, answer["events"].as_u64()), (events.len(), Some(9)));
    assert!(types(&events).iter().all(|kind| ["group.snapshot", "member.snapshot"].contains(kind)));
    check(&events);
    let roster = roster(&events);
    for id in ["a", "b", "c"] {
        assert_eq!(
            folded(roster.group(&key(id)).as_ref()),
            seen(chain.table.group(id).await.as_ref()),
            "{id}"
        );
    }
    // It is no change.
    assert!(chain.history().await.is_empty());
    let ids = |events: &[Value]| events.iter().map(|event| event["id"].to_string()).collect::<Vec<_>>();
    run(&chain.publish(&[]), &json!({ "snapshot": {} })).await;
    assert_eq!(ids(&chain.bus.events()[9..]), ids(&events));
    let group = events.iter().find(|event| event["type"] == "group.snapshot").unwrap();
    assert!(group["id"].as_str().unwrap().contains("/GROUP/"));
    assert!(group.get("sequence").is_none() && group["data"].get("before").is_none());
}

#[tokio::test]
async fn a_snapshot_goes_on_where_the_last_call_ran_out_of_time() {
    let chain = Chain::start().await;
    with_groups(&chain).await;
    let publish = chain.publish(&[]);
    // Each call has time for one page, which is one group.
    let mut payload = json!({ "snapshot": { "group_ids": ["b", "a", "none"] } });
    let mut calls = 0;
    let answer = loop {
        let (answer, _) = run_for(&publish, &payload, Duration::from_secs(14)).await;
        calls += 1;
        match answer.get("next") {
            Some(next) => payload = next.clone(),
            None => break answer,
        }
    };
    assert_eq!((&answer["finished"], calls), (&json!(true), 4));
    let events = chain.bus.events();
    let subjects: Vec<_> = events.iter().map(|event| event["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["b", "b", "b", "a", "a", "a"]);
}

#[tokio::test]
async fn a_snapshot_that_can_not_be_told_is_an_error_that_names_the_reason() {
    let chain = Chain::start().await;
    let error = async |settings: &[(&str, &str)], payload: Value| -> String {
        let publish = chain.publish(settings);
        let deadline = Instant::now() + Duration::from_secs(1);
        let (answer, record) = Box::pin(publish.run(&payload, SystemTime::now(), deadline)).await;
        assert!(record.to_line().contains(r#""level":"ERROR","outcome":"failed""#));
        answer.map_err(|error: PublishError| error.to_string()).unwrap_err()
    };
    let all = json!({ "snapshot": {} });
    assert!(error(&[("EVENT_BUS_ARN", "")], all.clone()).await.starts_with("EVENT_BUS_ARN"));
    assert!(error(&[("TABLE_NAME", "")], all.clone()).await.starts_with("TABLE_NAME and SDK_APP_ID"));
    assert!(error(&[("SDK_APP_ID", "")], all).await.starts_with("TABLE_NAME and SDK_APP_ID"));
    for request in [json!(5), json!({ "groups": [] }), json!({ "group_ids": [1] })] {
        assert!(error(&[], json!({ "snapshot": request })).await.starts_with("snapshot: expected"));
    }
}
