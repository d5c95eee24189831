//! Creations that come eight times at once, as Chat repeats a callback whose answer is late.

use std::error::Error;
use std::time::{Duration, Instant};

use chat_groups_testkit::bodies::Group;
use chat_groups_testkit::function::Function;
use chat_groups_testkit::meter::Meter;
use chat_groups_testkit::queue::Queue;
use chat_groups_testkit::redriver::Redriver;
use chat_groups_testkit::samples::{self, Signer};
use chat_groups_testkit::{database, table};
use serde_json::json;

use super::{accounts, borrowed, now, outcomes};

const GROUPS: usize = 12;
const MEMBERS: usize = 150;
const DELIVERIES: usize = 8;

/// Plays them without and with items that take one writer at a time, and prints what came of it.
pub async fn run() -> Result<(), Box<dyn Error>> {
    let processes = GROUPS * DELIVERIES;
    println!(
        "\n{GROUPS} creations of {MEMBERS}, {DELIVERIES} times each and all at once, by {processes} processes:\n"
    );
    println!("| an item takes | s | answers 200 | webhook | write units | queued | redrive | whole groups |");
    println!("| --- | ---: | --- | --- | --- | ---: | --- | ---: |");
    play(false).await?;
    play(true).await
}

async fn play(refuses_rivals: bool) -> Result<(), Box<dyn Error>> {
    let (database, table_url) = database::start().await?;
    let meter = Meter::start(&table_url).await?;
    if refuses_rivals {
        meter.refuse_rivals();
    }
    let queue = Queue::start().await?;
    let (signer, time, accounts) = (Signer::default(), now()?, accounts(0..MEMBERS));
    let accounts = borrowed(&accounts);
    let group = |number: usize| Group::new(format!("@TGS#RIVALS{number}"), "Public");
    let mut webhooks = Vec::new();
    for _ in 0..GROUPS * DELIVERIES {
        webhooks.push(Function::start_with("webhook", &meter.url, &queue.url).await?);
    }

    let begin = Instant::now();
    let deliveries = webhooks.into_iter().enumerate().map(|(number, webhook)| {
        let event = signer.event(&group(number % GROUPS).created(time, accounts[0], &accounts));
        tokio::spawn(async move { (webhook.invoke(event).await, webhook) })
    });
    let (mut webhooks, mut count) = (Vec::new(), 0);
    for delivery in deliveries.collect::<Vec<_>>() {
        let (answer, webhook) = delivery.await?;
        count += usize::from(answer?["statusCode"] == 200);
        webhooks.push(webhook);
    }
    let seconds = begin.elapsed().as_secs_f64();
    // Their last lines are on their way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let queued = queue.take();
    let unqueued = count - queued.len();
    let units = meter.take().iter().map(|request| request.write_units).sum::<f64>();

    let (waiting, redriver) =
        (queued.len(), Redriver::new(Function::start_with("redrive", &meter.url, "").await?));
    redriver.drain(queued).await?;
    let mut whole = 0;
    for number in 0..GROUPS {
        let key = format!("{}#{}", samples::SDK_APP_ID, group(number).id);
        let query = json!({
            "TableName": table::TABLE_NAME, "Select": "COUNT", "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": key } },
        });
        let found = serde_json::to_value(database.query(serde_json::from_value(query)?)?)?;
        whole += usize::from(found["Count"] == MEMBERS + 1);
    }
    println!(
        "| {} | {seconds:.1} | {count}, {unqueued} of them without a queue | {} | {units:.0}, for one delivery each {} | {waiting} | {} | {whole} of {GROUPS} |",
        if refuses_rivals { "one writer at a time" } else { "all writers" },
        outcomes(&webhooks),
        GROUPS * 2 * (MEMBERS + 1),
        outcomes([redriver.function()]),
    );
    if whole < GROUPS || 2 * unqueued < webhooks.len() {
        return Err("expected all groups whole, and half of the answers 200 without a queue".into());
    }
    Ok(())
}
