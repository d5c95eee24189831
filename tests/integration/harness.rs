//! A table of its own for each test, and callbacks to send to it.

use std::collections::{BTreeMap, HashMap};
use std::env::VarError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::AttributeValue;
use chat_groups::aws::{Aws, Timeouts};
use chat_groups::callback::{Application, Callback, Query, RosterCommand, Sender};
use chat_groups::config::{RedriveSettings, WebhookSettings};
use chat_groups::event::{Event, GroupKey};
use chat_groups::gateway::Request;
use chat_groups::log::{Outcome, Record};
use chat_groups::redrive::{Finished, Redrive};
use chat_groups::store::Store;
use chat_groups::store::{Group, Reader};
use chat_groups::time::from_millis;
use chat_groups::webhook::Webhook;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::database;

pub(crate) const TOKEN: &str = crate::samples::TOKEN;
pub(crate) const SDK_APP_ID: u64 = 1_400_000_001;
/// The time of every delivery, in seconds: that of the vendor's signature example.
pub(crate) const NOW: u64 = 1_669_872_112;
pub(crate) const SIGN: &str = "17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061";

/// Of a client that takes its time.
const TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(5), attempt: Some(Duration::from_secs(30)) };

/// A DynamoDB with the table, on a port of its own.
pub(crate) struct Table {
    pub url: String,
}

impl Table {
    pub(crate) async fn start() -> Self {
        let database = dynoxide::Database::memory().unwrap();
        database::create_table(&database, database::Stream::Off).unwrap();
        Self::serve(database).await
    }

    /// The same with a stream and a history, and the database itself.
    pub(crate) async fn start_with_stream() -> (Self, dynoxide::Database) {
        let database = dynoxide::Database::memory().unwrap();
        database::create_table(&database, database::Stream::On).unwrap();
        database::create_history(&database).unwrap();
        (Self::serve(database.clone()).await, database)
    }

    async fn serve(database: dynoxide::Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(dynoxide::server::serve_on(listener, database));
        Self { url }
    }

    /// A receiver that writes to this table.
    pub(crate) fn webhook(&self) -> Webhook {
        self.webhook_with(&[])
    }

    /// A receiver with more settings, or others.
    pub(crate) fn webhook_with(&self, settings: &[(&str, &str)]) -> Webhook {
        let env = self.env_with(settings);
        let read = |name: &str| env.get(name).cloned().ok_or(VarError::NotPresent);
        Webhook::from_settings(WebhookSettings::from_env(&read).unwrap())
    }

    /// The function that finishes what the receiver queued.
    pub(crate) fn redrive(&self) -> Redrive {
        self.redrive_with(&[])
    }

    /// The same with more settings, or others.
    pub(crate) fn redrive_with(&self, settings: &[(&str, &str)]) -> Redrive {
        let env = self.env_with(settings);
        let read = |name: &str| env.get(name).cloned().ok_or(VarError::NotPresent);
        Redrive::from_settings(RedriveSettings::from_env(&read).unwrap())
    }

    /// A store on this table that takes its time.
    pub(crate) fn store(&self) -> Store {
        Store::new(self.client(), database::TABLE_NAME.to_owned())
    }

    pub(crate) fn client(&self) -> aws_sdk_dynamodb::Client {
        let env = self.env();
        let settings = RedriveSettings::from_env(&|name| env.get(name).cloned().ok_or(VarError::NotPresent));
        Aws::new(settings.unwrap().aws).dynamodb(TIMEOUTS)
    }

    /// A program that reads this table.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.client(), database::TABLE_NAME.to_owned())
    }

    /// A group as readers see it.
    pub(crate) async fn group(&self, group_id: &str) -> Option<Group> {
        self.reader().group(&key(group_id)).await.unwrap()
    }

    /// Every item of the table as plain JSON, by pk and sk.
    pub(crate) async fn items(&self) -> BTreeMap<(String, String), Value> {
        let scan = self.client().scan().table_name(database::TABLE_NAME).consistent_read(true);
        let items: Vec<_> = scan.into_paginator().items().send().collect::<Result<_, _>>().await.unwrap();
        let plain = |item: &HashMap<_, _>| plain(&AttributeValue::M(item.clone()));
        let key = |item: &Value| (item["pk"].as_str().unwrap().into(), item["sk"].as_str().unwrap().into());
        items.iter().map(plain).map(|item| (key(&item), item)).collect()
    }

    pub(crate) fn env_with(&self, settings: &[(&str, &str)]) -> HashMap<String, String> {
        let mut env = self.env();
        env.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        env
    }

    fn env(&self) -> HashMap<String, String> {
        [
            ("TABLE_NAME", database::TABLE_NAME),
            ("SDK_APP_ID", crate::samples::SDK_APP_ID),
            ("CALLBACK_TOKENS", TOKEN),
            ("AWS_REGION", "local"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_ENDPOINT_URL_DYNAMODB", &self.url),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

/// A group of the application.
pub(crate) fn key(group_id: &str) -> GroupKey {
    GroupKey { sdk_app_id: SDK_APP_ID, group_id: group_id.to_owned() }
}

/// An attribute value as plain JSON: numbers become JSON numbers.
pub(crate) fn plain(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!(text),
        AttributeValue::N(digits) => serde_json::from_str(digits).unwrap(),
        AttributeValue::Bool(value) => json!(value),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::L(list) => list.iter().map(plain).collect(),
        AttributeValue::M(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => panic!("unexpected attribute {other:?}"),
    }
}

/// The query string of a genuine callback that tells of a creation.
pub(crate) fn genuine_query() -> String {
    query("Group.CallbackAfterCreateGroup")
}

/// The query string of a genuine callback.
pub(crate) fn query(command: &str) -> String {
    format!(
        "CallbackCommand={command}&ClientIP=203.0.113.7&OptPlatform=iOS&RequestID=r-1\
         &RequestTime={NOW}&SdkAppid={SDK_APP_ID}&Sign={SIGN}&contenttype=json"
    )
}

/// A POST as the gateway hands it over.
pub(crate) fn post(query: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::post(query, body)
}

/// A body that creates a group.
pub(crate) fn body(group_id: &str, event_time: u64, members: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|account| json!({ "Member_Account": account })).collect();
    json!({
        "CallbackCommand": "Group.CallbackAfterCreateGroup", "GroupId": group_id, "Type": "Public",
        "Name": format!("made at {event_time}"), "Operator_Account": "op", "Owner_Account": "owner",
        "MemberList": members, "EventTime": event_time,
    })
}

/// What the gateway got back, and what was logged.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The log line.
    pub line: Value,
    pub status: u16,
    pub answer: Value,
    pub record: Record,
    pub allow: Option<String>,
}

impl Answered {
    /// Status and ErrorCode.
    pub(crate) fn codes(&self) -> (u16, u64) {
        (self.status, self.answer["ErrorCode"].as_u64().unwrap())
    }

    pub(crate) fn outcome(&self) -> &'static str {
        name(self.record.outcome)
    }

    /// The queue messages of a lost event.
    pub(crate) fn lost(&self) -> Vec<String> {
        lost(&self.line, &self.record)
    }

    pub(crate) fn error_info(&self) -> &str {
        self.answer["ErrorInfo"].as_str().unwrap()
    }
}

/// Sends a request at [`NOW`] and checks what holds of every answer.
pub(crate) async fn send(webhook: &Webhook, request: &Request) -> Answered {
    send_at(webhook, request, UNIX_EPOCH + Duration::from_secs(NOW)).await
}

/// Sends a request and checks what holds of every answer.
pub(crate) async fn send_at(webhook: &Webhook, request: &Request, now: SystemTime) -> Answered {
    let (response, record) = webhook.accept(request, now).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let status = response.status().as_u16();
    let allow = response.headers().get("allow").map(|value| value.to_str().unwrap().to_owned());
    let answer: Value = serde_json::from_str(response.body()).unwrap();
    let fields: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["ActionStatus", "ErrorCode", "ErrorInfo"]);
    let ok = answer["ActionStatus"] == "OK";
    assert!(ok == (status == 200) && ok == (answer["ErrorCode"] == 0) && ok == (answer["ErrorInfo"] == ""));
    let line: Value = serde_json::from_str(&record.to_line()).unwrap();
    for field in [
        "outcome",
        "error_code",
        "callback_command",
        "group_id",
        "member_count",
        "opt_platform",
        "request_id",
        "duration_ms",
    ] {
        assert!(line.get(field).is_some(), "{field} is missing in {line}");
    }
    assert!(!record.to_line().contains(SIGN) && !record.to_line().contains('\n'));
    Answered { line, status, answer, record, allow }
}

/// An outcome's name, for as long as the tests run.
pub(crate) fn name(outcome: Outcome) -> &'static str {
    outcome.to_string().leak()
}

/// The queue messages of a lost event, joined of its lines; checks that each line is as the contract says.
pub(crate) fn lost(line: &Value, record: &Record) -> Vec<String> {
    let lines = record.lost_lines();
    assert!(lines.iter().all(|text| text.len() < 60_000));
    let lines: Vec<Value> = lines.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    for (index, part) in lines.iter().enumerate() {
        let expected = json!({
            "outcome": "lost_part", "lost_id": line["lost_id"], "part": index + 1, "parts": lines.len(),
            "data": part["data"],
        });
        assert!(*part == expected && line["lost_id"].is_string(), "{part}");
    }
    assert_eq!(!lines.is_empty(), line["outcome"] == "lost");
    crate::lost::messages(&lines).unwrap()
}

/// Finishes one message, as a batch of its own.
pub(crate) async fn finish_at(redrive: &Redrive, message: &str, now: SystemTime) -> Finished {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut ended = Vec::new();
    redrive.finish(&[message.to_owned()], now, deadline, |_, finished| ended.push(finished)).await;
    assert_eq!(ended.len(), 1);
    ended.remove(0)
}

/// What a body says that was received at a time in milliseconds.
pub(crate) fn event(command: RosterCommand, body: &Value, received_at: u64) -> Event {
    let (query, body) = (&Query::parse(""), body.to_string());
    let (received_at, sender) = (from_millis(received_at), Sender::Genuine);
    let callback = Callback { query, body: body.as_bytes(), received_at, sender };
    let application = Application { sdk_app_id: SDK_APP_ID, keep_client_ip: false };
    callback.event(command, &application).unwrap().unwrap()
}

/// Sends a genuine callback with this body.
pub(crate) async fn deliver(webhook: &Webhook, body: &Value) -> Answered {
    let command = body["CallbackCommand"].as_str().unwrap_or_default();
    send(webhook, &post(&query(command), body.to_string())).await
}
