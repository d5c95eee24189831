//! `make soak`: the real functions under load, with faults at random, and an audit of what they kept.

mod audit;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::env::VarError;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat_groups::{Aws, AwsSettings, Timeouts};
use chat_groups_dev::function::Function;
use chat_groups_dev::proxy::{Fault, Proxy, Script};
use chat_groups_dev::queue::Queue;
use chat_groups_dev::samples::{self, Signer};
use chat_groups_dev::table as database;
use fastrand::Rng;
use plan::Event;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// The promise: from the gateway's side, the Runtime API included.
const ANSWER_BUDGET: Duration = Duration::from_millis(1500);

/// How many `webhook` processes run side by side, as Lambda would run them.
const PROCESSES: usize = 4;

/// How many messages SQS hands to `redrive` at once, and how often it hands out one that fails.
const BATCH: usize = 10;
const MAX_RECEIVES: usize = 10;

/// One answer to one delivery.
struct Answered {
    event: usize,
    status: u64,
    took: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    match soak().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn soak() -> Result<bool, Box<dyn Error>> {
    let deliveries = number("EVENTS")?.unwrap_or(20_000);
    let seed = number("SEED")?.unwrap_or_else(|| fastrand::usize(..1_000_000));
    let mut rng = Rng::with_seed(u64::try_from(seed)?);
    println!("{deliveries} deliveries, SEED={seed}");
    let (events, order) = plan::plan(deliveries, &mut rng);

    let database = dynoxide::Database::memory()?;
    database::create_table(&database)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let table_url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    let queue = Queue::start().await?;
    let table_proxy = Proxy::start(&table_url, Script::always(Fault::None)).await?;
    let queue_proxy = Proxy::start(&queue.url, Script::always(Fault::None)).await?;

    let (events, order) = (Arc::new(events), Arc::new(order));
    let faults = Arc::new(AtomicUsize::new(0));
    let breaker =
        tokio::spawn(break_at_random(table_proxy.clone(), queue_proxy.clone(), rng, Arc::clone(&faults)));
    let next = Arc::new(AtomicUsize::new(0));
    let mut webhooks = Vec::new();
    for _ in 0..PROCESSES {
        let webhook = start("webhook", &table_proxy.url, &queue_proxy.url).await?;
        let (events, order, next) = (Arc::clone(&events), Arc::clone(&order), Arc::clone(&next));
        webhooks.push(tokio::spawn(deliver(webhook, events, order, next)));
    }
    let (mut answers, mut lines) = (Vec::new(), Vec::new());
    for webhook in webhooks {
        let (answered, written) = webhook.await??;
        answers.extend(answered);
        lines.extend(written);
    }
    breaker.abort();
    table_proxy.set(Script::always(Fault::None));

    let redrive = start("redrive", &table_proxy.url, "").await?;
    let redriven = drain(&redrive, queue.take()).await?;
    let client = client(&table_url)?;
    let answered_ok =
        answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.event).collect();
    let mut wrong = audit::audit(&client, database::TABLE_NAME, &events, &answered_ok).await?;

    // What was answered 503 stands in the log; put back from there, nothing at all is missing.
    let lost: Vec<String> =
        lines.iter().filter(|line| line["outcome"] == "lost").map(|line| line["event"].to_string()).collect();
    let answered_503 = answers.iter().filter(|answer| answer.status == 503).count();
    if lost.len() != answered_503 {
        wrong.push(format!("{answered_503} answers of 503, but {} lost events in the log", lost.len()));
    }
    drain(&redrive, lost).await?;
    let all: BTreeSet<usize> = order.iter().copied().collect();
    wrong.extend(audit::audit(&client, database::TABLE_NAME, &events, &all).await?);

    Ok(report(&answers, &lines, faults.load(Ordering::Relaxed), redriven, &wrong))
}

/// Delivers what is next until nothing is left; returns the answers and the log lines.
async fn deliver(
    webhook: Function,
    events: Arc<Vec<Event>>,
    order: Arc<Vec<usize>>,
    next: Arc<AtomicUsize>,
) -> Result<(Vec<Answered>, Vec<Value>), String> {
    let sample = samples::events(&Signer::default()).remove("http-api").unwrap_or_default();
    let mut answers = Vec::new();
    while let Some(event) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
        let mut request = sample.clone();
        request["body"] = events[*event].body().to_string().into();
        let start = Instant::now();
        let answer = webhook.invoke(request).await?;
        let status = answer["statusCode"].as_u64().unwrap_or_default();
        answers.push(Answered { event: *event, status, took: start.elapsed() });
    }
    // Its last lines are on their way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let lines = webhook.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok((answers, lines))
}

/// Breaks table and queue for a while, heals them for a while, until it is aborted.
async fn break_at_random(table: Proxy, queue: Proxy, mut rng: Rng, faults: Arc<AtomicUsize>) {
    loop {
        tokio::time::sleep(Duration::from_millis(rng.u64(100..1500))).await;
        table.set(script(&mut rng));
        if rng.u32(..4) == 0 {
            queue.set(script(&mut rng));
        }
        faults.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(rng.u64(50..1000))).await;
        table.set(Script::always(Fault::None));
        queue.set(Script::always(Fault::None));
    }
}

fn script(rng: &mut Rng) -> Script {
    let fault = match rng.u32(..12) {
        0 => Fault::Delay(Duration::from_millis(rng.u64(50..500))),
        1 => Fault::Delay(Duration::from_millis(rng.u64(500..2500))),
        2 => Fault::Hang,
        3 => Fault::ResetBefore,
        4 => Fault::ResetAfter,
        5 | 6 => Fault::LoseAnswer,
        7 => Fault::CloseAfter,
        8 => Fault::error("ProvisionedThroughputExceededException"),
        9 => Fault::Answer(500, "InternalServerError"),
        10 => Fault::Answer(503, "<html>"),
        _ => Fault::Answer(200, "<html>"),
    };
    // For every request, or only for some of them.
    match rng.bool() {
        true => Script::always(fault),
        false => Script {
            first: (0..200).map(|_| if rng.bool() { fault } else { Fault::None }).collect(),
            then: Fault::None,
        },
    }
}

/// Hands messages to `redrive` as SQS does, those that fail again; returns how many it has stored.
async fn drain(redrive: &Function, messages: Vec<String>) -> Result<usize, String> {
    let (total, mut waiting) = (messages.len(), messages);
    for _ in 0..MAX_RECEIVES {
        let mut failed = Vec::new();
        for batch in waiting.chunks(BATCH) {
            let record = |(n, body): (usize, &String)| json!({ "messageId": n.to_string(), "body": body });
            let records: Vec<Value> = batch.iter().enumerate().map(record).collect();
            let answer = redrive.invoke(json!({ "Records": records })).await?;
            let failures = answer["batchItemFailures"].as_array().into_iter().flatten();
            let number = |failure: &Value| failure["itemIdentifier"].as_str()?.parse::<usize>().ok();
            failed.extend(failures.filter_map(number).filter_map(|number| batch.get(number).cloned()));
        }
        waiting = failed;
    }
    match waiting.is_empty() {
        true => Ok(total),
        false => Err(format!("{} messages are left for the dead-letter queue", waiting.len())),
    }
}

/// Prints what happened; whether it is as promised.
fn report(answers: &[Answered], lines: &[Value], faults: usize, redriven: usize, wrong: &[String]) -> bool {
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
    println!("faults       {faults}\nredriven     {redriven}");
    println!("lost         {} (answered OK or put back from the log, and not in the table)", wrong.len());
    for line in wrong.iter().take(5) {
        println!("{line}");
    }
    let in_time = at(1.0) < ANSWER_BUDGET;
    if !in_time {
        println!("one answer took longer than {ANSWER_BUDGET:?}");
    }
    in_time && wrong.is_empty()
}

async fn start(name: &str, table_url: &str, queue_url: &str) -> Result<Function, Box<dyn Error>> {
    let env = [
        ("TABLE_NAME", database::TABLE_NAME),
        ("SDK_APP_ID", samples::SDK_APP_ID),
        ("CALLBACK_TOKENS", samples::TOKEN),
        // The sample's Sign is as old as the vendor's example.
        ("MAX_REQUEST_AGE_SECONDS", "1000000000"),
        ("RETRY_QUEUE_URL", queue_url),
        ("AWS_REGION", "local"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_ENDPOINT_URL_DYNAMODB", table_url),
        ("AWS_ENDPOINT_URL_SQS", queue_url),
    ];
    // Beside this program, whatever the target directory is.
    let binary = std::env::current_exe()?.with_file_name("").join("../release").join(name);
    let function = Function::start(&binary, &env).await;
    Ok(function.map_err(|error| format!("{}: {error}", binary.display()))?)
}

fn client(table_url: &str) -> Result<aws_sdk_dynamodb::Client, Box<dyn Error>> {
    let settings = AwsSettings::from_env(&|name| match name {
        "AWS_ENDPOINT_URL" => Ok(table_url.to_owned()),
        "AWS_REGION" | "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Ok("local".to_owned()),
        _ => Err(VarError::NotPresent),
    })?;
    let long = Duration::from_secs(60);
    Ok(Aws::new(settings).dynamodb(Timeouts { connect: long, attempt: long }))
}

fn number(variable: &str) -> Result<Option<usize>, String> {
    let set = std::env::var(variable).ok().filter(|text| !text.is_empty());
    set.map(|text| text.parse().map_err(|_| format!("{variable}: expected a number"))).transpose()
}
