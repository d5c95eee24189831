//! `publish` as Lambda runs it, and Lambda's rules between the stream and it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{ARN, Chain};
use crate::bus::Bus;
use crate::database::{self, HISTORY_TABLE_NAME};
use crate::feeder::Feeder;
use crate::function::Function;
use crate::harness::{Table, body, deliver};
use crate::proxy::{Fault, Proxy, Script};
use chat_groups_testkit::database::serve;

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");

async fn start(table_url: &str, bus_url: &str, sinks: &[(&str, &str)]) -> Function {
    let env = [
        ("AWS_REGION", "local"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_ENDPOINT_URL_DYNAMODB", table_url),
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", bus_url),
    ];
    Function::start(Path::new(PUBLISH), &[&env, sinks].concat()).await.unwrap()
}

const BOTH: [(&str, &str); 2] = [("HISTORY_TABLE_NAME", HISTORY_TABLE_NAME), ("EVENT_BUS_ARN", ARN)];

async fn create_group(chain: &Chain, members: usize) {
    let accounts: Vec<String> = (0..members).map(|n| format!("user-{n:03}")).collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    assert_eq!(deliver(&chain.table.webhook(), &body("g", 5, &accounts)).await.codes(), (200, 0));
}

#[tokio::test]
async fn a_publish_that_is_killed_is_followed_by_one_that_tells_the_rest() {
    let mut chain = Chain::start().await;
    create_group(&chain, 150).await;
    // Two requests pass, then the bus is silent.
    let script = Script { first: [Fault::None; 2].into(), then: Fault::Hang };
    let proxy = Proxy::start(&chain.bus.url, script).await.unwrap();
    let mut first = start(&chain.table.url, &proxy.url, &BOTH).await;
    let batch = json!({ "Records": chain.feeder.read().unwrap()[..100] });
    let killed = {
        let told = async {
            while chain.bus.requests().len() < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            answer = first.invoke(batch) => panic!("answered {answer:?}"),
            () = told => first.kill().await,
        }
    };
    killed.unwrap();

    let second = start(&chain.table.url, &chain.bus.url, &BOTH).await;
    let feed = chain.feeder.feed(async |batch| second.invoke(batch).await);
    feed.await.unwrap();
    let events = chain.bus.events();
    let ids: BTreeSet<String> = events.iter().map(|event| event["id"].to_string()).collect();
    assert_eq!((events.len(), ids.len()), (171, 151));
    assert_eq!(chain.history().await.len(), 151);
    let lines: Vec<Value> = second.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let counts: Vec<_> = lines.iter().map(|line| (&line["outcome"], line["events"].as_u64())).collect();
    assert_eq!(counts, [(&json!("published"), Some(100)), (&json!("published"), Some(51))]);
    for field in ["timestamp", "level", "outcome", "records", "events", "failed_at", "age_ms", "error"] {
        assert!(lines[0].get(field).is_some(), "{field}");
    }
    assert!(!second.lines().concat().contains("user-0"));
}

#[tokio::test]
async fn either_the_history_or_the_bus_is_enough_and_one_of_them_is_required() {
    let mut chain = Chain::start().await;
    create_group(&chain, 1).await;
    let batch = json!({ "Records": chain.feeder.read().unwrap() });
    let done = json!({ "batchItemFailures": [] });
    let with_history = start(&chain.table.url, &chain.bus.url, &BOTH[..1]).await;
    assert_eq!(with_history.invoke(batch.clone()).await.unwrap(), done);
    assert_eq!((chain.history().await.len(), chain.bus.events().len()), (2, 0));
    let with_bus = start("http://127.0.0.1:1", &chain.bus.url, &BOTH[1..]).await;
    assert_eq!(with_bus.invoke(batch).await.unwrap(), done);
    assert_eq!(chain.bus.events().len(), 2);

    let mut without = start(&chain.table.url, &chain.bus.url, &[("HISTORY_TABLE_NAME", "")]).await;
    assert!(!without.ended().await.unwrap());
    while without.lines().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lines = without.lines().concat();
    assert!(lines.contains("HISTORY_TABLE_NAME") && lines.contains("EVENT_BUS_ARN"), "{lines}");
}

#[tokio::test]
async fn the_feeder_keeps_lambdas_rules() {
    let (table, database) = Table::start_with_stream().await;
    let mut chain =
        Chain { table, feeder: Feeder::new(database).unwrap(), bus: Bus::start([]).await.unwrap() };
    create_group(&chain, 120).await;
    let sizes = RefCell::new(Vec::new());
    let answers = RefCell::new(vec![
        Err("out of memory".to_owned()),
        Ok(json!({ "batchItemFailures": [{ "itemIdentifier": "unknown" }] })),
    ]);
    let feed = chain.feeder.feed(async |batch: Value| {
        let records = batch["Records"].as_array().unwrap();
        sizes.borrow_mut().push(records.len());
        let failed_at =
            |index: usize| json!({ "itemIdentifier": records[index]["dynamodb"]["SequenceNumber"] });
        match answers.borrow_mut().pop() {
            Some(answer) => answer,
            // Of several, the lowest counts.
            None if records.len() > 40 => Ok(json!({ "batchItemFailures": [failed_at(30), failed_at(20)] })),
            None => Ok(json!({ "batchItemFailures": [] })),
        }
    });
    feed.await.unwrap();
    assert_eq!(*sizes.borrow(), [100, 100, 50, 100, 81, 61, 41, 21]);
}

#[tokio::test]
async fn a_data_file_loses_the_records_that_were_told() {
    let folder = std::env::temp_dir().join(format!("chat-groups-feeder-{}", std::process::id()));
    let open = || database::open(&folder.join("groups.db")).unwrap();
    let database = open();
    let table = Table { url: serve(&database).await.unwrap() };
    let feeder = Feeder::new(database).unwrap();
    let mut chain = Chain { table, feeder, bus: Bus::start([]).await.unwrap() };
    create_group(&chain, 150).await;
    let mut sizes = Vec::new();
    while let Some(batch) = chain.feeder.batch().unwrap() {
        sizes.push(batch["Records"].as_array().unwrap().len());
        // One that fails is not lost.
        let answer = if sizes.len() == 1 { Err("killed".to_owned()) } else { Ok(json!({})) };
        chain.feeder.answered(answer).unwrap();
        let left = Feeder::new(open()).unwrap().read().unwrap().len();
        assert_eq!(left, chain.feeder.read().unwrap().len());
    }
    assert_eq!(sizes, [100, 50, 100, 1]);
    create_group(&chain, 151).await;
    assert_eq!(chain.feeder.read().unwrap().len(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
}
