//! The change feed: the time from a callback to its event on the bus, and the events a second that one `publish` tells.

use std::error::Error;
use std::time::{Duration, Instant};

use chat_groups_testkit::bus::Bus;
use chat_groups_testkit::feeder::Feeder;
use chat_groups_testkit::function::Function;
use chat_groups_testkit::samples::Signer;
use chat_groups_testkit::{database, table};
use serde_json::{Value, json};

use super::{accounts, borrowed, community, now};

/// How many callbacks come, one after the other.
const CALLBACKS: usize = 1_000;

/// How often a full batch of the stream is told.
const BATCHES: u32 = 100;

/// Measures, and prints the figures. Lambda's own time between a write and the call of `publish` is not in them.
pub async fn run() -> Result<(), Box<dyn Error>> {
    let (database, table_url) = database::start_with_stream().await?;
    let bus = Bus::start([]).await?;
    let webhook = Function::start_with("webhook", &table_url, "").await?;
    let publish = Function::start_publish(&table_url, &bus.url).await?;
    let (mut feeder, signer, group) = (Feeder::new(database)?, Signer::default(), community("@TGS#_CHANGES"));
    let mut took = Vec::new();
    for account in accounts(0..CALLBACKS) {
        let begin = Instant::now();
        webhook.invoke(signer.event(&group.joined(now()?, &[&account]))).await?;
        feeder.feed(async |batch| publish.invoke(batch).await).await?;
        took.push(begin.elapsed());
        if bus.take_events().len() != 1 {
            return Err("expected one event of a join".into());
        }
    }
    took.sort_unstable();
    let [median, p99] = [CALLBACKS / 2, CALLBACKS * 99 / 100].map(|index| milliseconds(took[index]));
    println!(
        "\nFrom a callback to its event on the bus, {CALLBACKS} times: median {median:.1} ms, p99 {p99:.1} ms\n"
    );

    let members = accounts(CALLBACKS..CALLBACKS + 100);
    webhook.invoke(signer.event(&group.joined(now()?, &borrowed(&members)))).await?;
    let batch = feeder.batch()?.ok_or("expected records of a join")?;
    println!("One publish, {BATCHES} batches of 100:\n");
    println!("| to | events a second | ms for a batch | peak memory |");
    println!("| --- | ---: | ---: | ---: |");
    // In memory: a file would be measured with its disk.
    let (database, history_url) = database::start().await?;
    table::create_history(&database)?;
    let (history_url, bus_url) = (history_url.as_str(), bus.url.as_str());
    for (sinks, history_url, bus_url) in
        [("bus", "", bus_url), ("history", history_url, ""), ("both", history_url, bus_url)]
    {
        let publish = Function::start_publish(history_url, bus_url).await?;
        let time = tell(&publish, &batch).await?;
        bus.take_events();
        let rate = 100.0 / time.as_secs_f64();
        let memory = publish.peak_memory().unwrap_or_default();
        println!("| {sinks} | {rate:.0} | {:.1} | {memory} |", milliseconds(time));
    }
    Ok(())
}

/// Tells a batch again and again; returns the time that one takes.
async fn tell(publish: &Function, batch: &Value) -> Result<Duration, Box<dyn Error>> {
    let begin = Instant::now();
    for _ in 0..BATCHES {
        let answer = publish.invoke(batch.clone()).await?;
        if answer != json!({ "batchItemFailures": [] }) {
            return Err(format!("expected a batch without failures, found {answer}").into());
        }
    }
    Ok(begin.elapsed() / BATCHES)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
