//! `make load`: what events cost in small and large groups, a burst that the table throttles, rivals, a backlog, and the
//! change feed.

mod backlog;
mod burst;
mod changes;
mod costs;
mod report;
mod rivals;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use chat_groups_testkit::bodies::Group;
use chat_groups_testkit::function::Function;
use chat_groups_testkit::samples::Signer;
use clap::Parser;
use clap::builder::BoolishValueParser;
use serde_json::{Value, json};

/// Measures what events cost in small and large groups, a burst that the table throttles, rivals, a backlog, and the change
/// feed
#[derive(Parser)]
struct Args {
    /// How many joins of one Community come at once
    #[arg(long, env = "BURST", default_value_t = 2_000)]
    burst: usize,
    /// How many write units a second the Community's partition takes
    #[arg(long, env = "UNITS_PER_SECOND", default_value_t = 1_000)]
    units_per_second: u32,
    /// How many events wait in the queue, ten for each group
    #[arg(long, env = "BACKLOG", default_value_t = 100_000)]
    backlog: usize,
    /// Measures the change feed alone
    #[arg(long, env = "CHANGES_ONLY", value_parser = BoolishValueParser::new())]
    changes_only: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    chat_groups_testkit::exit(run(Args::parse()).await)
}

async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    if args.changes_only {
        return changes::run().await;
    }
    let rows = costs::measure().await?;
    report::print(&rows);
    burst::run(args.burst, args.units_per_second).await?;
    rivals::run().await?;
    backlog::run(args.backlog).await?;
    changes::run().await?;
    report::check(&rows)
}

/// A Community.
fn community(id: impl Into<String>) -> Group {
    Group::new(id, "Community")
}

/// Accounts that no other range shares.
fn accounts(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("user-{number:06}")).collect()
}

fn borrowed(accounts: &[String]) -> Vec<&str> {
    accounts.iter().map(String::as_str).collect()
}

/// The time, in milliseconds.
fn now() -> Result<u64, Box<dyn Error>> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// A callback as it waits in the queue.
fn message(signer: &Signer, body: &Value, received_at: u64) -> String {
    let query = signer.query(body["CallbackCommand"].as_str().unwrap_or_default());
    json!({ "received_at": received_at, "query": query, "body": body.to_string() }).to_string()
}

/// How often each outcome stands in the log of these functions.
fn outcomes<'a>(functions: impl IntoIterator<Item = &'a Function>) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    let lines = functions.into_iter().flat_map(Function::lines);
    for line in lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok()) {
        if let Some(outcome) = line["outcome"].as_str() {
            *counts.entry(outcome.to_owned()).or_default() += 1;
        }
    }
    let counts: Vec<String> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    counts.join(", ")
}
