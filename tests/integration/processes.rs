//! The two functions as Lambda runs them: processes behind the Runtime API.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::function::Function;
use crate::harness::{SDK_APP_ID, TOKEN, Table, body};
use crate::proxy::{Fault, Proxy, Script};
use crate::queue::Queue;
use crate::samples::{self, Signer};

const WEBHOOK: &str = env!("CARGO_BIN_EXE_webhook");
const REDRIVE: &str = env!("CARGO_BIN_EXE_redrive");

async fn start(binary: &str, table_url: &str, queue_url: &str) -> Function {
    let env = [
        ("TABLE_NAME", "groups"),
        ("SDK_APP_ID", samples::SDK_APP_ID),
        ("CALLBACK_TOKENS", TOKEN),
        ("MAX_REQUEST_AGE_SECONDS", "1000000000"),
        ("RETRY_QUEUE_URL", queue_url),
        ("AWS_ENDPOINT_URL_DYNAMODB", table_url),
        ("AWS_ENDPOINT_URL_SQS", queue_url),
    ];
    Function::start(Path::new(binary), &env).await.unwrap()
}

/// The sample event with another body.
fn event(body: &Value) -> Value {
    let mut event = samples::events(&Signer::default()).remove("http-api").unwrap();
    event["body"] = body.to_string().into();
    event
}

fn batch(messages: &[String]) -> Value {
    let records = messages.iter().enumerate();
    let records = records.map(|(n, message)| json!({ "messageId": format!("m{n}"), "body": message }));
    json!({ "Records": records.collect::<Vec<_>>() })
}

#[tokio::test]
async fn a_webhook_killed_between_two_batches_leaves_no_group_until_a_redelivery_finishes_it() {
    let table = Table::start().await;
    let queue = Queue::start().await.unwrap();
    // The Query and two of the twenty batches pass.
    let hanging = Script { first: [Fault::None; 3].into(), then: Fault::Hang };
    let proxy = Proxy::start(&table.url, hanging).await.unwrap();
    let accounts: Vec<String> = (0..500).map(|n| format!("user-{n:03}")).collect();
    let group = body("g", 5, &accounts.iter().map(String::as_str).collect::<Vec<_>>());

    let mut webhook = start(WEBHOOK, &proxy.url, &queue.url).await;
    let killed = {
        let invocation = webhook.invoke(event(&group));
        tokio::select! {
            answer = invocation => panic!("answered {answer:?}"),
            () = forwarded(&proxy, 3) => {}
        }
        webhook.kill().await
    };
    killed.unwrap();
    let written = table.items().await.len();
    assert!((1..500).contains(&written), "{written}");
    assert!(table.group("g").await.is_none());
    assert!(table.reader().groups_of(SDK_APP_ID, "user-001").await.unwrap().is_empty());

    let query = "SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterCreateGroup";
    let message = json!({ "received_at": 1, "query": query, "body": group.to_string() }).to_string();
    let redrive = start(REDRIVE, &table.url, &queue.url).await;
    let answer = redrive.invoke(batch(&[message])).await.unwrap();
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    let stored = table.group("g").await.unwrap();
    assert_eq!(stored.members.len(), 500);
    assert_eq!(table.items().await.len(), 501);
}

async fn forwarded(proxy: &Proxy, count: usize) {
    while proxy.forwarded() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The last of them is with the table; wait until it is written.
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn a_request_that_breaks_the_conversion_leaves_the_next_one_unharmed() {
    let table = Table::start().await;
    let webhook = start(WEBHOOK, &table.url, "http://127.0.0.1:9").await;
    let good = event(&body("g", 5, &["a"]));
    let mut hostile = good.clone();
    hostile["rawQueryString"] = "a=\"".into();
    for (event, status, error_code) in
        [(hostile.clone(), 400, 120_002), (good, 200, 0), (hostile, 400, 120_002)]
    {
        let answer = webhook.invoke(event).await.unwrap();
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!((&answer["statusCode"], &body["ErrorCode"]), (&json!(status), &json!(error_code)));
    }
    // What is no gateway's event is answered null.
    for event in [json!({ "Records": [] }), json!({}), json!("warm"), Value::Null] {
        assert_eq!(webhook.invoke(event).await.unwrap(), Value::Null);
    }
    assert_eq!(webhook.invoke(event(&body("g", 6, &[]))).await.unwrap()["statusCode"], 200);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let lines: Vec<Value> =
        webhook.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let ignored: Vec<_> = lines.iter().filter(|line| line["outcome"] == "ignored").collect();
    assert!(ignored.len() == 4 && ignored.iter().all(|line| line["level"] == "WARN"), "{ignored:?}");
}

#[tokio::test]
async fn each_callback_is_one_line_of_json_on_standard_output() {
    let table = Table::start().await;
    let webhook = start(WEBHOOK, &table.url, "http://127.0.0.1:9").await;
    for time in [5, 5, 6] {
        webhook.invoke(event(&body("g", time, &["a"]))).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let lines: Vec<Value> = webhook.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["stored", "duplicate", "replaced"]);
    let cold: Vec<&Value> = lines.iter().map(|line| &line["cold_start"]).collect();
    assert_eq!(cold, [true, false, false]);
}

#[tokio::test]
async fn a_poisoned_message_fails_alone() {
    let table = Table::start().await;
    let redrive = start(REDRIVE, &table.url, "").await;
    let message = |group_id: &str| {
        let query = "SdkAppid=1400000001&CallbackCommand=Group.CallbackAfterCreateGroup";
        let body = body(group_id, 5, &["a"]).to_string();
        json!({ "received_at": 1, "query": query, "body": body }).to_string()
    };
    let mut messages: Vec<String> = (0..12).map(|n| message(&format!("g{n}"))).collect();
    messages[3] = "poison".to_owned();
    messages[7] = message("");
    let answer = redrive.invoke(batch(&messages)).await.unwrap();
    let mut failed: Vec<&str> = answer["batchItemFailures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| failure["itemIdentifier"].as_str().unwrap())
        .collect();
    failed.sort_unstable();
    assert_eq!(failed, ["m3", "m7"]);
    assert_eq!(table.items().await.len(), 20);
}

#[tokio::test]
async fn a_missing_setting_stops_the_start_with_one_line_that_names_it() {
    for (binary, env, variable) in [
        (WEBHOOK, vec![], "SDK_APP_ID"),
        (WEBHOOK, vec![("SDK_APP_ID", "1"), ("TABLE_NAME", "groups")], "CALLBACK_TOKENS"),
        (REDRIVE, vec![("SDK_APP_ID", "one")], "SDK_APP_ID"),
        (REDRIVE, vec![("SDK_APP_ID", "1"), ("TABLE_NAME", "groups"), ("AWS_REGION", "")], "AWS_REGION"),
    ] {
        let mut function = Function::start(Path::new(binary), &env).await.unwrap();
        assert!(!function.ended().await.unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let lines = function.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&format!("environment variable {variable}: expected")), "{lines:?}");
    }
}
