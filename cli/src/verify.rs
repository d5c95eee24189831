//! The check of a deployment, against the registered URL.

mod table;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chat_groups::callback::Token;
use chat_groups::config::trust;
use chat_groups::time::to_millis;
use chat_groups_testkit::bodies::Group;
use chat_groups_testkit::life::{Step, life};
use chat_groups_testkit::samples::Signer;
use table::Table;

use crate::post::{Answer, Poster};

/// What the custom GroupId begins with, so that it says where it comes from. Each run has a group of its own: nothing
/// of an earlier one can be taken for it.
const GROUP: &str = "chat-groups-verify";
const OWNER: &str = "verify-owner";
const MEMBER: &str = "verify-member";
const NEWCOMER: &str = "verify-newcomer";

/// How long Chat waits.
const LIMIT: Duration = Duration::from_secs(2);

/// A RequestTime that no setting should let in.
const STALE_SECONDS: u64 = 24 * 60 * 60;

/// The status and ErrorCode that are right.
const STORED: (u16, u64) = (200, 0);
const NOT_GENUINE: (u16, u64) = (403, 120_004);

/// Checks a deployment with a life of a group, signed as Chat would sign it
///
/// Each run plays a group of its own (created, joined, left, renamed, handed over, destroyed), and then
/// sends a repeat, a forged callback and a stale one. It fails unless every answer is right and in time.
///
/// Example: chat-groups verify --url https://….amazonaws.com/ --sdk-app-id 1400000001 --token-file token
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The callback URL, as it stands in Chat's console
    #[arg(long, env = "URL")]
    url: String,
    /// The application's SdkAppid
    #[arg(long, env = "SDK_APP_ID")]
    sdk_app_id: u64,
    /// A file with the callback token
    #[arg(long, env = "TOKEN_FILE", required_unless_present = "token")]
    token_file: Option<PathBuf>,
    /// The token itself, without a file; as a variable only, since every process list shows command lines
    #[arg(long, env = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The table's name: the roster is checked after each step, and the items are removed at the end
    #[arg(long, env = "TABLE_NAME")]
    table_name: Option<String>,
}

/// Plays and checks; an error is what is wrong.
pub async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    if !check(args).await? {
        return Err("something is wrong; docs/operate.md says what to do about an ErrorCode".into());
    }
    println!("\nAll is as it should be.");
    Ok(())
}

async fn check(args: Args) -> Result<bool, Box<dyn Error>> {
    let app_id = args.sdk_app_id;
    let token = match args.token_file {
        Some(path) => read_token(&path)?,
        None => args.token.unwrap_or_default(),
    };
    Token::new(&token).ok_or("TOKEN: expected 1 to 128 characters")?;
    let trust = trust(&|name| std::env::var(name))?;
    let sender = Sender { poster: Poster::new(args.url, trust), token, app_id };
    let now = to_millis(SystemTime::now());
    let group = Group::new(format!("{GROUP}-{now}"), "Work");
    let mut created = group.created(now, OWNER, &[MEMBER, OWNER]);
    created["Name"] = "make verify".into();
    let steps = life(created, NEWCOMER);
    let table = args.table_name.map(|name| Table::new(name, app_id, group.id.clone())).transpose()?;

    println!("A short life of the group {}:\n", group.id);
    let mut right = true;
    for count in 1..=steps.len() {
        right &= step(&sender, table.as_ref(), steps.get(..count).unwrap_or_default()).await?;
    }
    right &= refusals(&sender, &steps).await;
    match table {
        Some(table) => right &= table.clear().await?,
        None => {
            println!("\nWith TABLE_NAME, the roster is checked after each step, and the items are removed.")
        }
    }
    Ok(right)
}

/// Plays the last of these steps, and looks at the table where there is access to it.
async fn step(sender: &Sender, table: Option<&Table>, steps: &[Step]) -> Result<bool, Box<dyn Error>> {
    let Some(step) = steps.last() else {
        return Ok(true);
    };
    let answered = report(step.name, sender.genuine(step).await, STORED);
    match table {
        Some(table) => Ok(answered & table.check(steps).await?),
        None => Ok(answered),
    }
}

/// Sends the first step again, genuine, forged and stale.
async fn refusals(sender: &Sender, steps: &[Step]) -> bool {
    let Some(first) = steps.first() else {
        return false;
    };
    let forger = Sender { token: "0".repeat(64), poster: sender.poster.clone(), app_id: sender.app_id };
    let stale = to_millis(SystemTime::now()) / 1000 - STALE_SECONDS;
    let mut right = true;
    for (name, answer, expected) in [
        ("the first again", sender.genuine(first).await, STORED),
        ("a forged one", forger.genuine(first).await, NOT_GENUINE),
        ("a stale one", sender.post(first, stale).await, NOT_GENUINE),
    ] {
        right &= report(name, answer, expected);
    }
    right
}

/// Sends callbacks as Chat does.
struct Sender {
    poster: Poster,
    token: String,
    app_id: u64,
}

impl Sender {
    async fn genuine(&self, step: &Step) -> Result<Answer, String> {
        self.post(step, to_millis(SystemTime::now()) / 1000).await
    }

    async fn post(&self, step: &Step, request_time: u64) -> Result<Answer, String> {
        let signer = Signer {
            token: self.token.clone(),
            sdk_app_id: self.app_id.to_string(),
            request_time: request_time.to_string(),
        };
        let command = step.body["CallbackCommand"].as_str().unwrap_or_default();
        self.poster.post(&signer.query(command), &step.body.to_string()).await
    }
}

/// Says whether the answer and its time were right.
fn report(name: &str, answer: Result<Answer, String>, (status, code): (u16, u64)) -> bool {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            println!("WRONG  {name}: no answer: {error}");
            return false;
        }
    };
    let milliseconds = answer.time.as_millis();
    let right = answer.status == status && answer.error_code() == Some(code) && answer.time < LIMIT;
    if right {
        println!("right  {name}: {status} with ErrorCode {code}, in {milliseconds} ms");
    } else {
        println!(
            "WRONG  {name}: expected {status} with ErrorCode {code} within {} ms, got {} {}, in {milliseconds} ms",
            LIMIT.as_millis(),
            answer.status,
            answer.text
        );
    }
    right
}

fn read_token(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("TOKEN_FILE: {}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}
