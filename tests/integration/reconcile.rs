//! The function `reconcile` between the stand-in for Chat's API and a table.

mod added;
mod busy;
mod corrected;
mod faults;
mod gone;
mod histories;
mod list;
mod lives;
mod members;
mod newest;
mod passes;
mod processes;
mod skipped;
mod time;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_groups::chat::{ChatApi, ChatSettings, Command, Limits, SecretKey};
use chat_groups::event::{Event, Facts, fact};
use chat_groups::http::{HttpClient, Trust};
use chat_groups::reconcile::{Note, Reconcile, ReconcileError, ReconcileRequest, Report};
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
    result: Result<Report, ReconcileError>,
    lines: Vec<Value>,
}

impl Outcome {
    fn report(&self) -> &Report {
        self.result.as_ref().unwrap()
    }

    fn error(&self) -> &ReconcileError {
        self.result.as_ref().unwrap_err()
    }

    /// The line of the call itself.
    fn last_line(&self) -> &Value {
        self.lines.last().unwrap()
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
        reconcile.confirm_after = Duration::from_millis(50);
        // Every call is due.
        reconcile.every = Duration::ZERO;
        reconcile
    }

    /// Calls the function, with time enough.
    async fn call(&self, event: Value) -> Outcome {
        self.call_for(event, Duration::from_secs(60)).await
    }

    async fn call_for(&self, event: Value, time: Duration) -> Outcome {
        call(&self.reconcile(), &event, Instant::now() + time).await
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

/// Long enough for every call.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn call(reconcile: &Reconcile, event: &Value, end: Instant) -> Outcome {
    let lines = Mutex::new(Vec::new());
    let observe = |note: &Note<'_>| {
        if let Some(line) = note.to_line(SystemTime::now()) {
            assert_keeps_secrets(&line);
            lines.lock().unwrap().push(serde_json::from_str(&line).unwrap());
        }
    };
    let request = ReconcileRequest::parse(event).unwrap();
    let result = reconcile.run(&request, end, &observe).await;
    Outcome { result, lines: lines.into_inner().unwrap() }
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
