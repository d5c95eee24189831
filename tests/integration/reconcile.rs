//! The function `reconcile` between the stand-in for Chat's API and a table.

mod gone;
mod list;
mod members;
mod time;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_groups::chat::{ChatApi, ChatSettings, Command, Limits, SecretKey};
use chat_groups::event::{Event, Facts, fact};
use chat_groups::http::{HttpClient, Trust};
use chat_groups::reconcile::{
    Note, Pace, Reconcile, ReconcileError, ReconcileRequest, Reconciled, Report, TimeLimit,
};
use chat_groups::store::text_of;
use chat_groups::time::EventTime;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::chat_api::{Application, Chat, Fault, Group, Member, Script};
use crate::harness::{SDK_APP_ID, Table, key};

pub(crate) const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
pub(crate) const ADMIN: &str = "the admin";

/// A table, a Chat, and the function between them.
struct World {
    table: Table,
    chat: Chat,
}

/// What one call came to, and what it has told.
#[derive(Debug)]
struct Outcome {
    reconciled: Reconciled,
    lines: Vec<Value>,
}

impl Outcome {
    fn report(&self) -> &Report {
        assert!(self.reconciled.error.is_none(), "{:?}", self.reconciled.error);
        &self.reconciled.report
    }

    fn error(&self) -> &ReconcileError {
        self.reconciled.error.as_ref().expect("it should have failed")
    }

    /// The numbers that are not 0, those of listed and checked groups left out.
    fn drift(&self) -> Value {
        let mut report = json!(self.report());
        let fields = report.as_object_mut().unwrap();
        fields.retain(|name, value| {
            value.is_number() && value != 0 && name != "groups_listed" && name != "groups_checked"
        });
        report
    }
}

pub(crate) async fn start_chat() -> Chat {
    let application =
        Application { sdk_app_id: SDK_APP_ID, admin_account: ADMIN.to_owned(), secret_key: KEY.to_owned() };
    let chat = Chat::start(application).await.unwrap();
    chat.behave(|behavior| {
        behavior.list_interval = Duration::ZERO;
        behavior.calls_per_second = usize::MAX;
    });
    chat
}

impl World {
    async fn start() -> Self {
        Self { table: Table::start().await, chat: start_chat().await }
    }

    fn reconcile(&self) -> Reconcile {
        self.reconcile_within(Limits {
            list_interval: Duration::ZERO,
            call_interval: Duration::ZERO,
            attempt_timeout: Duration::from_secs(2),
            request_budget: Duration::from_secs(10),
        })
    }

    fn reconcile_within(&self, limits: Limits) -> Reconcile {
        let settings = ChatSettings {
            api_url: self.chat.url.clone(),
            sdk_app_id: SDK_APP_ID,
            admin_account: ADMIN.to_owned(),
            limits,
        };
        let http = HttpClient::new(Trust::none(), Duration::from_secs(5));
        let chat = ChatApi::new(settings, SecretKey::new(KEY).unwrap(), http);
        let mut reconcile = Reconcile::new(SDK_APP_ID, self.table.store(), chat);
        reconcile.pace =
            Pace { confirm_after: Duration::from_millis(50), save_every: Duration::from_millis(20) };
        reconcile
    }

    /// Calls the function, with time enough.
    async fn call(&self, event: Value) -> Outcome {
        self.call_for(event, Duration::from_secs(60)).await
    }

    async fn call_for(&self, event: Value, time: Duration) -> Outcome {
        call(&self.reconcile(), &event, stops_after(time)).await
    }

    fn group(&self, group_id: &str, group: Group) {
        self.chat.groups(|model| model.groups.insert(group_id.to_owned(), group));
    }

    fn change(&self, group_id: &str, change: impl FnOnce(&mut Group)) {
        self.chat.groups(|model| change(model.groups.get_mut(group_id).unwrap()));
    }

    /// The groups that readers see, as the stand-in's model has them; the types apart, which are not compared.
    async fn shown(&self, group_ids: &[String]) -> BTreeMap<String, Group> {
        let mut shown = BTreeMap::new();
        for group_id in group_ids {
            if let Some(group) = self.table.group(group_id).await {
                shown.insert(group_id.clone(), model_of(&group));
            }
        }
        shown
    }

    /// The ids of the groups that readers see are these.
    async fn shows(&self, group_ids: &[&str]) {
        for group_id in group_ids {
            assert!(self.table.group(group_id).await.is_some(), "{group_id}");
        }
    }

    /// Everything but the places of passes.
    async fn items(&self) -> BTreeMap<(String, String), Value> {
        let mut items = self.table.items().await;
        items.retain(|(pk, _), _| !pk.contains('!'));
        items
    }

    async fn members(&self, group_id: &str) -> Vec<String> {
        let group = self.table.group(group_id).await.expect("the group is there");
        group.members.iter().map(|member| text_of(member, "account").unwrap().to_owned()).collect()
    }

    /// Writes facts as a callback would.
    async fn set(&self, group_id: &str, group: Facts, members: &[(&str, Facts)]) {
        let members =
            members.iter().map(|(account, facts)| ((*account).to_owned(), Arc::new(facts.clone()))).collect();
        let event = Event { key: key(group_id), group, members };
        let deadline = Instant::now() + Duration::from_secs(10);
        self.table.store().apply(&event, deadline).await.unwrap();
    }

    /// Creates a group as its callback would have: as Chat has it by now.
    async fn announce(&self, group_id: &str) {
        let group = self.chat.groups(|model| model.groups[group_id].clone());
        let (facts, members) = created(&group, group.create_time * 1000 + 123);
        let members: Vec<_> =
            members.iter().map(|(account, facts)| (account.as_str(), facts.clone())).collect();
        self.set(group_id, facts, &members).await;
    }
}

/// A call that begins nothing after this, but has the time to end what is under way.
fn stops_after(time: Duration) -> TimeLimit {
    let stop_at = Instant::now() + time;
    TimeLimit { stop_at, end: stop_at + Duration::from_secs(30) }
}

async fn call(reconcile: &Reconcile, event: &Value, time: TimeLimit) -> Outcome {
    let lines = Mutex::new(Vec::new());
    let observe = |note: &Note<'_>| {
        if let Some(line) = note.to_line(SystemTime::now()) {
            assert_keeps_secrets(&line);
            lines.lock().unwrap().push(serde_json::from_str(&line).unwrap());
        }
    };
    let request = ReconcileRequest::parse(event).unwrap();
    let reconciled = reconcile.run(&request, time, &observe).await;
    let line = reconciled.to_line(SystemTime::now());
    assert_keeps_secrets(&line);
    let mut lines = lines.into_inner().unwrap();
    lines.push(serde_json::from_str(&line).unwrap());
    Outcome { reconciled, lines }
}

/// No line holds a URL, a UserSig or the key.
pub(crate) fn assert_keeps_secrets(line: &str) {
    for secret in ["usersig", KEY, "random=", "http://"] {
        assert!(!line.contains(secret), "{secret} in {line}");
    }
    // Each UserSig is zlib in base64: it begins with what the header of zlib encodes to.
    let is_user_sig = |word: &str| ["eJ", "eNo", "eAE"].iter().any(|start| word.starts_with(start));
    assert!(!line.split(|c: char| !c.is_ascii_alphanumeric()).any(is_user_sig), "{line}");
}

fn model_of(group: &chat_groups::store::Group) -> Group {
    let text = |item: &_, name: &str| text_of(item, name).unwrap_or_default().to_owned();
    let members = group.members.iter().map(|member| {
        let role = Some(text(member, "role")).filter(|role| !role.is_empty());
        let shown = Member {
            role: role.unwrap_or_else(|| "Member".to_owned()),
            name_card: text(member, "name_card"),
            join_time: 0,
        };
        (text(member, "account"), shown)
    });
    Group {
        group_type: String::new(),
        name: text(&group.group, "name"),
        introduction: text(&group.group, "introduction"),
        notification: text(&group.group, "notification"),
        face_url: text(&group.group, "face_url"),
        owner: Some(text(&group.group, "owner_account")).filter(|owner| !owner.is_empty()),
        create_time: 0,
        members: members.collect(),
        app_defined: BTreeMap::new(),
    }
}

/// What readers should see of Chat's groups.
fn expected(chat: &Chat) -> BTreeMap<String, Group> {
    let mut groups = chat.groups(|model| model.groups.clone());
    for group in groups.values_mut() {
        let is_room = group.group_type == "AVChatRoom";
        (group.group_type, group.create_time, group.app_defined) = (String::new(), 0, BTreeMap::new());
        group.members.values_mut().for_each(|member| member.join_time = 0);
        if is_room {
            group.members.clear();
        }
    }
    groups
}

fn at(millis: u64) -> EventTime {
    EventTime::from_millis(millis)
}

fn there(millis: u64) -> Facts {
    Facts::present(at(millis))
}

fn member_since(millis: u64) -> Facts {
    let mut facts = there(millis);
    facts.set(fact::ROLE, Some("Member".to_owned()), at(millis));
    facts
}

fn says(name: &'static str, value: &str, millis: u64) -> Facts {
    let mut facts = Facts::default();
    facts.set(name, Some(value.to_owned()), at(millis));
    facts
}

/// What the callback of a creation says.
fn created(group: &Group, millis: u64) -> (Facts, Vec<(String, Facts)>) {
    let mut facts = there(millis);
    facts.set(fact::TYPE, Some(group.group_type.clone()), at(millis));
    facts.set(fact::NAME, Some(group.name.clone()), at(millis));
    if let Some(owner) = &group.owner {
        facts.set(fact::OWNER_ACCOUNT, Some(owner.clone()), at(millis));
    }
    let accounts = group.members.keys().filter(|_| group.group_type != "AVChatRoom");
    (facts, accounts.map(|account| (account.clone(), member_since(millis))).collect())
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A time in seconds, as many before now.
fn ago(seconds: u64) -> u64 {
    now() / 1000 - seconds
}

/// A group that is an hour old.
fn group(accounts: &[&str]) -> Group {
    Group::public("g", ago(3600), accounts)
}

#[tokio::test]
async fn groups_that_were_never_announced_are_brought_in_with_all_of_their_members() {
    let world = World::start().await;
    let full = Group {
        introduction: "what it is".to_owned(),
        face_url: "https://example.com/face".to_owned(),
        app_defined: [("level".to_owned(), "7".to_owned())].into(),
        ..group(&["owner", "b"])
    };
    world.group("full", full);
    world.change("full", |full| {
        let card = Member { role: "Admin".to_owned(), name_card: "card".to_owned(), join_time: 1 };
        full.members.insert("b".to_owned(), card);
    });
    world.group("empty", Group { group_type: "Work".to_owned(), ..Group::public("", ago(60), &[]) });
    world.group("room", Group { group_type: "AVChatRoom".to_owned(), ..group(&["viewer"]) });
    world.group("community", Group { group_type: "Community".to_owned(), ..group(&["c"]) });
    let outcome = world.call(json!({})).await;
    assert_eq!(outcome.drift(), json!({ "groups_added": 4, "members_added": 3 }));
    assert_eq!((outcome.report().groups_listed, outcome.report().groups_checked), (4, 4));
    assert!(outcome.report().finished && !outcome.report().dry_run);
    let ids: Vec<String> = expected(&world.chat).into_keys().collect();
    assert_eq!(world.shown(&ids).await, expected(&world.chat));

    let items = world.items().await;
    let item = |sk: &str| &items[&(format!("{SDK_APP_ID}#full"), sk.to_owned())];
    let full = item("GROUP");
    let create_time = world.chat.groups(|model| model.groups["full"].create_time);
    assert_eq!(full["event_time"], create_time * 1000);
    assert_eq!((&full["type"], &full["user_defined"]["level"]), (&json!("Public"), &json!("7")));
    // How it was created is not known.
    for unknown in ["operator_account", "initial_member_count", "received_at"] {
        assert!(full.get(unknown).is_none(), "{unknown}");
    }
    let said = full["changed_at"]["name"].as_u64().unwrap();
    assert!((now() - 8_000..now() - 5_000).contains(&said), "of the moment before the question less 5 s");
    assert_eq!(
        (&item("MEMBER#owner")["role"], &item("MEMBER#b")["role"]),
        (&json!("Member"), &json!("Admin"))
    );
    let joined = item("MEMBER#b")["event_time"].as_u64().unwrap();
    assert!((now() - 8_000..now() - 5_000).contains(&joined), "and not of JoinTime");

    let again = world.call(json!({ "members": "all" })).await;
    assert_eq!(again.drift(), json!({}));
    assert_eq!((again.report().groups_checked, again.lines.len()), (4, 1));
}

#[tokio::test]
async fn what_was_lost_is_corrected_and_told_in_one_line_for_each_group() {
    let world = World::start().await;
    world.group("g", group(&["owner", "stays", "left", "raised", "card"]));
    world.announce("g").await;
    world.group("same", group(&["owner"]));
    world.announce("same").await;
    world.change("g", |g| {
        g.name = "another".to_owned();
        g.owner = Some("stays".to_owned());
        g.members.remove("left");
        g.members.insert("joined".to_owned(), Member::joined(ago(1800)));
        g.members.get_mut("raised").unwrap().role = "Admin".to_owned();
        g.members.get_mut("card").unwrap().name_card = "a card".to_owned();
    });
    let outcome = world.call(json!({})).await;
    let drift =
        json!({ "groups_changed": 1, "members_added": 1, "members_removed": 1, "members_changed": 2 });
    assert_eq!(outcome.drift(), drift);
    assert_eq!(world.shown(&["g".into(), "same".into()]).await, expected(&world.chat));
    assert_eq!(outcome.lines.len(), 2);
    let line = &outcome.lines[0];
    assert_eq!(
        (&line["outcome"], &line["group_id"], &line["change"]),
        (&json!("corrected"), &json!("g"), &json!("changed"))
    );
    assert_eq!(line["fields"], json!(["name", "owner_account"]));
    assert_eq!((&line["members_added"], &line["members_removed"]), (&json!(1), &json!(1)));
    let line = &outcome.lines[1];
    assert_eq!(
        (&line["outcome"], &line["level"], &line["members_changed"]),
        (&json!("reconciled"), &json!("INFO"), &json!(2))
    );
    assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
}

#[tokio::test]
async fn a_left_member_comes_back_and_a_name_card_is_taken_away() {
    let world = World::start().await;
    world.group("g", group(&["a", "b"]));
    world.announce("g").await;
    world.set("g", Facts::default(), &[("a", Facts::departed(at(ago(1800) * 1000), None))]).await;
    world.set("g", Facts::default(), &[("b", says(fact::NAME_CARD, "old", ago(1700) * 1000))]).await;
    let outcome = world.call(json!({ "members": "all" })).await;
    assert_eq!(outcome.drift(), json!({ "members_added": 1, "members_changed": 1 }));
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
}

#[tokio::test]
async fn custom_fields_are_asked_for_by_the_names_that_the_table_knows() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.change("g", |g| {
        g.app_defined = [("level".to_owned(), "8".to_owned()), ("other".to_owned(), "x".to_owned())].into();
    });
    world.announce("g").await;
    let mut facts = Facts::default();
    for (key, value) in [("level", "7"), ("unknown to chat", "stays")] {
        facts.set(fact::user_defined(key), Some(value.to_owned()), at(ago(1800) * 1000));
    }
    world.set("g", facts, &[]).await;
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_changed": 1 }));
    let items = world.items().await;
    let custom = &items[&(format!("{SDK_APP_ID}#g"), "GROUP".to_owned())]["user_defined"];
    assert_eq!(*custom, json!({ "level": "8", "unknown to chat": "stays" }));
}

#[tokio::test]
async fn of_a_new_group_all_custom_fields_are_asked_for() {
    let world = World::start().await;
    world.group("known", group(&["a"]));
    world.announce("known").await;
    world.set("known", says("user_defined.level", "7", ago(1800) * 1000), &[]).await;
    world.change("known", |g| g.app_defined = [("level".to_owned(), "7".to_owned())].into());
    world.group("new", group(&["a"]));
    world.change("new", |g| g.app_defined = [("first of its name".to_owned(), "x".to_owned())].into());
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_added": 1, "members_added": 1 }));
    let items = world.items().await;
    let custom = &items[&(format!("{SDK_APP_ID}#new"), "GROUP".to_owned())]["user_defined"];
    assert_eq!(*custom, json!({ "first of its name": "x" }));
}

#[tokio::test]
async fn a_field_that_chat_leaves_out_is_empty_but_an_entry_without_a_type_is_no_answer() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.announce("g").await;
    let before = world.items().await;
    let answer = |entry: Value| {
        let body = json!({ "ActionStatus": "OK", "ErrorCode": 0, "GroupInfo": [entry] });
        Script::always(Fault::Answer(200, body.to_string()))
    };
    let partial = json!({ "GroupId": "g", "ErrorCode": 0, "CreateTime": ago(3600), "MemberNum": 1 });
    world.chat.script("get_group_info", answer(partial.clone()));
    assert_eq!(world.call(json!({})).await.drift(), json!({ "skipped": 1 }));
    assert_eq!(world.items().await, before);
    let mut whole = partial;
    whole["Type"] = json!("Public");
    world.chat.script("get_group_info", answer(whole));
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_changed": 1 }));
    let group = world.table.group("g").await.unwrap().group;
    assert_eq!((text_of(&group, "name"), text_of(&group, "owner_account")), (Some(""), None));
}

#[tokio::test]
async fn members_are_listed_for_new_and_differing_groups_and_for_every_24th_other() {
    let world = World::start().await;
    for number in 0..48 {
        world.group(&format!("g{number}"), group(&["a"]));
    }
    let listings = |world: &World| world.chat.calls("get_group_member_info");
    world.call(json!({})).await;
    assert_eq!(listings(&world), 48, "new");
    for number in 0..48 {
        let join = Member::joined(ago(10));
        world.change(&format!("g{number}"), |g| drop(g.members.insert("b".to_owned(), join)));
    }
    world.change("g7", |g| g.introduction = "new".to_owned());
    let outcome = world.call(json!({})).await;
    let listed = listings(&world) - 48;
    assert!((1..9).contains(&listed), "{listed}");
    assert_eq!(outcome.report().members_added as usize, listed);
    let mut found = outcome.report().members_added;
    for _ in 0..23 {
        found += world.call(json!({})).await.report().members_added;
    }
    assert_eq!(found, 48);
    world.call(json!({ "members": "all" })).await;
    world.group("room", Group { group_type: "AVChatRoom".to_owned(), ..group(&["viewer"]) });
    let before = listings(&world);
    world.call(json!({ "members": "all" })).await;
    assert_eq!(listings(&world) - before, 48, "but not of rooms");
}

#[tokio::test]
async fn named_groups_alone_are_compared_with_their_members() {
    let world = World::start().await;
    for id in ["a", "b", "c", "d"] {
        world.group(id, group(&["x"]));
    }
    for id in ["a", "b"] {
        world.announce(id).await;
        world.change(id, |g| drop(g.members.insert("y".to_owned(), Member::joined(ago(10)))));
    }
    world.group("gone", group(&["x"]));
    world.announce("gone").await;
    world.chat.groups(|model| model.groups.remove("gone"));
    let outcome = world.call(json!({ "group_ids": ["a", "c", "gone", "nowhere"] })).await;
    let drift = json!({ "members_added": 2, "groups_added": 1, "groups_destroyed": 1 });
    assert_eq!(outcome.drift(), drift);
    assert!(outcome.report().finished);
    assert_eq!(outcome.lines.last().unwrap()["named"], true);
    assert_eq!(world.call(json!({ "dry_run": true })).await.lines.last().unwrap()["named"], false);
    assert_eq!((outcome.report().groups_listed, outcome.report().groups_checked), (0, 4));
    assert_eq!(world.chat.calls("get_appid_group_list"), 1);
    assert_eq!(world.members("b").await, ["x"]);
    assert!(world.table.group("d").await.is_none());
    let items = world.table.items().await;
    assert!(!items.contains_key(&(format!("{SDK_APP_ID}!reconcile"), "PLACE".to_owned())), "it has no place");
}

#[tokio::test]
async fn a_group_is_destroyed_once_it_is_called_gone_twice() {
    let world = World::start().await;
    for id in ["gone", "back", "stays"] {
        world.group(id, group(&["a", "b"]));
        world.announce(id).await;
    }
    let mut calls = 0;
    let lost = world.chat.groups(|model| {
        model.groups.remove("gone");
        model.groups.remove("back").unwrap()
    });
    let mut lost = Some(lost);
    world.chat.before_each(move |command, model| {
        calls += usize::from(command == "get_group_info");
        if calls == 2
            && let Some(group) = lost.take()
        {
            model.groups.insert("back".to_owned(), group);
        }
    });
    let before = now();
    let outcome = world.call(json!({})).await;
    assert_eq!(outcome.drift(), json!({ "groups_destroyed": 1 }));
    world.shows(&["back", "stays"]).await;
    assert!(world.table.group("gone").await.is_none());
    let items = world.items().await;
    let of_gone: Vec<_> = items.iter().filter(|((pk, _), _)| pk.ends_with("#gone")).collect();
    assert_eq!(of_gone.len(), 1, "its members are swept");
    // As of the first answer.
    let destroyed_at = of_gone[0].1["destroyed_at"].as_u64().unwrap();
    assert!((before - 7_000..before - 4_000).contains(&destroyed_at), "{destroyed_at} {before}");
    assert_eq!(outcome.lines[0]["change"], "destroyed");
}

#[tokio::test]
async fn between_the_two_answers_there_is_the_time_that_is_set() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.announce("g").await;
    world.chat.groups(|model| model.groups.remove("g"));
    let mut reconcile = world.reconcile();
    reconcile.pace = Pace { confirm_after: Duration::from_millis(700), ..Pace::default() };
    assert_eq!(Pace::default().confirm_after, Duration::from_secs(10));
    let start = Instant::now();
    let outcome = call(&reconcile, &json!({}), stops_after(Duration::from_secs(60))).await;
    assert_eq!(outcome.drift(), json!({ "groups_destroyed": 1 }));
    assert!(start.elapsed() >= Duration::from_millis(690), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_group_made_again_between_the_two_answers_wins() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.announce("g").await;
    world.chat.groups(|model| model.groups.remove("g"));
    // Its callback comes before the second answer, which comes from a server that is downstream.
    world.set("g", there(now()), &[("new", member_since(now()))]).await;
    let outcome = world.call(json!({})).await;
    assert_eq!(outcome.drift(), json!({}));
    assert_eq!(world.members("g").await, ["new"]);
}

#[tokio::test]
async fn too_many_groups_that_are_gone_are_not_believed() {
    let world = World::start().await;
    for number in 0..100 {
        world.group(&format!("g{number:03}"), group(&["a"]));
    }
    world.call(json!({})).await;
    world.group("added", group(&["a"]));
    world.chat.groups(|model| {
        let ids: Vec<String> = model.groups.keys().filter(|id| *id < &"g021".to_owned()).cloned().collect();
        ids.iter().filter(|id| id.starts_with('g')).for_each(|id| drop(model.groups.remove(id)));
    });
    let before = world.items().await.len();
    let dry = world.call(json!({ "dry_run": true })).await;
    assert!(matches!(dry.error(), ReconcileError::TooManyGone { gone: 21, groups: 100 }));
    let outcome = world.call(json!({})).await;
    assert!(matches!(outcome.error(), ReconcileError::TooManyGone { gone: 21, groups: 100 }));
    let line = outcome.lines.last().unwrap();
    assert_eq!(
        (&line["outcome"], &line["level"], &line["groups_added"]),
        (&json!("failed"), &json!("ERROR"), &json!(1))
    );
    assert!(line["error"].as_str().unwrap().contains("allow_destroy"));
    assert_eq!(world.items().await.len(), before + 2, "what is new was added, and nothing removed");
    // Without the flag, the next call begins again.
    assert!(matches!(world.call(json!({})).await.error(), ReconcileError::TooManyGone { .. }));
    let named: Vec<String> = (0..21).map(|number| format!("g{number:03}")).collect();
    assert!(matches!(
        world.call(json!({ "group_ids": named })).await.error(),
        ReconcileError::TooManyGone { .. }
    ));

    let dry = world.call(json!({ "dry_run": true, "allow_destroy": true })).await;
    assert_eq!(dry.drift(), json!({ "groups_destroyed": 21 }));
    // With it, only the second question is repeated.
    let lists = world.chat.calls("get_appid_group_list");
    let outcome = world.call(json!({ "allow_destroy": true })).await;
    assert_eq!(outcome.drift(), json!({ "groups_destroyed": 21 }));
    assert_eq!((outcome.report().groups_checked, world.chat.calls("get_appid_group_list")), (0, lists));
    assert_eq!(world.call(json!({})).await.drift(), json!({}));
}

#[tokio::test]
async fn twenty_of_few_groups_and_a_tenth_of_many_may_be_gone() {
    for (all, gone) in [(20, 20), (210, 21)] {
        let world = World::start().await;
        for number in 0..all {
            world.group(&format!("g{number}"), Group { group_type: "AVChatRoom".to_owned(), ..group(&[]) });
        }
        world.call(json!({})).await;
        world.chat.groups(|model| {
            for number in 0..gone {
                model.groups.remove(&format!("g{number}"));
            }
        });
        assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_destroyed": gone }));
    }
}

#[tokio::test]
async fn a_group_that_is_used_again_begins_a_new_life() {
    let world = World::start().await;
    world.group("g", group(&["old", "both"]));
    world.announce("g").await;
    // Destroyed and made again; both callbacks are lost, but not that of a member who joined it.
    world.group("g", Group { name: "second".to_owned(), ..Group::public("", ago(1800), &["both", "new"]) });
    world.set("g", Facts::default(), &[("visitor", member_since(ago(1700) * 1000))]).await;
    let outcome = world.call(json!({})).await;
    let drift = json!({ "groups_added": 1, "members_added": 2, "members_removed": 1 });
    assert_eq!(outcome.drift(), drift);
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
    let items = world.items().await;
    assert!(!items.keys().any(|(_, sk)| sk == "MEMBER#old"), "the earlier life is swept");
    // Its creation's callback comes late: it changes nothing that readers see, and no member is lost.
    world.change("g", |g| drop(g.members.insert("later".to_owned(), Member::joined(ago(1600)))));
    world.call(json!({ "members": "all" })).await;
    let create_time = world.chat.groups(|model| model.groups["g"].create_time);
    let (mut facts, _) =
        created(&world.chat.groups(|model| model.groups["g"].clone()), create_time * 1000 + 900);
    facts.set(fact::NAME, Some("first name".to_owned()), at(create_time * 1000 + 900));
    world.set("g", facts, &[("new", member_since(create_time * 1000 + 900))]).await;
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
}

#[tokio::test]
async fn a_group_that_was_destroyed_by_mistake_is_created_after_that() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.announce("g").await;
    let destroyed_at = ago(600) * 1000;
    world.set("g", Facts::destroyed(at(destroyed_at)), &[]).await;
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_added": 1, "members_added": 1 }));
    let items = world.items().await;
    assert_eq!(items[&(format!("{SDK_APP_ID}#g"), "GROUP".to_owned())]["event_time"], destroyed_at + 1);
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
    assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
}

#[tokio::test]
async fn a_group_whose_creation_was_lost_shows_what_was_said_of_it_later() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.change("g", |g| {
        g.name = "third".to_owned();
        g.members.insert("b".to_owned(), Member::joined(ago(1800)));
    });
    world.set("g", says(fact::NAME, "second", ago(1800) * 1000), &[]).await;
    world.set("g", says(fact::INTRODUCTION, "taken away since", ago(1800) * 1000), &[]).await;
    world.set("g", Facts::default(), &[("b", member_since(ago(1800) * 1000))]).await;
    world.set("g", Facts::default(), &[("left", member_since(ago(1800) * 1000))]).await;
    assert!(world.table.group("g").await.is_none());
    let drift = json!({ "groups_added": 1, "members_added": 1, "members_removed": 1 });
    assert_eq!(world.call(json!({})).await.drift(), drift);
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
}

#[tokio::test]
async fn a_callback_of_the_last_five_seconds_or_during_the_pass_wins() {
    for millis_ago in [0, 2_000, 4_000] {
        let world = World::start().await;
        world.group("g", group(&["a", "b"]));
        world.announce("g").await;
        // Chat's server that answers is downstream: it does not know of these yet.
        let time = now() - millis_ago;
        world.set("g", says(fact::NAME, "newer", time), &[("a", Facts::departed(at(time), None))]).await;
        world.set("g", Facts::default(), &[("c", member_since(time))]).await;
        world.chat.script("get_role_in_group", Script::always(Fault::None));
        assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}), "{millis_ago}");
        assert_eq!(world.members("g").await, ["b", "c"]);
        // A destruction of the same time is not undone either.
        world.set("g", Facts::destroyed(at(time)), &[]).await;
        assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
        assert!(world.table.group("g").await.is_none());
    }
}

/// Changes Chat and the table while a pass is under way, before each of Chat's answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_that_arrives_while_chat_answers_wins() {
    for victim in ["get_group_info", "get_group_member_info", "get_role_in_group"] {
        let world = World::start().await;
        world.group("g", group(&["a", "b", "leaver"]));
        world.announce("g").await;
        world.change("g", |g| {
            g.name = "lost".to_owned();
            g.members.remove("leaver");
            g.members.insert("b".to_owned(), Member::joined(1));
        });
        // The answer is of now, and late; meanwhile there are callbacks.
        world.chat.script(victim, Script::first([Fault::Late(Duration::from_millis(600))]));
        let callback = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let time = now();
            world.set("g", says(fact::NAME, "newest", time), &[("a", Facts::departed(at(time), None))]).await;
            world.set("g", Facts::default(), &[("leaver", member_since(time))]).await;
        };
        let (_, outcome) = tokio::join!(callback, world.call(json!({ "members": "all" })));
        outcome.report();
        let group = world.table.group("g").await.unwrap();
        assert_eq!(text_of(&group.group, "name"), Some("newest"), "{victim}");
        assert_eq!(world.members("g").await, ["b", "leaver"], "{victim}");
    }
}

#[tokio::test]
async fn with_any_fault_nothing_that_is_there_is_removed() {
    let commands = ["get_appid_group_list", "get_group_info", "get_group_member_info", "get_role_in_group"];
    let faults = [
        Fault::Code(10002),
        Fault::Code(10004),
        Fault::Code(60011),
        Fault::Code(10018),
        Fault::Code(70001),
        Fault::Empty,
        Fault::Truncate,
        Fault::Hang,
        Fault::Answer(500, String::new()),
        Fault::Answer(200, "{".to_owned()),
        Fault::Answer(200, r#"{"ActionStatus":"OK","ErrorCode":0}"#.to_owned()),
    ];
    let world = World::start().await;
    for number in 0..10 {
        world.group(&format!("g{number}"), group(&["a", "b", "c"]));
    }
    world.call(json!({})).await;
    let before = world.items().await;
    let is_said = hide(&world);
    for command in commands {
        for fault in &faults {
            is_said.store(false, Ordering::Relaxed);
            world.chat.groups(|model| drop(model.groups.remove("g2")));
            world.chat.script(command, Script::always(fault.clone()));
            // Long enough to give up on what is repeated would be too long for a test.
            let outcome =
                tokio::time::timeout(Duration::from_millis(600), world.call(json!({ "members": "all" })))
                    .await;
            if let Ok(outcome) = outcome {
                assert!(outcome.reconciled.error.is_none() || !outcome.reconciled.report.finished);
                assert_eq!(outcome.reconciled.report.groups_destroyed, 0);
            }
            assert_eq!(world.items().await, before, "{command} {fault:?}");
            forget_the_place(&world).await;
        }
        world.chat.script(command, Script::default());
    }
    is_said.store(false, Ordering::Relaxed);
    world.chat.groups(|model| drop(model.groups.remove("g2")));
    let before_calls = ["get_role_in_group", "get_group_info"].map(|command| world.chat.calls(command));
    assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
    let calls = ["get_role_in_group", "get_group_info"].map(|command| world.chat.calls(command));
    assert_eq!(
        [calls[0] - before_calls[0], calls[1] - before_calls[1]],
        [1, 2],
        "both were asked a second time"
    );
    assert_eq!(world.items().await, before);
    for code in [10002, 10015, 10007, 60011, 70001] {
        world.chat.groups(|model| model.errors.insert("g1".to_owned(), code));
        let outcome = world.call(json!({ "members": "all" })).await;
        assert_eq!(outcome.drift(), json!({ "skipped": 1 }), "{code}");
        assert_eq!(
            (&outcome.lines[0]["outcome"], &outcome.lines[0]["group_id"]),
            (&json!("skipped"), &json!("g1"))
        );
        assert_eq!(world.items().await, before);
    }
}

/// Lets Chat lie at first: a list lacks a member, and a group that is not in the model is back once that was said.
fn hide(world: &World) -> Arc<AtomicBool> {
    let group = world.chat.groups(|model| model.groups["g2"].clone());
    let is_said = Arc::new(AtomicBool::new(false));
    let said = is_said.clone();
    world.chat.before_each(move |command, model| {
        let members = &mut model.groups.get_mut("g1").unwrap().members;
        match command {
            "get_group_member_info" => drop(members.remove("c")),
            _ => drop(members.insert("c".to_owned(), Member::joined(ago(3600)))),
        }
        if command == "get_group_info" && said.swap(true, Ordering::Relaxed) {
            model.groups.insert("g2".to_owned(), group.clone());
        }
    });
    is_said
}

/// What the pass of a process that was killed holds expires.
async fn forget_the_lease(world: &World) {
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    for kind in ["PLACE", "DRY_RUN"] {
        let update = world.table.client().update_item().table_name("groups");
        let update = update.key("pk", text(&format!("{SDK_APP_ID}!reconcile"))).key("sk", text(kind));
        update.update_expression("REMOVE lease_until, lease_holder").send().await.unwrap();
    }
}

/// The next pass begins anew.
async fn forget_the_place(world: &World) {
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let delete = world.table.client().delete_item().table_name("groups");
    let delete = delete.key("pk", text(&format!("{SDK_APP_ID}!reconcile"))).key("sk", text("PLACE"));
    delete.send().await.unwrap();
}

#[tokio::test]
async fn a_member_that_shifting_pages_hide_is_not_removed() {
    let world = World::start().await;
    let accounts: Vec<String> = (0..401).map(|number| format!("account-{number:05}")).collect();
    world.group("g", group(&accounts.iter().map(String::as_str).collect::<Vec<_>>()));
    world.call(json!({})).await;
    let mut page = 0;
    world.chat.before_each(move |command, model| {
        page += usize::from(command == "get_group_member_info");
        if let Some(group) = model.groups.get_mut("g").filter(|_| page == 2) {
            group.members.remove("account-00003");
        }
    });
    world.call(json!({ "members": "all" })).await;
    // The one who left while they were listed stays until the next pass.
    assert_eq!(world.members("g").await.len(), 401);
    assert_eq!(world.chat.calls("get_role_in_group"), 1);
    let outcome = world.call(json!({ "members": "all" })).await;
    assert_eq!(outcome.drift(), json!({ "members_removed": 1 }));
}

#[tokio::test]
async fn a_group_is_created_with_all_of_its_members_or_not_at_all() {
    let world = World::start().await;
    world.group("g", group(&["a", "b", "c"]));
    world.group("community", Group { group_type: "Community".to_owned(), ..group(&["a", "b", "c"]) });
    world.group("vanishes", group(&["a"]));
    for fault in
        [Fault::Empty, Fault::Code(10002), Fault::Code(10004), Fault::Code(10010), Fault::Code(10007)]
    {
        world.chat.script("get_group_member_info", Script::always(fault.clone()));
        let request = json!({});
        if fault == Fault::Code(10002) {
            tokio::time::timeout(Duration::from_secs(1), world.call(request)).await.unwrap_err();
            forget_the_lease(&world).await;
        } else {
            assert_eq!(world.call(request).await.drift(), json!({ "skipped": 3 }), "{fault:?}");
        }
        assert!(world.items().await.is_empty(), "{fault:?}");
    }
    world.chat.script("get_group_member_info", Script::default());
    world.chat.before_each(|command, model| {
        if command == "get_group_member_info" {
            model.groups.remove("vanishes");
        }
    });
    assert_eq!(
        world.call(json!({})).await.drift(),
        json!({ "groups_added": 2, "members_added": 6, "skipped": 1 })
    );
}

#[tokio::test]
async fn a_dry_run_finds_the_same_and_writes_nothing_but_its_place() {
    let world = World::start().await;
    for id in ["gone", "changed", "left over"] {
        world.group(id, group(&["a", "b"]));
        world.announce(id).await;
    }
    world.chat.groups(|model| model.groups.remove("gone"));
    world.change("changed", |g| g.name = "new".to_owned());
    world.change("changed", |g| drop(g.members.remove("b")));
    world.group("new", group(&["a", "b"]));
    world.group("left over", Group::public("g", ago(60), &["a"]));
    let before = world.table.items().await;
    let dry = world.call(json!({ "dry_run": true })).await;
    let mut after = world.table.items().await;
    let place = after.remove(&(format!("{SDK_APP_ID}!reconcile"), "DRY_RUN".to_owned())).unwrap();
    assert_eq!(after, before);
    assert!(place["lease_until"] == 0 && dry.report().finished && dry.report().dry_run);
    assert!(dry.lines.iter().all(|line| line["dry_run"] == true));
    let named =
        world.call(json!({ "dry_run": true, "group_ids": ["gone", "changed", "new", "left over"] })).await;
    assert_eq!(named.drift(), dry.drift());
    let real = world.call(json!({})).await;
    assert_eq!((real.drift(), real.lines.len()), (dry.drift(), dry.lines.len()));
    assert_eq!(real.report().groups_destroyed, 1);
}

#[tokio::test]
async fn one_pass_at_a_time() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.chat.script("get_appid_group_list", Script::first([Fault::Slow(Duration::from_millis(800))]));
    let second = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let busy = world.call(json!({})).await;
        // A dry run has a place of its own, and named groups are no pass.
        (busy, world.call(json!({ "group_ids": ["g"] })).await)
    };
    let (first, (busy, named)) = tokio::join!(world.call(json!({})), second);
    assert!(matches!(busy.error(), ReconcileError::Busy), "{busy:?}");
    assert_eq!(named.drift(), json!({ "groups_added": 1, "members_added": 1 }));
    assert!(first.report().finished);
    assert!(world.call(json!({})).await.report().finished);
}

#[tokio::test]
async fn a_lease_that_was_taken_over_ends_the_pass() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.chat.script("get_appid_group_list", Script::first([Fault::Slow(Duration::from_millis(900))]));
    let takeover = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        forget_the_lease(&world).await;
    };
    let (first, ()) = tokio::join!(world.call(json!({})), takeover);
    assert!(matches!(first.error(), ReconcileError::TakenOver), "{first:?}");
    assert!(world.items().await.is_empty());
}

#[tokio::test]
async fn a_pass_that_ran_out_of_time_goes_on_where_it_stopped() {
    let world = World::start().await;
    for number in 0..250 {
        let room = Group { group_type: "AVChatRoom".to_owned(), ..group(&[]) };
        world.group(&format!("g{number:03}"), room);
    }
    let slices = async |event: Value| {
        let (mut counts, mut time) = (Vec::new(), Duration::from_millis(20));
        loop {
            let outcome = world.call_for(event.clone(), time).await;
            counts.push((outcome.report().groups_listed, outcome.report().groups_checked));
            if outcome.report().finished {
                return counts;
            }
            time = time * 3 / 2;
        }
    };
    for event in [json!({}), json!({ "dry_run": true })] {
        let counts = slices(event).await;
        assert!(counts.len() > 1, "{counts:?}");
        let sum = |of: fn(&(u64, u64)) -> u64| counts.iter().map(of).sum::<u64>();
        assert_eq!(sum(|counts| counts.0), 250, "{counts:?}");
        // A hundred that were cut off begin again.
        assert!((250..1000).contains(&sum(|counts| counts.1)), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_is_killed_at_any_point_goes_on() {
    for round in 0..3_u64 {
        let world = World::start().await;
        for number in 0..40 {
            world.group(&format!("g{number}"), group(&["a", "b"]));
            if number % 2 == 0 {
                world.announce(&format!("g{number}")).await;
            }
            world
                .change(&format!("g{number}"), |g| drop(g.members.insert("c".to_owned(), Member::joined(1))));
        }
        world.group("gone", group(&["a"]));
        world.announce("gone").await;
        world.chat.groups(|model| model.groups.remove("gone"));
        let mut kills = 0;
        let (mut wait, mut finished) = (5 + round, false);
        while !finished {
            let limit = Duration::from_millis(wait);
            let outcome = tokio::time::timeout(limit, world.call(json!({ "members": "all" }))).await;
            finished = outcome.as_ref().is_ok_and(|outcome| outcome.report().finished);
            kills += usize::from(outcome.is_err());
            wait = wait * 3 / 2;
            forget_the_lease(&world).await;
        }
        assert!(kills > 0);
        let mut ids: Vec<String> = expected(&world.chat).into_keys().collect();
        ids.push("gone".to_owned());
        assert_eq!(world.shown(&ids).await, expected(&world.chat), "{round}");
        assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
    }
}

#[tokio::test]
async fn what_an_earlier_life_left_behind_is_swept() {
    let world = World::start().await;
    world.group("again", group(&["new"]));
    world.announce("again").await;
    let before = (ago(3600) - 500) * 1000;
    world.set("again", Facts::default(), &[("old", Facts::departed(at(before), None))]).await;
    world.set("destroyed", there(before), &[("old", member_since(before))]).await;
    world.set("destroyed", Facts::destroyed(at(before + 1)), &[]).await;
    let outcome = world.call(json!({ "dry_run": true, "members": "all" })).await;
    assert_eq!((outcome.drift(), world.items().await.len()), (json!({}), 5));
    assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
    let left: Vec<(String, String)> = world.items().await.into_keys().collect();
    let sks: Vec<&str> = left.iter().map(|(_, sk)| sk.as_str()).collect();
    assert_eq!(sks, ["GROUP", "MEMBER#new", "GROUP"]);
}

#[tokio::test]
async fn wrong_settings_fail_the_pass_and_say_what_to_check() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    for command in ["get_appid_group_list", "get_group_info", "get_group_member_info"] {
        world.chat.script(command, Script::always(Fault::Code(70014)));
        let outcome = world.call(json!({})).await;
        let line = outcome.lines.last().unwrap();
        assert_eq!(line["outcome"], "failed");
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(command) && error.contains("check SDK_APP_ID"), "{error}");
        world.chat.script(command, Script::default());
    }
    assert!(world.call(json!({})).await.report().finished);
}

#[tokio::test]
async fn a_question_that_is_refused_for_good_is_asked_in_halves() {
    let world = World::start().await;
    for number in 0..10 {
        world.group(&format!("g{number}"), group(&["a"]));
    }
    // All ten, then five, then the first two of them.
    world.chat.script("get_group_info", Script::first(vec![Fault::Code(10004); 3]));
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_added": 10, "members_added": 10 }));
    world.chat.script("get_group_info", Script::always(Fault::Code(10004)));
    assert_eq!(world.call(json!({})).await.drift(), json!({ "skipped": 10 }));
}

#[tokio::test]
async fn another_applications_groups_are_left_alone() {
    let world = World::start().await;
    let other = Event {
        key: chat_groups::event::GroupKey { sdk_app_id: SDK_APP_ID + 1, group_id: "theirs".to_owned() },
        group: there(ago(3600) * 1000),
        members: BTreeMap::new(),
    };
    world.table.store().apply(&other, Instant::now() + Duration::from_secs(10)).await.unwrap();
    let before = world.items().await;
    let outcome = world.call(json!({ "members": "all" })).await;
    assert_eq!((outcome.drift(), outcome.report().groups_checked), (json!({}), 0));
    assert_eq!(world.items().await, before);
}

#[tokio::test]
async fn each_fifty_groups_take_one_question() {
    let world = World::start().await;
    for number in 0..200 {
        world.group(&format!("g{number:03}"), Group { group_type: "AVChatRoom".to_owned(), ..group(&[]) });
    }
    let reconcile = world.reconcile();
    let calls = async || {
        let before = [Command::GroupList, Command::GroupInfo].map(|command| reconcile.chat.calls(command));
        call(&reconcile, &json!({}), stops_after(Duration::from_secs(60))).await.report();
        let after = [Command::GroupList, Command::GroupInfo].map(|command| reconcile.chat.calls(command));
        [after[0] - before[0], after[1] - before[1]]
    };
    assert_eq!(calls().await, [1, 4], "all are new");
    assert_eq!(calls().await, [1, 4], "none differs");
}

mod processes {
    //! The binary, behind the Runtime API.

    use std::path::Path;

    use super::*;
    use crate::function::Function;
    use crate::secrets::Secrets;

    const RECONCILE: &str = env!("CARGO_BIN_EXE_reconcile");
    const SECRET_ID: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:chat-key-AbCdEf";

    async fn start(world: &World, secrets: &Secrets, more: &[(&str, &str)]) -> Function {
        let mut env = vec![
            ("TABLE_NAME", "groups"),
            ("SDK_APP_ID", crate::samples::SDK_APP_ID),
            ("CHAT_API_URL", world.chat.url.as_str()),
            ("CHAT_ADMIN_ACCOUNT", ADMIN),
            ("CHAT_SECRET_KEY_ID", SECRET_ID),
            ("CHAT_REQUESTS_PER_SECOND", "1000"),
            ("AWS_REGION", "local"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", &world.table.url),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &secrets.url),
        ];
        env.extend(more.iter().copied());
        Function::start(Path::new(RECONCILE), &env).await.unwrap()
    }

    async fn lines(function: &Function) -> Vec<Value> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let lines = function.lines();
        lines.iter().for_each(|line| assert_keeps_secrets(line));
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn the_key_is_read_from_secrets_manager_and_the_answer_has_the_fields_of_the_contract() {
        let world = World::start().await;
        world.group("g", group(&["a", "b"]));
        let secrets = Secrets::start(SECRET_ID, &format!("{KEY}\n")).await.unwrap();
        let function = start(&world, &secrets, &[]).await;
        let answer = function.invoke(json!({ "dry_run": true })).await.unwrap();
        let expected = json!({
            "dry_run": true, "finished": true, "groups_listed": 1, "groups_checked": 1, "groups_added": 1,
            "groups_changed": 0, "groups_destroyed": 0, "members_added": 2, "members_removed": 0,
            "members_changed": 0, "skipped": 0,
        });
        assert_eq!(answer, expected);
        let scheduled =
            json!({ "detail-type": "Scheduled Event", "source": "aws.scheduler", "detail": "{}" });
        assert_eq!(function.invoke(scheduled).await.unwrap()["members_added"], 2);
        let error = function.invoke(json!({ "group_ids": "g" })).await.unwrap_err();
        assert!(error.contains("group_ids: expected an array of GroupIds"), "{error}");
        world.chat.script("get_appid_group_list", Script::always(Fault::Code(60010)));
        let error = function.invoke(json!({})).await.unwrap_err();
        assert!(error.contains("CHAT_ADMIN_ACCOUNT"), "{error}");
        let mut lines = lines(&function).await;
        // The runtime has lines of its own about the calls that failed.
        lines.retain(|line| line.get("outcome").is_some());
        let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
        assert_eq!(outcomes, ["corrected", "reconciled", "corrected", "reconciled", "failed", "failed"]);
        assert_eq!(lines[4]["error"], "group_ids: expected an array of GroupIds");
        for line in &lines {
            assert!(line["timestamp"].is_string() && line["level"].is_string());
        }
        assert_eq!(lines[3]["groups_added"], 1);
    }

    #[tokio::test]
    async fn at_its_default_rates_no_call_is_too_frequent() {
        let world = World::start().await;
        for number in 0..30 {
            world.group(&format!("g{number}"), group(&["a"]));
        }
        world.chat.behave(|behavior| {
            behavior.list_interval = Duration::from_secs(1);
            // Twenty a second on average; some may be late.
            behavior.calls_per_second = 30;
        });
        let secrets = Secrets::start(SECRET_ID, KEY).await.unwrap();
        let function = start(&world, &secrets, &[("CHAT_REQUESTS_PER_SECOND", "")]).await;
        let start = Instant::now();
        assert_eq!(function.invoke(json!({})).await.unwrap()["groups_added"], 30);
        let again = function.invoke(json!({ "members": "all" })).await.unwrap();
        assert_eq!((&again["finished"], &again["skipped"]), (&json!(true), &json!(0)));
        assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
        let commands = ["get_appid_group_list", "get_group_info", "get_group_member_info"];
        assert_eq!(commands.map(|command| world.chat.calls(command)), [2, 2, 60], "none was refused");
    }

    #[tokio::test]
    async fn a_secret_that_is_not_there_stops_the_start() {
        let world = World::start().await;
        let secrets = Secrets::start("another", KEY).await.unwrap();
        let mut function = start(&world, &secrets, &[]).await;
        assert!(!function.ended().await.unwrap());
        assert!(lines(&function).await[0].to_string().contains("CHAT_SECRET_KEY_ID"));
        let mut function = start(&world, &secrets, &[("CHAT_SECRET_KEY_ID", "")]).await;
        assert!(!function.ended().await.unwrap());
        let line = lines(&function).await[0].to_string();
        assert!(line.contains("environment variable CHAT_SECRET_KEY: expected"), "{line}");
    }

    #[tokio::test]
    async fn a_process_that_is_killed_holds_the_lease_and_keeps_its_place() {
        let world = World::start().await;
        for number in 0..30 {
            world.group(&format!("g{number:02}"), group(&["a"]));
        }
        let secrets = Secrets::start(SECRET_ID, KEY).await.unwrap();
        let mut first = start(&world, &secrets, &[]).await;
        world.chat.script(
            "get_group_member_info",
            Script { first: vec![Fault::None; 10].into(), then: Fault::Hang },
        );
        let killed = {
            let invocation = first.invoke(json!({}));
            tokio::select! {
                answer = invocation => panic!("answered {answer:?}"),
                () = async {
                    while world.chat.calls("get_group_member_info") < 20 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                } => {}
            }
            first.kill().await
        };
        killed.unwrap();
        world.chat.script("get_group_member_info", Script::default());
        let second = start(&world, &secrets, &[]).await;
        let error = second.invoke(json!({})).await.unwrap_err();
        assert!(error.contains("another pass"), "{error}");
        forget_the_lease(&world).await;
        assert_eq!(second.invoke(json!({})).await.unwrap()["finished"], true);
        let ids: Vec<String> = expected(&world.chat).into_keys().collect();
        assert_eq!(world.shown(&ids).await, expected(&world.chat));
    }
}

mod histories {
    //! After any history of callbacks, some of them lost, one pass makes the table equal to Chat.

    use fastrand::Rng;

    use super::*;

    const ACCOUNTS: [&str; 5] = ["ana", "ben", "cleo", "dan", "eve"];

    /// A step of a group's history: changes the model, and returns the callback.
    fn step(
        rng: &mut Rng,
        model: &mut BTreeMap<String, Group>,
        id: &str,
        seconds: u64,
    ) -> (Facts, Vec<(String, Facts)>) {
        let millis = seconds * 1000 + rng.u64(..1000);
        let account = (*rng.choice(ACCOUNTS.iter()).unwrap()).to_owned();
        let Some(group) = model.get_mut(id) else {
            let count = rng.usize(1..4);
            let mut group = Group::public(&format!("made at {seconds}"), seconds, &ACCOUNTS[..count]);
            group.group_type =
                (*rng.choice(["Public", "Community", "AVChatRoom"].iter()).unwrap()).to_owned();
            let callback = created(&group, millis);
            model.insert(id.to_owned(), group);
            return callback;
        };
        let is_room = group.group_type == "AVChatRoom";
        let of_member = |facts: Facts| match is_room {
            true => Vec::new(),
            false => vec![(account.clone(), facts)],
        };
        match rng.u32(..8) {
            0 | 1 => {
                group.members.insert(account.clone(), Member::joined(seconds));
                (Facts::default(), of_member(member_since(millis)))
            }
            2 | 3 if group.owner.as_deref() != Some(&account) => {
                group.members.remove(&account);
                (Facts::default(), of_member(Facts::departed(at(millis), None)))
            }
            4 => {
                let value = (*rng.choice(["", "x", "y"].iter()).unwrap()).to_owned();
                group.introduction.clone_from(&value);
                (says(fact::INTRODUCTION, &value, millis), Vec::new())
            }
            5 if group.members.contains_key(&account) => {
                let role = (*rng.choice(["Admin", "Member"].iter()).unwrap()).to_owned();
                let member = group.members.get_mut(&account).unwrap();
                member.role.clone_from(&role);
                member.name_card.clone_from(&role);
                let mut facts = says(fact::ROLE, &role, millis);
                facts.set(fact::NAME_CARD, Some(role), at(millis));
                // The role of the owner is told by the group.
                (
                    Facts::default(),
                    if group.owner.as_deref() == Some(&account) { Vec::new() } else { of_member(facts) },
                )
            }
            6 if group.members.contains_key(&account) => {
                let old = group.owner.replace(account.clone());
                let mut members = Vec::new();
                for account in old.into_iter().chain([account.clone()]) {
                    group.members.get_mut(&account).unwrap().role = "Member".to_owned();
                    if !is_room {
                        members.push((account, says(fact::ROLE, "Member", millis)));
                    }
                }
                (says(fact::OWNER_ACCOUNT, &account, millis), members)
            }
            7 => {
                model.remove(id);
                (Facts::destroyed(at(millis)), Vec::new())
            }
            _ => (Facts::default(), Vec::new()),
        }
    }

    async fn holds(seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let world = World::start().await;
        let ids: Vec<String> = (0..8).map(|number| format!("g{number}")).collect();
        let (mut model, mut callbacks) = (BTreeMap::new(), Vec::new());
        let mut seconds = ago(100_000);
        for _ in 0..200 {
            // From the same second to some minutes later.
            seconds += rng.u64(..400);
            let id = rng.choice(ids.iter()).unwrap();
            let (group, members) = step(&mut rng, &mut model, id, seconds);
            callbacks.push((id.clone(), group, members));
        }
        let loss = rng.f64();
        callbacks.retain(|_| rng.f64() > loss * 0.8);
        rng.shuffle(&mut callbacks);
        for (id, group, members) in &callbacks {
            let members: Vec<_> =
                members.iter().map(|(account, facts)| (account.as_str(), facts.clone())).collect();
            world.set(id, group.clone(), &members).await;
        }
        world.chat.groups(|chat| chat.groups = model);
        let outcome = world.call(json!({ "members": "all" })).await;
        assert!(outcome.report().finished && outcome.report().skipped == 0, "seed {seed}: {outcome:?}");
        let mut expected = expected(&world.chat);
        for group in expected.values_mut() {
            // What Chat calls the owner's role is `Owner`.
            if let Some(owner) = group.owner.clone().and_then(|owner| group.members.get_mut(&owner)) {
                owner.role = "Member".to_owned();
            }
        }
        assert_eq!(world.shown(&ids).await, expected, "seed {seed}");
        let again = world.call(json!({ "members": "all" })).await;
        assert_eq!(again.drift(), json!({}), "seed {seed}");
        assert_eq!(world.shown(&ids).await, expected, "seed {seed}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn after_any_history_one_pass_makes_the_table_equal_to_chat() {
        for seed in 0..8 {
            holds(seed).await;
        }
        holds(fastrand::u64(..)).await;
    }
}
