//! Promises 1 to 3: all or nothing, once, newest wins.

use std::collections::BTreeMap;
use std::time::Duration;

use chat_groups::callback::Delivery;
use chat_groups::group::GroupCreated;
use chat_groups::store::{Store, StoreError, Stored};
use futures_util::future::join_all;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{SDK_APP_ID, Table, body, deliver, genuine_query, post, send};

fn accounts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("user-{n:04}")).collect()
}

/// A group of `count` members, made at `event_time`.
fn sized(event_time: u64, count: usize) -> Value {
    let accounts = accounts(count);
    body("g", event_time, &accounts.iter().map(String::as_str).collect::<Vec<_>>())
}

fn event(body: &Value) -> GroupCreated {
    let delivery = Delivery {
        sdk_app_id: SDK_APP_ID,
        client_ip: None,
        opt_platform: None,
        request_id: None,
        request_time: None,
        received_at: 1,
    };
    GroupCreated::parse(body.to_string().as_bytes(), delivery).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Stores an event, whatever it takes.
async fn store_whole(store: &Store, event: &GroupCreated) -> Stored {
    match store.put(event, soon()).await {
        Err(StoreError::TakesApart) => store.finish(event, soon()).await.unwrap(),
        stored => stored.unwrap(),
    }
}

/// Whether the table holds the group of this body with exactly its members, and nothing else.
async fn holds_exactly(table: &Table, body: &Value) {
    let items = table.items().await;
    let mut wanted: Vec<String> = body["MemberList"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("MEMBER#{}", entry["Member_Account"].as_str().unwrap()))
        .collect();
    wanted.push("GROUP".to_owned());
    wanted.sort();
    let found: Vec<&String> = items.keys().map(|(_, sk)| sk).collect();
    assert_eq!(found, wanted.iter().collect::<Vec<_>>());
    assert!(items.values().all(|item| item["event_time"] == body["EventTime"]));
    let group = items.values().find(|item| item["sk"] == "GROUP").unwrap();
    assert_eq!(group["name"], body["Name"]);
    assert_eq!(group["member_count"], wanted.len() - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_any_size_are_stored_whole() {
    for count in [0, 1, 2, 99, 100, 101, 500, 2000] {
        let table = Table::start().await;
        let body = sized(5, count);
        assert_eq!(table.store().put(&event(&body), soon()).await.unwrap(), Stored::New, "{count}");
        holds_exactly(&table, &body).await;
        let before = table.items().await;
        assert_eq!(table.store().put(&event(&body), soon()).await.unwrap(), Stored::Duplicate, "{count}");
        assert_eq!(table.store().finish(&event(&body), soon()).await.unwrap(), Stored::Duplicate, "{count}");
        assert_eq!(table.items().await, before, "a late repeat touches nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_item_is_never_seen_without_all_of_its_members() {
    for count in [99, 500] {
        let table = Table::start().await;
        let (store, reader) = (table.store(), table.store());
        let writer = tokio::spawn(async move { store.put(&event(&sized(5, count)), soon()).await });
        let mut seen = 0;
        while !writer.is_finished() || seen == 0 {
            if let Some(group) = reader.group(SDK_APP_ID, "g").await.unwrap() {
                assert_eq!(group.members.len(), count);
                seen += 1;
            }
        }
        assert_eq!(writer.await.unwrap().unwrap(), Stored::New);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_deliveries_at_once_are_stored_once() {
    for count in [2, 120] {
        let table = Table::start().await;
        let (store, event) = (table.store(), event(&sized(5, count)));
        let stored = join_all((0..50).map(|_| store.put(&event, soon()))).await;
        let mut outcomes = BTreeMap::new();
        for stored in stored {
            *outcomes.entry(format!("{:?}", stored.unwrap())).or_insert(0) += 1;
        }
        assert_eq!(outcomes, BTreeMap::from([("Duplicate".to_owned(), 49), ("New".to_owned(), 1)]));
        holds_exactly(&table, &sized(5, count)).await;
    }
}

#[tokio::test]
async fn a_repeat_with_another_request_id_is_the_same_event() {
    let table = Table::start().await;
    let webhook = table.webhook();
    deliver(&webhook, &sized(5, 2)).await;
    let before = table.items().await;
    let query = genuine_query().replace("r-1", "r-2").replace("iOS", "Web");
    let repeat = send(&webhook, &post(&query, sized(5, 2).to_string())).await;
    assert_eq!((repeat.status, repeat.record.outcome), (200, "duplicate"));
    assert_eq!(table.items().await, before);
}

#[tokio::test]
async fn a_later_group_of_the_same_id_replaces_the_earlier_one_and_its_members() {
    // Small by small, small by large, large by small, large by large: one transaction, or several.
    for (earlier, later) in [(3, 2), (2, 0), (60, 60), (2, 150), (150, 2), (150, 120)] {
        let table = Table::start().await;
        let store = table.store();
        store.put(&event(&sized(5, earlier)), soon()).await.unwrap();
        let mut replacement = sized(6, later);
        replacement["MemberList"].as_array_mut().unwrap().push(json!({ "Member_Account": "another" }));
        // What does not fit into one transaction is not begun before the event is safe elsewhere.
        let is_large = later.max(earlier) >= 100;
        let before = table.items().await;
        match store.put(&event(&replacement), soon()).await {
            Ok(stored) => assert_eq!((stored, is_large), (Stored::Replaced, false)),
            Err(error) => {
                assert!(matches!(error, StoreError::TakesApart) && is_large, "{error:?}");
                assert_eq!(table.items().await, before);
                assert_eq!(store.finish(&event(&replacement), soon()).await.unwrap(), Stored::Replaced);
            }
        }
        holds_exactly(&table, &replacement).await;
        let before = table.items().await;
        assert_eq!(store.put(&event(&sized(5, earlier)), soon()).await.unwrap(), Stored::Stale);
        assert_eq!(store.finish(&event(&sized(5, earlier)), soon()).await.unwrap(), Stored::Stale);
        assert_eq!(table.items().await, before, "an earlier event changes nothing");
    }
}

#[tokio::test]
async fn through_the_handler_a_large_group_is_replaced_without_a_queue_too() {
    let table = Table::start().await;
    let webhook = table.webhook();
    let outcome = async |body: &Value| deliver(&webhook, body).await.record.outcome;
    assert_eq!(outcome(&sized(5, 150)).await, "stored");
    assert_eq!(outcome(&sized(6, 120)).await, "replaced");
    holds_exactly(&table, &sized(6, 120)).await;
}

#[tokio::test]
async fn through_the_handler_replaced_and_stale_are_answered_ok_and_told_apart() {
    let table = Table::start().await;
    let webhook = table.webhook();
    let mut outcomes = Vec::new();
    for time in [5, 6, 5, 6, 7] {
        let answered = deliver(&webhook, &sized(time, 2)).await;
        assert_eq!(answered.codes(), (200, 0));
        outcomes.push(answered.record.outcome);
    }
    assert_eq!(outcomes, ["stored", "replaced", "stale", "duplicate", "replaced"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_and_newer_events_at_once_leave_the_newest() {
    for round in 0..5 {
        let table = Table::start().await;
        let store = table.store();
        let bodies = [sized(5, 130), sized(6, 3), sized(7, 101), sized(8, 40 + round)];
        let events: Vec<_> = bodies.iter().map(event).collect();
        join_all(events.iter().cycle().take(12).map(|event| store_whole(&store, event))).await;
        holds_exactly(&table, &bodies[3]).await;
    }
}

#[tokio::test]
async fn what_a_killed_writer_left_behind_is_finished_by_a_redelivery() {
    let table = Table::start().await;
    let full = sized(5, 250);
    // The writer got as far as some of the members: no group yet, for readers.
    for account in accounts(120) {
        let item = chat_groups::item::member(&event(&full), &account);
        table.client().put_item().table_name("groups").set_item(Some(item)).send().await.unwrap();
    }
    assert!(table.store().group(SDK_APP_ID, "g").await.unwrap().is_none());
    assert!(table.store().groups_of(SDK_APP_ID, "user-0003").await.unwrap().is_empty());
    assert_eq!(table.store().finish(&event(&full), soon()).await.unwrap(), Stored::New);
    holds_exactly(&table, &full).await;
}

#[tokio::test]
async fn what_a_killed_writer_left_behind_is_removed_by_a_newer_event() {
    let table = Table::start().await;
    for account in accounts(120) {
        let item = chat_groups::item::member(&event(&sized(5, 250)), &account);
        table.client().put_item().table_name("groups").set_item(Some(item)).send().await.unwrap();
    }
    let newer = sized(6, 2);
    // Small groups are written without a look, so readers tell the leftovers apart; `redrive` removes them.
    table.store().put(&event(&newer), soon()).await.unwrap();
    assert_eq!(table.store().group(SDK_APP_ID, "g").await.unwrap().unwrap().members.len(), 2);
    let newest = sized(7, 3);
    table.store().finish(&event(&newest), soon()).await.unwrap();
    holds_exactly(&table, &newest).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes in whichever order and however often: what is left is the newest event, whole.
    #[test]
    fn any_order_and_repetition_ends_in_the_same_items(
        sizes in proptest::collection::vec(prop_oneof![0_usize..5, 97_usize..103], 1..4),
        order in proptest::collection::vec(0_usize..4, 1..10),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let table = Table::start().await;
            let store = table.store();
            let bodies: Vec<Value> = (10..).zip(&sizes).map(|(time, size)| sized(time, *size)).collect();
            let mut newest = 0;
            for index in order.iter().map(|index| index % bodies.len()) {
                newest = newest.max(index);
                store_whole(&store, &event(&bodies[index])).await;
                holds_exactly(&table, &bodies[newest]).await;
            }
        });
    }
}
