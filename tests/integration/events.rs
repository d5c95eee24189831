//! Every file in `events/` through the whole handler.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_groups::{GatewayResponse, Webhook};
use serde_json::{Value, json};

use crate::harness::{Table, send_at};
use crate::samples::{self, Signer};

/// Status, ErrorCode, outcome and the number of items that each file has to lead to.
const EXPECTED: [(&str, u16, u64, &str, usize); 15] = [
    ("alb", 200, 0, "stored", 3),
    ("base64", 200, 0, "stored", 3),
    ("function-url", 200, 0, "stored", 3),
    ("http-api", 200, 0, "stored", 3),
    ("members-500", 200, 0, "stored", 501),
    ("no-members", 200, 0, "stored", 1),
    ("no-owner", 200, 0, "stored", 2),
    ("real-body", 200, 0, "stored", 2),
    ("rest-api", 200, 0, "stored", 3),
    ("stale-request-time", 403, 120_004, "rejected", 0),
    ("unhandled-command", 200, 0, "ignored", 0),
    ("unknown-fields", 200, 0, "stored", 3),
    ("unreadable-body", 400, 120_001, "rejected", 0),
    ("wrong-sdk-app-id", 403, 120_003, "rejected", 0),
    ("wrong-sign", 403, 120_004, "rejected", 0),
];

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

fn request(event: &str) -> lambda_http::Request {
    chat_groups::request(serde_json::from_str(event).unwrap()).unwrap()
}

#[tokio::test]
async fn every_event_file_is_answered_and_stored_as_promised() {
    let files = files();
    let expected: Vec<&str> = EXPECTED.iter().map(|expected| expected.0).collect();
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    for (name, status, error_code, outcome, items) in EXPECTED {
        let table = Table::start().await;
        let request = request(&files[name]);
        let answered = send_at(&webhook(&table), &request, now()).await;
        assert_eq!(answered.codes(), (status, error_code), "{name}: {answered:?}");
        assert_eq!(answered.record.outcome, outcome, "{name}");
        assert_eq!(table.items().await.len(), items, "{name}");
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
                "event_time": 1_670_574_414_123_u64,
            })
        };
        let group = json!({
            "pk": "1400000001#@TGS#2J4SZEAEL", "sk": "GROUP", "account_key": "1400000001#leckie",
            "group_id": "@TGS#2J4SZEAEL", "sdk_app_id": 1_400_000_001, "type": "Public", "name": "MyFirstGroup",
            "owner_account": "leckie", "operator_account": "group_root", "event_time": 1_670_574_414_123_u64,
            "initial_member_count": 2, "user_defined": { "UserDefined1": "hello", "UserDefined2": "world" },
            "client_ip": "203.0.113.7", "opt_platform": "RESTAPI",
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
        serde_json::to_value(GatewayResponse::new(&request, response)).unwrap()
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
