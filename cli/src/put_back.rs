//! Lost events and dead letters, back into the queues that `redrive` reads.

use std::error::Error;
use std::io::Read;
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use chat_groups::aws::{Aws, Timeouts};
use chat_groups::log::error_chain;
use chat_groups::time::{from_millis, rfc3339};
use chat_groups_testkit::lost::{self, Lost};
use clap::builder::BoolishValueParser;
use serde_json::Value;

const TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(5), attempt: Some(Duration::from_secs(20)) };
const MAX_ATTEMPTS: u32 = 5;

/// How long a dead letter is hidden from others while it is moved.
const VISIBILITY_SECONDS: i32 = 120;

/// Long polling asks all of SQS's servers: an empty answer means an empty queue.
const WAIT_SECONDS: i32 = 2;

/// How long the table remembers who has left and which groups were destroyed. An older event would bring them back.
const TOMBSTONE_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A queue that `redrive` reads, and where its messages end that fail for too long.
struct Queue {
    name: &'static str,
    url: String,
    dead_letters_url: String,
}

/// What became of everything.
#[derive(Default)]
struct Tally {
    lost_events: usize,
    dead_letters: usize,
    /// What stays where it is.
    left: usize,
}

/// Puts lost events and dead letters back into their queues
///
/// Fetch the log lines of lost events into a file first; without a file only dead letters are moved:
///
///   aws logs filter-log-events --log-group-name "$WEBHOOK_LOG_GROUP" --filter-pattern '{ $.outcome = "lost*" }' \
///     --start-time $(($(date +%s) * 1000 - 86400000)) --query 'events[].message' --output json > lines.json
///
/// A large event stands in several lines; they are joined. Putting an event back twice does no harm to the
/// table; the downstream gets it twice.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A file with one log line on each line, or an array of such lines as strings; - is standard input
    #[arg(long, env = "LINES", value_name = "FILE")]
    lines: Option<String>,
    /// Puts back what is older than 30 days too, although it may bring back members and groups that are gone
    #[arg(long, env = "OLD", value_parser = BoolishValueParser::new())]
    old: bool,
    /// The queue of events that the table is owed
    #[arg(long, env = "RETRY_QUEUE_URL", value_name = "URL")]
    retry_queue_url: String,
    /// Where its messages end that fail for too long
    #[arg(long, env = "DEAD_LETTER_QUEUE_URL", value_name = "URL")]
    dead_letter_queue_url: String,
    /// The queue of callbacks that the downstream is owed
    #[arg(long, env = "FORWARD_QUEUE_URL", value_name = "URL")]
    forward_queue_url: String,
    /// Where its messages end that fail for too long
    #[arg(long, env = "FORWARD_DEAD_LETTER_QUEUE_URL", value_name = "URL")]
    forward_dead_letter_queue_url: String,
}

/// Puts all back that it can; an error says what is left.
pub async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let mut tally = Tally::default();
    let result = put_back(args, &mut tally).await;
    println!("\n{} lost events and {} dead letters put back", tally.lost_events, tally.dead_letters);
    result.map_err(|error| format!("{}; the rest is where it was", error_chain(error.as_ref())))?;
    match tally.left {
        0 => Ok(()),
        count => Err(format!("{count} were not put back").into()),
    }
}

async fn put_back(args: Args, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
    let retry = Queue {
        name: "retry queue",
        url: args.retry_queue_url,
        dead_letters_url: args.dead_letter_queue_url,
    };
    let forward = Queue {
        name: "forward queue",
        url: args.forward_queue_url,
        dead_letters_url: args.forward_dead_letter_queue_url,
    };
    let client = Aws::new(chat_groups::config::aws_settings(&|name| std::env::var(name))?).sqs(TIMEOUTS);
    let retries = RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS);
    let client = Client::from_conf(client.config().to_builder().retry_config(retries).build());

    // All lines are read before the first event is sent.
    let events = match args.lines {
        Some(path) => read(&path)?,
        None => Vec::new(),
    };
    let oldest = if args.old { SystemTime::UNIX_EPOCH } else { SystemTime::now() - TOMBSTONE_TTL };
    for event in events {
        match event {
            Lost::Event(event) if is_older(&event, oldest) => {
                tally.left += 1;
                println!("lost event   {} -> nowhere: {OLD}", described(&event));
            }
            Lost::Event(event) => {
                let queue = if event["pending"] == "forward" { &forward } else { &retry };
                send(&client, queue, &lost::to_message(&event)?).await?;
                tally.lost_events += 1;
                println!("lost event   {} -> {}", described(&event), queue.name);
            }
            Lost::WithoutBody(event) => {
                tally.left += 1;
                println!("lost event   {} -> nowhere: the log does not hold its body", described(&event));
            }
            Lost::Incomplete { lost_id, found, parts } => {
                tally.left += 1;
                println!(
                    "lost event   lost_id {lost_id} -> nowhere: {found} of its {parts} parts are in these lines"
                );
            }
        }
    }
    for queue in [&retry, &forward] {
        let moved = move_dead_letters(&client, queue, oldest, tally).await;
        moved.map_err(|error| {
            format!("dead letters of the {}: {}", queue.name, error_chain(error.as_ref()))
        })?;
    }
    Ok(())
}

/// Why an event is left where it is.
const OLD: &str = "older than 30 days; --old puts it back all the same";

/// Whether a message came before this time. One that does not say when is not.
fn is_older(message: &Value, oldest: SystemTime) -> bool {
    message["received_at"].as_u64().is_some_and(|millis| from_millis(millis) < oldest)
}

/// Reads a file, or standard input for `-`.
fn read(path: &str) -> Result<Vec<Lost>, String> {
    let mut text = String::new();
    let read = match path {
        "-" => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| format!("LINES: {path}: {error}"))?;
    lost::parse(&text).map_err(|error| format!("LINES: {path}: expected log lines in JSON ({error})"))
}

async fn send(client: &Client, queue: &Queue, message: &str) -> Result<(), String> {
    let sent = client.send_message().queue_url(&queue.url).message_body(message).send().await;
    sent.map(drop).map_err(|error| format!("{}: {}", queue.name, error_chain(&error)))
}

/// Sends each dead letter to its queue and deletes it then: interrupted, it may be in both, which does no harm.
async fn move_dead_letters(
    client: &Client,
    queue: &Queue,
    oldest: SystemTime,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    let start = SystemTime::now();
    loop {
        let receive = client
            .receive_message()
            .queue_url(&queue.dead_letters_url)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .max_number_of_messages(10);
        let received =
            receive.visibility_timeout(VISIBILITY_SECONDS).wait_time_seconds(WAIT_SECONDS).send().await?;
        if received.messages().is_empty() {
            return Ok(());
        }
        for message in received.messages() {
            let body = message.body().unwrap_or_default();
            let event = serde_json::from_str(body).unwrap_or_default();
            if sent_at(message).is_some_and(|time| time > start) {
                tally.left += 1;
                println!("dead letter  {} -> nowhere: it has come back already", described(&event));
                continue;
            }
            if is_older(&event, oldest) {
                tally.left += 1;
                println!("dead letter  {} -> nowhere: {OLD}", described(&event));
                continue;
            }
            send(client, queue, body).await?;
            let handle = message.receipt_handle().unwrap_or_default();
            client.delete_message().queue_url(&queue.dead_letters_url).receipt_handle(handle).send().await?;
            tally.dead_letters += 1;
            println!("dead letter  {} -> {}", described(&event), queue.name);
        }
    }
}

/// When a message came into the dead-letter queue. `redrive` sends one that it still can't read there at once.
fn sent_at(message: &Message) -> Option<SystemTime> {
    let millis = message.attributes()?.get(&MessageSystemAttributeName::SentTimestamp)?.parse().ok()?;
    Some(from_millis(millis))
}

/// What a queue message is about, without anything that a user wrote.
fn described(message: &Value) -> String {
    let query = message["query"].as_str().unwrap_or_default();
    let parameter = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let received_at = message["received_at"].as_u64().map(|millis| rfc3339(from_millis(millis)));
    format!(
        "{}, received {}",
        parameter("CallbackCommand").as_deref().unwrap_or("(no command)"),
        received_at.as_deref().unwrap_or("(no time)")
    )
}
