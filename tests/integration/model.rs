//! Random histories against the model: whatever came, in whatever order, readers see what the contract says.

use std::time::{Duration, UNIX_EPOCH};

use chat_groups::redrive::{Finished, Redrive};
use chat_groups::store::text_of;
use chat_groups::webhook::Webhook;
use fastrand::Rng;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{NOW, SDK_APP_ID, Table, deliver, key, query};
use crate::queue::Queue;
use chat_groups::store::Reader;
use chat_groups_testkit::bodies::Group;
use chat_groups_testkit::model::{seen, view};

const HISTORIES: u64 = 1000;
const WORKERS: u64 = 8;
/// So few that ties happen.
const TIMES: u64 = 6;

/// Where histories are played, one after the other.
struct Stage {
    reader: Reader,
    webhook: Webhook,
    redrive: Redrive,
    queue: Queue,
}

impl Stage {
    async fn new(url: &str) -> Self {
        let table = Table { url: url.to_owned() };
        let queue = Queue::start().await.unwrap();
        let settings = [("RETRY_QUEUE_URL", queue.url.as_str()), ("AWS_ENDPOINT_URL_SQS", &queue.url)];
        Self {
            webhook: table.webhook_with(&settings),
            redrive: table.redrive(),
            reader: table.reader(),
            queue,
        }
    }

    /// Delivers events, some at once. What neither table nor queue took, on a machine that was busy with something
    /// else, is put back.
    async fn deliver(&self, bodies: &[&Value]) {
        let deliveries =
            bodies.iter().map(async |body| (deliver(&self.webhook, body).await.codes(), message(body)));
        let answers: Vec<_> = stream::iter(deliveries).buffer_unordered(6).collect().await;
        assert!(answers.iter().all(|(codes, _)| [(200, 0), (503, 120_007)].contains(codes)));
        let lost = answers.into_iter().filter(|(codes, _)| codes.0 == 503);
        self.finish(lost.map(|(_, message)| message).collect()).await;
    }

    /// Finishes these messages, some at once, as `redrive` does.
    async fn finish(&self, messages: Vec<String>) {
        let (now, deadline) =
            (UNIX_EPOCH + Duration::from_secs(NOW), Instant::now() + Duration::from_secs(60));
        let report = |_, finished: Finished| assert!(finished.result.is_ok(), "{finished:?}");
        self.redrive.finish(&messages, now, deadline, report).await;
    }

    /// What readers see of these groups.
    async fn seen(&self, groups: &[Group]) -> Vec<Value> {
        let mut all = Vec::new();
        for group in groups {
            all.push(seen(self.reader.group(&key(&group.id)).await.unwrap().as_ref()));
        }
        all
    }

    async fn groups_of(&self, account: &str) -> Vec<String> {
        let groups = self.reader.groups_of(SDK_APP_ID, account).await.unwrap();
        groups.iter().map(|group| text_of(group, "group_id").unwrap().to_owned()).collect()
    }
}

/// What happens to two groups and four accounts.
struct History {
    groups: [Group; 2],
    accounts: [String; 4],
    bodies: Vec<Value>,
}

impl History {
    fn random(number: u64, rng: &mut Rng) -> Self {
        let second = if rng.u8(..4) == 0 { "AVChatRoom" } else { "Work" };
        let groups = ["Public", second].map(|kind| Group::new(format!("h{number}-{kind}"), kind));
        let accounts = ["ana", "ben", "cleo", "dan"].map(|name| format!("h{number}-{name}"));
        let mut bodies = Vec::new();
        // Most histories begin with a creation of each group, and tell of one group and one account more than of the
        // others: so that what is said of the same fact meets often.
        if rng.u8(..4) != 0 {
            for group in &groups {
                let everybody = accounts.each_ref().map(String::as_str);
                bodies.push(group.created(rng.u64(1..3), one(&accounts, rng), &everybody));
            }
        }
        for _ in 0..rng.usize(2..9) {
            let group = &groups[usize::from(rng.u8(..4) == 0)];
            bodies.push(any(group, &accounts, rng));
        }
        Self { groups, accounts, bodies }
    }

    fn views(&self) -> Vec<Value> {
        let of =
            |group: &Group| self.bodies.iter().filter(|body| body["GroupId"] == group.id).collect::<Vec<_>>();
        self.groups.iter().map(|group| view(of(group))).collect()
    }

    /// Every event once and some of them again, in any order.
    fn deliveries(&self, rng: &mut Rng) -> Vec<&Value> {
        let mut deliveries: Vec<&Value> = self.bodies.iter().collect();
        deliveries.extend(self.bodies.iter().filter(|_| rng.u8(..3) == 0));
        rng.shuffle(&mut deliveries);
        deliveries
    }

    /// The groups of an account, by what the model says of each group.
    fn groups_of(&self, account: &str) -> Vec<String> {
        let is_of = |view: &Value| view["owner_account"] == account || view["members"].get(account).is_some();
        let mut ids: Vec<String> = self
            .groups
            .iter()
            .zip(self.views())
            .filter(|(_, view)| is_of(view))
            .map(|(group, _)| group.id.clone())
            .collect();
        ids.sort();
        ids
    }
}

fn created(group: &Group, accounts: &[String; 4], rng: &mut Rng) -> Value {
    let owner = if rng.u8(..5) == 0 { "" } else { one(accounts, rng) };
    let mut body = group.created(rng.u64(1..TIMES), owner, &some(accounts, rng));
    if rng.bool() {
        body["UserDefinedDataList"] = json!([{ "Key": "k", "Value": value(rng) }]);
    }
    body["Name"] = value(rng);
    body
}

/// Any event, in any form in which Chat may send it.
fn any(group: &Group, accounts: &[String; 4], rng: &mut Rng) -> Value {
    let time = rng.u64(1..TIMES);
    let mut body = match rng.u8(..10) {
        0 => created(group, accounts, rng),
        1 | 2 => group.joined(time, &some(accounts, rng)),
        3 | 4 => group.left(time, &some(accounts, rng)),
        5 => group.destroyed(time, &some(accounts, rng)),
        6 => group.changed(time, info(rng)),
        7 => group.handed_over(
            time,
            one(accounts, rng),
            if rng.u8(..5) == 0 { "" } else { one(accounts, rng) },
        ),
        _ => member_changed(group, time, one(accounts, rng), rng),
    };
    if rng.bool() {
        body["EventTime"] = body["EventTime"].to_string().into();
    }
    if rng.u8(..15) == 0 {
        body["TopicId"] = json!(if rng.bool() { "" } else { "@TOPIC#1" });
    }
    body
}

fn info(rng: &mut Rng) -> Value {
    let mut fields = json!({ "Name": null });
    for name in ["Name", "Introduction", "Notification", "FaceUrl"] {
        if rng.u8(..3) == 0 {
            fields[name] = value(rng);
        }
    }
    if rng.u8(..3) == 0 {
        fields["UserDefinedDataList"] = json!([{ "Key": "k", "Value": value(rng) }, { "Key": (if rng.bool() { "k2" } else { "k3" }), "Value": value(rng) }]);
    }
    fields
}

fn member_changed(group: &Group, time: u64, account: &str, rng: &mut Rng) -> Value {
    let mut fields = json!({ "Role": null });
    if rng.u8(..4) != 0 {
        fields["Role"] = json!(["Admin", "Admin", "Member", "Owner"][rng.usize(..4)]);
    }
    if rng.bool() {
        fields["NameCard"] = value(rng);
    }
    let mut body = group.member_changed(time, account, fields);
    if rng.bool() {
        body["Member_Account"] = body["Modified_Account"].take();
    }
    body
}

/// A text, now and then an empty one.
fn value(rng: &mut Rng) -> Value {
    json!(["", "a", "b", "ab"][rng.usize(..4)])
}

fn one<'a>(accounts: &'a [String; 4], rng: &mut Rng) -> &'a str {
    &accounts[rng.usize(..4).min(rng.usize(..4))]
}

/// Some accounts, perhaps none, perhaps one of them twice.
fn some<'a>(accounts: &'a [String; 4], rng: &mut Rng) -> Vec<&'a str> {
    (0..rng.usize(..4)).map(|_| one(accounts, rng)).collect()
}

/// A random history: the ids of its groups, and the callbacks in the order of their delivery.
pub(crate) fn any_history(number: u64, rng: &mut Rng) -> (Vec<String>, Vec<Value>) {
    let history = History::random(number, rng);
    let bodies = history.deliveries(rng).into_iter().cloned().collect();
    (history.groups.map(|group| group.id).into(), bodies)
}

/// The readers' view of a group, by the model.
pub(crate) fn seen_by_model(bodies: &[Value], group_id: &str) -> Value {
    view(bodies.iter().filter(|body| body["GroupId"] == group_id))
}

/// A message that `webhook` would have queued.
fn message(body: &Value) -> String {
    let query = query(body["CallbackCommand"].as_str().unwrap());
    json!({ "received_at": NOW * 1000, "query": query, "body": body.to_string() }).to_string()
}

async fn play(number: u64, stage: &Stage) {
    let mut rng = Rng::with_seed(number);
    let history = History::random(number, &mut rng);
    let expected = history.views();
    let deliveries = history.deliveries(&mut rng);
    let (first, second) = deliveries.split_at(rng.usize(..=deliveries.len()));
    let told = |what: &str| format!("{what}, history {number}: {:#?}", history.bodies);

    stage.deliver(first).await;
    // A part of what is queued is finished while the rest comes in.
    let queued = stage.queue.take();
    tokio::join!(stage.deliver(second), stage.finish(queued));
    stage.finish(stage.queue.take()).await;
    assert_eq!(stage.seen(&history.groups).await, expected, "{}", told("delivered"));

    // Whatever is redriven now, and swept by it, changes nothing that is seen.
    let again: Vec<String> =
        deliveries.iter().filter(|_| rng.u8(..4) == 0).map(|body| message(body)).collect();
    stage.finish(again).await;
    assert_eq!(stage.seen(&history.groups).await, expected, "{}", told("redriven"));
    for account in &history.accounts[rng.usize(..3)..][..2] {
        assert_eq!(stage.groups_of(account).await, history.groups_of(account), "{}", told(account));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_random_histories_show_what_the_contract_says() {
    let table = Table::start().await;
    join_all((0..WORKERS).map(async |worker| {
        let stage = Stage::new(&table.url).await;
        for number in (worker..HISTORIES).step_by(usize::try_from(WORKERS).unwrap()) {
            play(number, &stage).await;
        }
    }))
    .await;
}
