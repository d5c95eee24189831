//! `make soak`: the real functions under load, with faults at random, and an audit of what they kept.

mod audit;
mod changes;
mod faults;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::Select;
use changes::Changes;
use chat_groups::aws::{Aws, Timeouts};
use chat_groups::config::aws_settings;
use chat_groups::store::Reader;
use chat_groups_testkit::bus::Bus;
use chat_groups_testkit::function::Function;
use chat_groups_testkit::lost;
use chat_groups_testkit::proxy::{Fault, Proxy, Script};
use chat_groups_testkit::queue::Queue;
use chat_groups_testkit::redriver::Redriver;
use chat_groups_testkit::samples::{self, Signer};
use chat_groups_testkit::{database, local, table};
use clap::Parser;
use fastrand::Rng;
use plan::Plan;
use serde_json::Value;
use tokio::time::Instant;

/// The promise: from the gateway's side, the Runtime API included.
const ANSWER_BUDGET: Duration = Duration::from_millis(1500);

/// How much is printed of a group that is not as it should be.
const LINE_MAX: usize = 20_000;

/// How many `webhook` processes run side by side, as Lambda would run them.
const PROCESSES: usize = 4;

/// One answer to one delivery.
struct Answered {
    body: usize,
    status: u64,
    took: Duration,
}

/// What has come of all deliveries.
#[derive(Default)]
struct Delivered {
    answers: Vec<Answered>,
    lines: Vec<Value>,
    faults: usize,
}

/// Delivers events with random faults to the functions, and audits the table and the change feed
#[derive(Parser)]
struct Args {
    /// How many deliveries, at least
    #[arg(long, env = "EVENTS", default_value_t = 20_000)]
    events: usize,
    /// Makes the same events again
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match soak(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn soak(Args { events: deliveries, seed }: Args) -> Result<bool, Box<dyn Error>> {
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut rng = Rng::with_seed(seed);
    println!("{deliveries} deliveries, SEED={seed}");
    let plan = Arc::new(Plan::new(deliveries, &mut rng));

    let (database, table_url) = database::start_with_stream().await?;
    database::fill(&database, plan.filled())?;
    let queue = Queue::start().await?;
    let table_proxy = Proxy::start(&table_url, Script::always(Fault::None)).await?;
    let queue_proxy = Proxy::start(&queue.url, Script::always(Fault::None)).await?;
    let bus = Bus::start([]).await?;
    let bus_proxy = Proxy::start(&bus.url, Script::always(Fault::None)).await?;
    let mut changes = Changes::start(&database, bus, &table_proxy.url, &bus_proxy.url).await?;
    changes.backfill(plan.filled()["GroupId"].as_str().unwrap_or_default()).await?;
    let redriver = Redriver::new(Function::start_with("redrive", &table_proxy.url, "").await?);

    let is_delivered = AtomicBool::new(false);
    let deliver = async {
        let delivered = deliver_all(&plan, [&table_proxy, &queue_proxy, &bus_proxy], rng).await;
        is_delivered.store(true, Ordering::Relaxed);
        delivered.map_err(|error| error.to_string())
    };
    let (delivered, waiting, ()) =
        tokio::try_join!(deliver, redriver.follow(&queue, &is_delivered), changes.follow(&is_delivered))?;
    for proxy in [&table_proxy, &bus_proxy] {
        proxy.set(Script::always(Fault::None));
    }
    redriver.drain(waiting).await?;

    let client = client(&table_url)?;
    let sdk_app_id = samples::SDK_APP_ID.parse()?;
    let reader = Reader::new(client.clone(), table::TABLE_NAME.to_owned());
    let mut wrong = unexpected(&delivered);
    wrong.extend(audit::audit(&reader, sdk_app_id, &kept(&plan, &delivered)).await?);
    // Put back from the log, nothing at all is missing.
    redriver.drain(lost::messages(&delivered.lines)?).await?;
    let groups = groups(&plan.bodies);
    wrong.extend(audit::audit(&reader, sdk_app_id, &groups).await?);
    changes.catch_up().await?;
    wrong.extend(changes.audit(sdk_app_id, &groups));
    let (told, events) = changes.counts();
    let kept = history_items(&client).await?;
    if kept != told {
        wrong.push(format!("{told} changes were told, but the history has {kept}"));
    }
    println!("audited      {} events of {} groups", plan.bodies.len(), groups.len());
    println!("redriven     {}", redriver.finished());
    println!("told         {told} changes, in {events} events");
    Ok(report(&delivered, &wrong))
}

/// Delivers everything to several processes, while table, queue and bus break.
async fn deliver_all(
    plan: &Arc<Plan>,
    [table, queue, bus]: [&Proxy; 3],
    rng: Rng,
) -> Result<Delivered, Box<dyn Error>> {
    let (faults, next) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut webhooks = Vec::new();
    for _ in 0..PROCESSES {
        let webhook = Function::start_with("webhook", &table.url, &queue.url).await?;
        webhooks.push(tokio::spawn(deliver(webhook, Arc::clone(plan), Arc::clone(&next))));
    }
    let broken = [table, queue, bus].map(Proxy::clone);
    let breaker = tokio::spawn(faults::break_at_random(broken, rng, Arc::clone(&faults)));
    let mut delivered = Delivered::default();
    for webhook in webhooks {
        let (answers, lines) = webhook.await??;
        delivered.answers.extend(answers);
        delivered.lines.extend(lines);
    }
    breaker.abort();
    Ok(Delivered { faults: faults.load(Ordering::Relaxed), ..delivered })
}

/// Delivers what is next until nothing is left; returns the answers and the log lines.
async fn deliver(
    webhook: Function,
    plan: Arc<Plan>,
    next: Arc<AtomicUsize>,
) -> Result<(Vec<Answered>, Vec<Value>), String> {
    let signer = Signer::default();
    let mut answers = Vec::new();
    while let Some(body) = plan.order.get(next.fetch_add(1, Ordering::Relaxed)) {
        let request = signer.event(&plan.bodies[*body]);
        let start = Instant::now();
        let answer = webhook.invoke(request).await?;
        let status = answer["statusCode"].as_u64().unwrap_or_default();
        answers.push(Answered { body: *body, status, took: start.elapsed() });
    }
    // Its last lines are on their way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let lines = webhook.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok((answers, lines))
}

/// What should never have been answered, or logged.
fn unexpected(delivered: &Delivered) -> Vec<String> {
    let mut wrong = Vec::new();
    let count = |status: u64| delivered.answers.iter().filter(|answer| answer.status == status).count();
    let lost = delivered.lines.iter().filter(|line| line["outcome"] == "lost").count();
    let answered_503 = count(503);
    if lost != answered_503 {
        wrong.push(format!("{answered_503} answers of 503, but {lost} lost events in the log"));
    }
    if count(200) + answered_503 != delivered.answers.len() {
        wrong.push("an answer that is neither 200 nor 503".to_owned());
    }
    wrong
}

/// What was told of each group.
fn groups(bodies: &[Value]) -> BTreeMap<&str, Vec<&Value>> {
    let mut groups = BTreeMap::<&str, Vec<&Value>>::new();
    for body in bodies {
        groups.entry(body["GroupId"].as_str().unwrap_or_default()).or_default().push(body);
    }
    groups
}

/// The groups of which every event was answered OK: one that was not may be in the table all the same.
fn kept<'a>(plan: &'a Plan, delivered: &Delivered) -> BTreeMap<&'a str, Vec<&'a Value>> {
    let refused = delivered.answers.iter().filter(|answer| answer.status != 200);
    let refused: BTreeSet<&str> =
        refused.filter_map(|answer| plan.bodies[answer.body]["GroupId"].as_str()).collect();
    let mut groups = groups(&plan.bodies);
    groups.retain(|group_id, _| !refused.contains(group_id));
    groups
}

/// Prints what happened; whether it is as promised.
fn report(delivered: &Delivered, wrong: &[String]) -> bool {
    let Delivered { answers, lines, faults } = delivered;
    let mut took: Vec<Duration> = answers.iter().map(|answer| answer.took).collect();
    took.sort_unstable();
    let at = |share: f64| {
        let index = (took.len() as f64 * share) as usize;
        took.get(index.min(took.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    let count = |of: &mut dyn Iterator<Item = String>| {
        let mut counts = BTreeMap::<String, usize>::new();
        of.for_each(|name| *counts.entry(name).or_default() += 1);
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    };
    println!("answers      {}", count(&mut answers.iter().map(|answer| answer.status.to_string())));
    println!(
        "outcomes     {}",
        count(&mut lines.iter().filter_map(|line| Some(line["outcome"].as_str()?.to_owned())))
    );
    let [p50, p99, maximum] = [0.5, 0.99, 1.0].map(|share| at(share).as_millis());
    println!("answer time  p50 {p50} ms, p99 {p99} ms, maximum {maximum} ms");
    println!("faults       {faults}");
    println!(
        "wrong        {} (groups that are not what was answered OK or put back from the log)",
        wrong.len()
    );
    for line in wrong.iter().take(5) {
        println!("{}", line.chars().take(LINE_MAX).collect::<String>());
    }
    let in_time = at(1.0) < ANSWER_BUDGET;
    if !in_time {
        println!("one answer took longer than {ANSWER_BUDGET:?}");
    }
    in_time && wrong.is_empty()
}

/// How many changes stand in the history.
async fn history_items(client: &aws_sdk_dynamodb::Client) -> Result<usize, Box<dyn Error>> {
    let scan =
        client.scan().table_name(table::HISTORY_TABLE_NAME).consistent_read(true).select(Select::Count);
    let mut pages = scan.into_paginator().send();
    let mut count = 0;
    while let Some(page) = pages.next().await {
        count += usize::try_from(page?.count)?;
    }
    Ok(count)
}

fn client(table_url: &str) -> Result<aws_sdk_dynamodb::Client, Box<dyn Error>> {
    let settings = aws_settings(&|name| local::variable(name, table_url))?;
    let long = Duration::from_secs(60);
    Ok(Aws::new(settings).dynamodb(Timeouts { connect: long, attempt: Some(long) }))
}
