//! The connection that is opened before the first event: it helps, and never stands in the way.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::harness::{Table, body, deliver};

#[tokio::test]
async fn a_start_does_not_wait_long_for_a_table_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let table = Table { url: format!("http://{}", silent.local_addr().unwrap()) };
    let begin = Instant::now();
    table.webhook().connect().await;
    assert!(begin.elapsed() < Duration::from_millis(800), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_start_without_a_table_goes_on() {
    let webhook = Table { url: "http://127.0.0.1:1".to_owned() }.webhook();
    webhook.connect().await;
    assert_eq!(deliver(&webhook, &body("g", 1, &["a"])).await.status, 503);
}

#[tokio::test]
async fn a_start_leaves_nothing_in_the_table() {
    let table = Table::start().await;
    let webhook = table.webhook();
    webhook.connect().await;
    assert!(table.items().await.is_empty());
    assert_eq!(deliver(&webhook, &body("g", 1, &["a"])).await.answer["ErrorCode"], json!(0));
}
