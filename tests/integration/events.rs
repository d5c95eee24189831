//! Every file in `events/` through the whole handler.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_groups::callback::RosterCommand;
use chat_groups::gateway::{GatewayResponse, Request};
use chat_groups::webhook::Webhook;
use serde_json::{Value, json};

use crate::harness::{Table, send_at};
use crate::samples::{self, Signer};

/// What each file has to lead to, on an empty table: status, ErrorCode, outcome and the number of items.
const EXPECTED: &str = include_str!("../expected.json");

fn files() -> BTreeMap<String, String> {
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem()?.to_str()?.to_owned();
        let is_event = path.extension()? == "json";
        is_event.then(|| (name, fs::read_to_string(path).unwrap()))
    };
    fs::read_dir("events").unwrap().filter_map(|entry| read(entry.unwrap().path())).collect()
}

/// The vendor's sample is a week younger than the vendor's Sign.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

const NOW: u64 = 1_700_000_000;

fn webhook(table: &Table) -> Webhook {
    table.webhook_with(&[("MAX_REQUEST_AGE_SECONDS", "100000000")])
}

fn request(event: &str) -> Request {
    Request::read(serde_json::from_str(event).unwrap()).unwrap()
}

#[tokio::test]
async fn every_event_file_is_answered_and_stored_as_promised() {
    let files = files();
    let expected: BTreeMap<String, Value> = serde_json::from_str(EXPECTED).unwrap();
    assert!(files.keys().eq(expected.keys()), "a file of events/ is not expected, or missing");
    for (name, expected) in expected {
        let table = Table::start().await;
        let answered = send_at(&webhook(&table), &request(&files[&name]), now()).await;
        let (status, error_code) = answered.codes();
        let outcome = answered.outcome();
        let items = table.items().await.len();
        let found = json!({ "status": status, "error_code": error_code, "outcome": outcome, "items": items });
        assert_eq!(found, expected, "{name}: {answered:?}");
    }
}

#[test]
fn every_command_that_is_kept_has_a_file() {
    let commands: Vec<String> = files()
        .values()
        .filter_map(|text| {
            serde_json::from_str::<Value>(text).unwrap()["rawQueryString"].as_str().map(str::to_owned)
        })
        .collect();
    for kept in RosterCommand::ALL {
        let named = format!("CallbackCommand={}&", kept.name());
        assert!(commands.iter().any(|query| query.contains(&named)), "{named}");
    }
}

#[test]
fn the_event_files_are_those_that_make_events_makes() {
    let made: BTreeMap<String, Value> = samples::events(&Signer::default())
        .into_iter()
        .map(|(name, event)| (name.to_owned(), event))
        .collect();
    let read = |(name, text): (String, String)| (name, serde_json::from_str::<Value>(&text).unwrap());
    assert_eq!(files().into_iter().map(read).collect::<BTreeMap<_, _>>(), made);
}

#[tokio::test]
async fn the_vendors_sample_becomes_exactly_these_items() {
    for name in ["alb", "base64", "function-url", "http-api", "rest-api"] {
        let table = Table::start().await;
        let request = request(&files()[name]);
        send_at(&webhook(&table), &request, now()).await;
        let member = |account: &str| {
            json!({
                "pk": "1400000001#@TGS#2J4SZEAEL", "sk": format!("MEMBER#{account}"), "account": account,
                "account_key": format!("1400000001#{account}"), "group_id": "@TGS#2J4SZEAEL", "role": "Member",
                "event_time": 1_670_574_414_123_u64, "join_type": "Created", "joined_by": "group_root",
            })
        };
        let group = json!({
            "pk": "1400000001#@TGS#2J4SZEAEL", "sk": "GROUP", "account_key": "1400000001#leckie",
            "group_id": "@TGS#2J4SZEAEL", "sdk_app_id": 1_400_000_001, "type": "Public", "name": "MyFirstGroup",
            "owner_account": "leckie", "operator_account": "group_root", "event_time": 1_670_574_414_123_u64,
            "initial_member_count": 2, "user_defined": { "UserDefined1": "hello", "UserDefined2": "world" },
            "opt_platform": "RESTAPI",
            "request_id": "3847361294-144115212345678901-0", "received_at": NOW * 1000,
        });
        let mut items: Vec<Value> = table.items().await.into_values().collect();
        for item in &mut items {
            assert!(item.as_object_mut().unwrap().remove("revision").unwrap().is_u64());
        }
        assert_eq!(items, [group, member("bob"), member("peter")], "{name}");
    }
}

#[tokio::test]
async fn each_gateway_gets_the_answer_in_its_own_form() {
    let webhook = webhook(&Table::start().await);
    let answer = async |name: &str| {
        let request = request(&files()[name]);
        let (response, _) = webhook.accept(&request, now()).await;
        serde_json::to_value(GatewayResponse::new(request.gateway, response)).unwrap()
    };
    let body = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;
    let headers = json!({ "content-type": "application/json" });
    let api = json!({
        "statusCode": 200, "headers": headers, "multiValueHeaders": {}, "body": body, "isBase64Encoded": false,
    });
    let alb = json!({
        "statusCode": 200, "statusDescription": "200 OK", "headers": headers,
        "multiValueHeaders": { "content-type": ["application/json"] }, "body": body, "isBase64Encoded": false,
    });
    for name in ["http-api", "function-url", "rest-api"] {
        assert_eq!(answer(name).await, api, "{name}");
    }
    assert_eq!(answer("alb").await, alb);
}
