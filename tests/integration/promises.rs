//! Promises 1 and 2: all or nothing, once, in any order.

use std::collections::BTreeMap;
use std::time::Duration;

use chat_groups::callback::RosterCommand;
use chat_groups::event::Event;
use chat_groups::store::{Effect, Store};
use chat_groups::time::EventTime;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{NOW, SDK_APP_ID, Table, body, deliver, genuine_query, key, post, send};

fn accounts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("user-{n:04}")).collect()
}

/// A group of `count` members, made at `event_time`.
fn sized(event_time: u64, count: usize) -> Value {
    let accounts = accounts(count);
    body("g", event_time, &accounts.iter().map(String::as_str).collect::<Vec<_>>())
}

fn event(body: &Value) -> Event {
    crate::harness::event(RosterCommand::AfterCreateGroup, body, NOW * 1000)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn apply(store: &Store, body: &Value) -> Effect {
    store.apply(&event(body), soon()).await.unwrap().effect
}

/// As `redrive` does it: what is left behind is swept.
async fn apply_and_sweep(store: &Store, body: &Value) -> Effect {
    let (event, deadline) = (event(body), soon());
    let applied = store.apply(&event, deadline).await.unwrap();
    assert!(!applied.has_leftovers || store.sweep(&event, deadline).await.unwrap());
    applied.effect
}

/// Whether readers see the group of this body with exactly its members.
async fn shows(table: &Table, body: &Value) {
    let group = table.group("g").await.unwrap();
    let text = |item: &chat_groups::event::Attributes, name| {
        chat_groups::store::text_of(item, name).unwrap().to_owned()
    };
    let found: Vec<String> = group.members.iter().map(|member| text(member, "account")).collect();
    let mut wanted: Vec<&str> = body["MemberList"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["Member_Account"].as_str().unwrap())
        .collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    assert_eq!(text(&group.group, "name"), body["Name"].as_str().unwrap());
}

/// Whether the table holds, beyond that, no other item.
async fn holds_exactly(table: &Table, body: &Value) {
    shows(table, body).await;
    let items = table.items().await;
    assert_eq!(items.len(), body["MemberList"].as_array().unwrap().len() + 1);
    assert!(items.values().all(|item| item["event_time"] == body["EventTime"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_any_size_are_stored_whole_and_once() {
    for count in [0, 1, 2, 25, 26, 99, 500, 2000] {
        let table = Table::start().await;
        let body = sized(5, count);
        assert_eq!(apply(&table.store(), &body).await, Effect::Stored, "{count}");
        holds_exactly(&table, &body).await;
        let before = table.items().await;
        assert_eq!(apply(&table.store(), &body).await, Effect::Duplicate, "{count}");
        assert_eq!(apply_and_sweep(&table.store(), &body).await, Effect::Duplicate, "{count}");
        assert_eq!(table.items().await, before, "a late repeat touches nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_a_group_without_all_of_its_members() {
    let table = Table::start().await;
    let (store, reader) = (table.store(), table.reader());
    let sizes = [500, 1, 120, 26, 2, 300];
    let writer = tokio::spawn(async move {
        let mut effects = Vec::new();
        for (time, count) in (5..).zip(sizes) {
            effects.push(apply(&store, &sized(time, count)).await);
        }
        effects
    });
    let mut seen = BTreeMap::<String, usize>::new();
    while !writer.is_finished() || seen.is_empty() {
        let Some(group) = reader.group(&key("g")).await.unwrap() else { continue };
        let count = group.group["initial_member_count"].as_n().unwrap().parse::<usize>().unwrap();
        let accounts: Vec<&str> = group
            .members
            .iter()
            .map(|member| chat_groups::store::text_of(member, "account").unwrap())
            .collect();
        let missing = crate::promises::accounts(count);
        let missing: Vec<&String> =
            missing.iter().filter(|account| !accounts.contains(&account.as_str())).collect();
        assert!(missing.is_empty(), "{count} members, without {missing:?}");
        *seen.entry(count.to_string()).or_default() += 1;
    }
    let effects = writer.await.unwrap();
    assert_eq!(effects[0], Effect::Stored);
    assert!(effects[1..].iter().all(|effect| *effect == Effect::Replaced));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_identical_deliveries_at_once_are_stored_once() {
    for count in [2, 120] {
        let table = Table::start().await;
        let (store, body) = (table.store(), sized(5, count));
        join_all((0..50).map(|_| apply(&store, &body))).await;
        holds_exactly(&table, &body).await;
        assert_eq!(apply(&store, &body).await, Effect::Duplicate);
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
    assert_eq!((repeat.status, repeat.outcome()), (200, "duplicate"));
    assert_eq!(table.items().await, before);
}

#[tokio::test]
async fn a_later_group_of_the_same_id_outlives_the_earlier_one_and_redrive_sweeps_it() {
    for (earlier, later) in [(3, 2), (2, 0), (60, 60), (2, 150), (150, 2), (150, 120)] {
        let table = Table::start().await;
        let store = table.store();
        apply(&store, &sized(5, earlier)).await;
        let mut replacement = sized(6, later);
        replacement["MemberList"].as_array_mut().unwrap().push(json!({ "Member_Account": "another" }));
        let applied = store.apply(&event(&replacement), soon()).await.unwrap();
        assert_eq!((applied.effect, applied.has_leftovers), (Effect::Replaced, true));
        shows(&table, &replacement).await;
        assert_eq!(apply_and_sweep(&store, &replacement).await, Effect::Duplicate);
        holds_exactly(&table, &replacement).await;

        // The earlier event again may write members that nobody sees.
        let stale = store.apply(&event(&sized(5, earlier)), soon()).await.unwrap();
        assert_eq!(stale.effect, Effect::Stale, "{earlier} after {later}");
        shows(&table, &replacement).await;
        assert!(stale.has_leftovers);
        assert_eq!(apply_and_sweep(&store, &sized(5, earlier)).await, Effect::Stale);
        holds_exactly(&table, &replacement).await;
    }
}

#[tokio::test]
async fn through_the_handler_replaced_and_stale_are_answered_ok_and_told_apart() {
    let table = Table::start().await;
    let webhook = table.webhook();
    let mut outcomes = Vec::new();
    for time in [5, 6, 5, 6, 7] {
        let answered = deliver(&webhook, &sized(time, 2)).await;
        assert_eq!(answered.codes(), (200, 0));
        outcomes.push(answered.outcome());
    }
    assert_eq!(outcomes, ["stored", "replaced", "stale", "duplicate", "replaced"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_and_newer_events_at_once_leave_the_newest() {
    for round in 0..5 {
        let table = Table::start().await;
        let store = table.store();
        let bodies = [sized(5, 130), sized(6, 3), sized(7, 101), sized(8, 40 + round)];
        join_all(bodies.iter().cycle().take(12).map(|body| apply(&store, body))).await;
        shows(&table, &bodies[3]).await;
        for body in &bodies {
            apply_and_sweep(&store, body).await;
        }
        holds_exactly(&table, &bodies[3]).await;
    }
}

/// Writes what a writer that was killed before the group item has written.
async fn write_members_alone(table: &Table, body: &Value, count: usize) {
    let mut cut = event(body);
    cut.group = chat_groups::event::Facts::default();
    cut.members = cut.members.into_iter().take(count).collect();
    table.store().apply(&cut, soon()).await.unwrap();
}

#[tokio::test]
async fn what_a_killed_writer_left_behind_is_finished_by_a_redelivery() {
    let table = Table::start().await;
    let full = sized(5, 250);
    write_members_alone(&table, &full, 120).await;
    assert_eq!(table.items().await.len(), 120);
    assert!(table.group("g").await.is_none());
    assert!(table.reader().groups_of(SDK_APP_ID, "user-0003").await.unwrap().is_empty());
    assert_eq!(apply_and_sweep(&table.store(), &full).await, Effect::Stored);
    holds_exactly(&table, &full).await;
}

#[tokio::test]
async fn what_a_killed_writer_left_behind_is_out_of_sight_of_a_newer_group_and_swept_by_a_redelivery() {
    let table = Table::start().await;
    let older = sized(5, 250);
    write_members_alone(&table, &older, 120).await;
    let newer = sized(6, 2);
    apply(&table.store(), &newer).await;
    shows(&table, &newer).await;
    assert_eq!(apply_and_sweep(&table.store(), &older).await, Effect::Stale);
    holds_exactly(&table, &newer).await;
}

#[tokio::test]
async fn attributes_that_are_not_known_survive_every_write() {
    let table = Table::start().await;
    apply(&table.store(), &sized(5, 2)).await;
    for sk in ["GROUP", "MEMBER#user-0000"] {
        let update = table.client().update_item().table_name("groups");
        let pk = chat_groups::store::partition_key(&key("g"));
        let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
        let update = update.key("pk", text(&pk)).key("sk", text(sk)).update_expression("SET team = :team");
        update.expression_attribute_values(":team", text("blue")).send().await.unwrap();
    }
    assert_eq!(apply(&table.store(), &sized(6, 1)).await, Effect::Replaced);
    let items = table.items().await;
    let teams: Vec<&Value> = items.values().filter_map(|item| item.get("team")).collect();
    assert_eq!(teams, ["blue", "blue"]);
    assert!(items.values().filter(|item| item.get("team").is_some()).all(|item| item["event_time"] == 6));
}

#[tokio::test]
async fn an_item_without_revision_is_merged_like_any_other() {
    let table = Table::start().await;
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let pk = chat_groups::store::partition_key(&key("g"));
    let put = table.client().put_item().table_name("groups").item("pk", text(&pk)).item("sk", text("GROUP"));
    put.item("note", text("by hand")).send().await.unwrap();
    assert_eq!(apply(&table.store(), &sized(5, 1)).await, Effect::Stored);
    let items = table.items().await;
    assert_eq!(items[&(pk, "GROUP".to_owned())]["note"], "by hand");
    shows(&table, &sized(5, 1)).await;
}

#[test]
fn event_times_are_ordered() {
    assert!(EventTime::from_millis(5).next() > EventTime::from_millis(5));
}
