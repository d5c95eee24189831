//! Lives of groups, told in every order.

use std::time::{Duration, UNIX_EPOCH};

use chat_groups::callback::RosterCommand;
use chat_groups::store::text_of;
use chat_groups_testkit::bodies::Group;
use chat_groups_testkit::model::seen;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{NOW, SDK_APP_ID, Table, deliver, event, finish_at};
use crate::queue::Queue;

const ANSWER_BUDGET: Duration = Duration::from_millis(1500);

/// Delivers these events in every order, each time to a group of its own, and compares what readers see.
async fn in_every_order(events: impl Fn(&Group) -> Vec<Value>, expected: &Value) {
    let table = Table::start().await;
    let webhook = table.webhook();
    let count = events(&Group::new("", "")).len();
    for order in orders((0..count).collect()) {
        let group = Group::new(format!("{order:?}"), "Public");
        let events = events(&group);
        for index in &order {
            assert_eq!(deliver(&webhook, &events[*index]).await.codes(), (200, 0));
        }
        assert_eq!(seen(table.group(&group.id).await.as_ref()), *expected, "in the order {order:?}");
    }
}

fn orders(left: Vec<usize>) -> Vec<Vec<usize>> {
    if left.is_empty() {
        return vec![vec![]];
    }
    let after = |first: &usize| {
        let rest = left.iter().filter(|index| *index != first).copied().collect();
        orders(rest).into_iter().map(|rest| [vec![*first], rest].concat()).collect::<Vec<_>>()
    };
    left.iter().flat_map(after).collect()
}

/// A group of ana's, made at 5, as readers see it.
fn group(members: Value) -> Value {
    json!({ "event_time": 5, "type": "Public", "name": "A group", "owner_account": "ana", "members": members })
}

fn member(event_time: u64) -> Value {
    json!({ "event_time": event_time, "role": "Member" })
}

#[tokio::test]
async fn what_came_before_the_creation_shows_once_that_has_come() {
    let table = Table::start().await;
    let webhook = table.webhook();
    let told = Group::new("g", "Public");
    deliver(&webhook, &told.joined(6, &["ben"])).await;
    deliver(&webhook, &told.changed(7, json!({ "Notification": "" }))).await;
    assert_eq!(table.group("g").await, None);
    assert!(table.reader().groups_of(SDK_APP_ID, "ben").await.unwrap().is_empty());
    deliver(&webhook, &told.created(5, "ana", &["ana"])).await;
    let mut expected = group(json!({ "ana": member(5), "ben": member(6) }));
    expected["notification"] = json!("");
    assert_eq!(seen(table.group("g").await.as_ref()), expected);
    assert_eq!(table.reader().groups_of(SDK_APP_ID, "ben").await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_exit_may_overtake_its_join() {
    let events = |group: &Group| {
        let created = group.created(5, "ana", &["ana", "ben"]);
        vec![created, group.joined(6, &["cleo"]), group.left(7, &["cleo", "ben"]), group.joined(8, &["ben"])]
    };
    in_every_order(events, &group(json!({ "ana": member(5), "ben": member(8) }))).await;
}

#[tokio::test]
async fn a_join_and_an_exit_of_the_same_moment_are_an_exit() {
    let events = |group: &Group| {
        vec![group.created(5, "ana", &["ana", "ben"]), group.joined(6, &["cleo"]), group.left(6, &["cleo"])]
    };
    in_every_order(events, &group(json!({ "ana": member(5), "ben": member(5) }))).await;
}

#[tokio::test]
async fn a_role_may_come_before_its_join() {
    let events = |group: &Group| {
        let admin = json!({ "Role": "Admin", "NameCard": "Ben" });
        let before = json!({ "Role": "Admin", "NameCard": "of before" });
        vec![
            group.created(5, "ana", &["ana"]),
            group.joined(6, &["ben", "cleo"]),
            group.member_changed(7, "ben", admin),
            // What was said of an account before it joined counts no more.
            group.member_changed(5, "cleo", before),
        ]
    };
    let ben = json!({ "event_time": 6, "role": "Admin", "name_card": "Ben" });
    in_every_order(events, &group(json!({ "ana": member(5), "ben": ben, "cleo": member(6) }))).await;
}

#[tokio::test]
async fn role_and_name_card_are_facts_of_their_own_and_end_with_the_membership() {
    let events = |group: &Group| {
        vec![
            group.created(5, "ana", &["ben", "cleo"]),
            group.member_changed(7, "ben", json!({ "Role": "Admin" })),
            group.member_changed(6, "ben", json!({ "Role": "Custom", "NameCard": "" })),
            group.member_changed(7, "cleo", json!({ "Role": "Admin", "NameCard": "Cleo" })),
            group.joined(8, &["cleo"]),
        ]
    };
    let ben = json!({ "event_time": 5, "role": "Admin", "name_card": "" });
    in_every_order(events, &group(json!({ "ben": ben, "cleo": member(8) }))).await;
}

#[tokio::test]
async fn a_group_may_be_destroyed_before_it_was_created() {
    let events = |group: &Group| {
        let name = group.changed(7, json!({ "Name": "b" }));
        vec![group.created(5, "ana", &["ana"]), name, group.joined(9, &["ben"]), group.destroyed(8, &["ana"])]
    };
    in_every_order(events, &Value::Null).await;
    let at_once = |group: &Group| vec![group.created(5, "ana", &["ana"]), group.destroyed(5, &[])];
    in_every_order(at_once, &Value::Null).await;
}

#[tokio::test]
async fn a_group_id_is_used_again_while_events_of_the_earlier_life_still_come() {
    let events = |group: &Group| {
        vec![
            group.created(1, "old", &["ben", "dan"]),
            group.changed(2, json!({ "Name": "old", "Introduction": "old" })),
            group.joined(3, &["cleo"]),
            group.destroyed(4, &["ben", "cleo", "dan"]),
            group.created(5, "ana", &["ana", "dan"]),
        ]
    };
    in_every_order(events, &group(json!({ "ana": member(5), "dan": member(5) }))).await;
    let handed_over = |group: &Group| {
        vec![
            group.created(1, "old", &["ben"]),
            group.handed_over(3, "old", "ben"),
            group.member_changed(4, "ben", json!({ "Role": "Admin" })),
            group.created(5, "ana", &["ana"]),
            group.joined(6, &["ben"]),
        ]
    };
    in_every_order(handed_over, &group(json!({ "ana": member(5), "ben": member(6) }))).await;
}

#[tokio::test]
async fn two_creations_of_the_same_moment_are_one_with_the_members_of_both() {
    let events = |group: &Group| vec![group.created(5, "ana", &["ana"]), group.created(5, "", &["ben"])];
    in_every_order(events, &group(json!({ "ana": member(5), "ben": member(5) }))).await;
}

#[tokio::test]
async fn the_owner_stands_in_the_group_alone() {
    let events = |group: &Group| {
        vec![
            group.created(5, "cleo", &["ben", "cleo"]),
            group.member_changed(6, "ben", json!({ "Role": "Admin" })),
            group.handed_over(7, "cleo", "ben"),
            group.handed_over(8, "ben", "ana"),
        ]
    };
    in_every_order(events, &group(json!({ "ben": member(5), "cleo": member(5) }))).await;
    let nobody = |group: &Group| {
        vec![
            group.created(5, "ana", &["ana"]),
            group.changed(6, json!({ "FaceUrl": "" })),
            group.handed_over(7, "ana", ""),
        ]
    };
    let mut expected = group(json!({ "ana": member(5) }));
    expected.as_object_mut().unwrap().remove("owner_account");
    expected["face_url"] = json!("");
    in_every_order(nobody, &expected).await;
}

#[tokio::test]
async fn the_groups_of_an_account_follow_its_joins_its_exits_and_the_owner() {
    let table = Table::start().await;
    let webhook = table.webhook();
    let groups_of = async |account: &str| -> Vec<String> {
        let groups = table.reader().groups_of(SDK_APP_ID, account).await.unwrap();
        groups.iter().map(|group| text_of(group, "group_id").unwrap().to_owned()).collect()
    };
    let [a, b] = ["a", "b"].map(|id| Group::new(id, "Public"));
    for event in [a.created(5, "ana", &["ben"]), b.created(5, "ben", &["ben", "cleo"])] {
        deliver(&webhook, &event).await;
    }
    assert_eq!(
        (groups_of("ana").await, groups_of("ben").await),
        (vec!["a".into()], vec!["a".into(), "b".into()])
    );
    for event in
        [a.handed_over(6, "ana", "dan"), a.left(6, &["ben"]), b.left(6, &["ben"]), b.joined(6, &["ana"])]
    {
        deliver(&webhook, &event).await;
    }
    assert_eq!((groups_of("ana").await, groups_of("dan").await), (vec!["b".into()], vec!["a".into()]));
    assert_eq!(groups_of("ben").await, ["b"], "who left may own it all the same");
    // A new life of the same GroupId, and a destroyed group.
    deliver(&webhook, &b.created(7, "dan", &[])).await;
    deliver(&webhook, &a.destroyed(7, &[])).await;
    for (account, expected) in [("ana", vec![]), ("ben", vec![]), ("cleo", vec![]), ("dan", vec!["b"])] {
        assert_eq!(groups_of(account).await, expected, "{account}");
    }
}

#[tokio::test]
async fn who_left_and_what_was_destroyed_stay_as_marks_without_index_key() {
    let table = Table::start().await;
    let told = Group::new("g", "Public");
    let events =
        [told.created(5, "ana", &["ben"]), told.left(6, &["ben", "never a member"]), told.destroyed(7, &[])];
    for event in &events {
        deliver(&table.webhook(), event).await;
    }
    let items: Vec<Value> = table.items().await.into_values().collect();
    assert_eq!(items.len(), 3);
    for item in &items {
        assert!(item["expires_at"].is_u64() && item.get("account_key").is_none(), "{item}");
    }
    let gone: Vec<&Value> =
        items.iter().map(|item| item.get("left_at").unwrap_or(&item["destroyed_at"])).collect();
    assert_eq!(gone, [7, 6, 6]);
}

#[tokio::test]
async fn an_av_chat_room_never_gets_a_member_item() {
    let table = Table::start().await;
    let webhook = table.webhook();
    let room = Group::new("room", "AVChatRoom");
    let mut outcomes = Vec::new();
    for event in [
        room.created(5, "ana", &["ana", "ben"]),
        room.joined(6, &["cleo"]),
        room.left(7, &["cleo"]),
        room.member_changed(8, "ben", json!({ "Role": "Admin" })),
        room.handed_over(9, "ana", "ben"),
        room.changed(10, json!({ "Name": "Live" })),
    ] {
        outcomes.push(deliver(&webhook, &event).await.outcome());
    }
    assert_eq!(outcomes, ["stored", "ignored", "ignored", "ignored", "stored", "stored"]);
    let group = seen(table.group("room").await.as_ref());
    assert_eq!((&group["owner_account"], &group["name"]), (&json!("ben"), &json!("Live")));
    deliver(&webhook, &room.destroyed(11, &["ana", "ben"])).await;
    assert_eq!(table.group("room").await, None);
    let keys: Vec<(String, String)> = table.items().await.into_keys().collect();
    assert_eq!(keys, [("1400000001#room".to_owned(), "GROUP".to_owned())]);
}

#[tokio::test]
async fn what_speaks_of_a_topic_is_not_kept() {
    let table = Table::start().await;
    let community = Group::new("@TGS#_c", "Community");
    for mut event in [
        community.joined(6, &["ben"]),
        community.left(6, &["ben"]),
        community.destroyed(6, &[]),
        community.changed(6, json!({ "Name": "Topic" })),
    ] {
        event["TopicId"] = json!("@TGS#_c@TOPIC#_t");
        assert_eq!(deliver(&table.webhook(), &event).await.outcome(), "ignored");
    }
    assert!(table.items().await.is_empty());
}

#[tokio::test]
async fn a_join_that_is_told_again_is_stored_and_not_replaced() {
    let table = Table::start().await;
    let told = Group::new("g", "Public");
    let mut outcomes = Vec::new();
    for event in [
        told.created(5, "ana", &["ben"]),
        told.left(6, &["ben"]),
        told.joined(7, &["ben"]),
        told.joined(7, &["ben"]),
        told.left(6, &["ben"]),
        told.left(9, &[]),
        told.changed(9, json!({ "Name": null })),
    ] {
        outcomes.push(deliver(&table.webhook(), &event).await.outcome());
    }
    assert_eq!(outcomes, ["stored", "stored", "stored", "duplicate", "stale", "ignored", "ignored"]);
}

/// A receiver that has a queue, and the queue.
async fn with_queue(table: &Table) -> (chat_groups::webhook::Webhook, Queue) {
    let queue = Queue::start().await.unwrap();
    let settings = [("RETRY_QUEUE_URL", queue.url.as_str()), ("AWS_ENDPOINT_URL_SQS", &queue.url)];
    (table.webhook_with(&settings), queue)
}

/// Delivers an event within Chat's time, and finishes what it left to the queue.
async fn in_time(table: &Table, event: &Value) {
    let (webhook, queue) = with_queue(table).await;
    let start = Instant::now();
    let answered = deliver(&webhook, event).await;
    let took = start.elapsed();
    assert_eq!(answered.codes(), (200, 0), "{answered:?}");
    assert!(took < ANSWER_BUDGET, "{took:?}");
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    for message in queue.take() {
        let finished = finish_at(&table.redrive(), &message, now).await;
        assert!(finished.result.is_ok(), "{finished:?}");
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

fn accounts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("a-member-of-a-large-group-{n:06}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_joins_are_answered_in_time() {
    let table = Table::start().await;
    let told = Group::new("g", "Public");
    let accounts = accounts(300);
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    deliver(&table.webhook(), &told.created(5, "ana", &[])).await;
    in_time(&table, &told.joined(6, &accounts)).await;
    assert_eq!(table.group("g").await.unwrap().members.len(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroyed_group_of_6000_members_is_answered_in_time_and_swept() {
    let table = Table::start().await;
    let told = Group::new("g", "Public");
    let accounts = accounts(6000);
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let created = told.created(5, "ana", &accounts);
    let event = event(RosterCommand::AfterCreateGroup, &created, 5);
    table.store().apply(&event, soon()).await.unwrap();
    let destroyed = told.destroyed(6, &accounts);
    assert!(destroyed.to_string().len() > 300_000);
    in_time(&table, &destroyed).await;
    assert_eq!(table.group("g").await, None);
    assert_eq!(table.items().await.len(), 1, "all but the mark is swept");
}
