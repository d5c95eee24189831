//! Many joins of one Community at once, while its partition takes no more writes.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat_groups_testkit::function::Function;
use chat_groups_testkit::meter::Meter;
use chat_groups_testkit::queue::Queue;
use chat_groups_testkit::redriver::Redriver;
use chat_groups_testkit::samples::{self, Signer};
use chat_groups_testkit::{database, table};
use serde_json::{Value, json};

use super::{accounts, borrowed, community, now, outcomes};

/// How many `webhook` processes run side by side, as Lambda would run them.
const PROCESSES: usize = 32;

/// How many members the Community has before.
const MEMBERS: usize = 10_000;

const GROUP_ID: &str = "@TGS#_BURST";

/// Plays the burst without and with a limit, and prints what came of it.
pub async fn run(joins: usize, units_per_second: u32) -> Result<(), Box<dyn Error>> {
    println!("\nA burst of {joins} joins of one Community, by {PROCESSES} processes:\n");
    println!(
        "| write units a second | s | throttled requests | webhook | queued, drained after s | redrive |"
    );
    println!("| ---: | ---: | ---: | --- | ---: | --- |");
    let joins_per_second = play(joins, None).await?;
    // A machine that is slower than the partition would never meet its limit.
    play(joins, Some(f64::from(units_per_second).min(joins_per_second / 2.0))).await?;
    Ok(())
}

/// Delivers the burst, then the queued rest of it, and counts the members. Returns the joins a second.
async fn play(joins: usize, units_per_second: Option<f64>) -> Result<f64, Box<dyn Error>> {
    let (database, table_url) = database::start().await?;
    let meter = Meter::start(&table_url).await?;
    let queue = Queue::start().await?;
    let group = community(GROUP_ID);
    let start = now()?;
    database::fill(&database, &group.joined(start - 1, &borrowed(&accounts(0..MEMBERS))))?;
    let bodies = accounts(MEMBERS..MEMBERS + joins);
    let bodies = bodies.iter().map(|account| group.joined(start, &[account]));
    let bodies: Arc<Vec<Value>> = Arc::new(bodies.collect());
    let mut webhooks = Vec::new();
    for _ in 0..PROCESSES {
        webhooks.push(Function::start_with("webhook", &meter.url, &queue.url).await?);
    }

    meter.throttle(units_per_second);
    let (begin, next) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let delivering = webhooks.into_iter().map(|webhook| {
        let (bodies, next) = (Arc::clone(&bodies), Arc::clone(&next));
        tokio::spawn(async move { deliver(webhook, &bodies, &next).await })
    });
    let (mut webhooks, mut refused) = (Vec::new(), 0);
    for delivering in delivering.collect::<Vec<_>>() {
        let (webhook, count) = delivering.await??;
        refused += count;
        webhooks.push(webhook);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let throttled = meter.take().iter().filter(|request| request.is_throttled).count();

    let redriver = Redriver::new(Function::start_with("redrive", &meter.url, "").await?);
    let (begin, queued) = (Instant::now(), queue.take());
    let count = queued.len();
    redriver.drain(queued).await?;
    println!(
        "| {} | {seconds:.1} | {throttled} | {} | {count}, {:.1} | {} |",
        units_per_second.map_or_else(|| "no limit".to_owned(), |units| format!("{units:.0}")),
        outcomes(&webhooks),
        begin.elapsed().as_secs_f64(),
        outcomes([redriver.function()])
    );
    let (members, least) = (members(&database)?, MEMBERS + joins - refused);
    if members < least {
        return Err(format!("expected at least {least} members after the burst, found {members}").into());
    }
    #[expect(clippy::cast_precision_loss)]
    Ok(joins as f64 / seconds)
}

/// Delivers what is next until nothing is left; returns the function, and the number of answers other than OK.
async fn deliver(
    webhook: Function,
    bodies: &[Value],
    next: &AtomicUsize,
) -> Result<(Function, usize), String> {
    let (signer, mut refused) = (Signer::default(), 0);
    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
        let answer = webhook.invoke(signer.event(body)).await?;
        refused += usize::from(answer["statusCode"] != 200);
    }
    // Its last lines are on their way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok((webhook, refused))
}

/// How many items of members the Community has.
fn members(database: &dynoxide::Database) -> Result<usize, Box<dyn Error>> {
    let (mut count, mut start) = (0, Value::Null);
    loop {
        let query = json!({
            "TableName": table::TABLE_NAME, "Select": "COUNT",
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :member)",
            "ExpressionAttributeValues": {
                ":pk": { "S": format!("{}#{GROUP_ID}", samples::SDK_APP_ID) }, ":member": { "S": "MEMBER#" },
            },
            "ExclusiveStartKey": start,
        });
        let page = serde_json::to_value(database.query(serde_json::from_value(query)?)?)?;
        count += usize::try_from(page["Count"].as_u64().unwrap_or_default())?;
        start = page["LastEvaluatedKey"].clone();
        if start.is_null() {
            return Ok(count);
        }
    }
}
