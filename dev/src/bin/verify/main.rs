//! `make verify`: what an operator runs after a deployment, against the registered URL.

mod post;
mod table;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_groups::{Kept, Token, causes};
use post::{Answer, Poster};
use serde_json::{Value, json};

const AFTER_CREATE_GROUP: &str = Kept::AfterCreateGroup.name();

/// A custom GroupId that says where it comes from: the same at each run, so that there is never more than one.
const GROUP: &str = "chat-groups-verify";
const OWNER: &str = "verify-owner";
const MEMBERS: [&str; 2] = [OWNER, "verify-member"];

/// How long Chat waits.
const LIMIT: Duration = Duration::from_secs(2);

/// A RequestTime that no setting should let in.
const STALE_SECONDS: u64 = 24 * 60 * 60;

/// The status and ErrorCode that are right.
const STORED: (u16, u64) = (200, 0);
const NOT_GENUINE: (u16, u64) = (403, 120_004);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => {
            println!("\nAll is as it should be.");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            println!("\nSomething is wrong; docs/operate.md says what to do about an ErrorCode.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {}", causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool, Box<dyn Error>> {
    let app_id: u64 = setting("SDK_APP_ID")?.parse().map_err(|_| "SDK_APP_ID: expected a decimal number")?;
    let token = Token::new(&token()?).ok_or("TOKEN: expected 1 to 128 characters")?;
    let poster = Poster::new(setting("URL")?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let event_time = u64::try_from(now.as_millis())?;
    let body = sample(event_time).to_string();

    let query = |request_time: u64, sign: &str| {
        format!(
            "CallbackCommand={AFTER_CREATE_GROUP}&ClientIP=127.0.0.1&OptPlatform=RESTAPI\
             &RequestTime={request_time}&SdkAppid={app_id}&Sign={sign}&contenttype=json"
        )
    };
    let signed = |request_time: u64| query(request_time, &token.sign(&request_time.to_string()));
    let fresh = now.as_secs();
    let stale = fresh - STALE_SECONDS;
    let mut right = true;
    for (name, query, expected) in [
        ("a genuine sample", signed(fresh), STORED),
        ("the same again", signed(fresh), STORED),
        ("a forged one", query(fresh, &"0".repeat(64)), NOT_GENUINE),
        ("a stale one", signed(stale), NOT_GENUINE),
    ] {
        right &= report(name, poster.post(&query, &body).await, expected);
    }

    match std::env::var("TABLE_NAME").ok().filter(|name| !name.is_empty()) {
        Some(table) => right &= table::check(&table, app_id, event_time).await?,
        None => println!(
            "\nThe group {GROUP} stays in the table; with TABLE_NAME its items are shown and removed."
        ),
    }
    Ok(right)
}

fn sample(event_time: u64) -> Value {
    let members = MEMBERS.map(|account| json!({ "Member_Account": account }));
    json!({
        "CallbackCommand": AFTER_CREATE_GROUP, "GroupId": GROUP, "Type": "Work", "Name": "make verify",
        "Operator_Account": OWNER, "Owner_Account": OWNER, "MemberList": members, "EventTime": event_time,
    })
}

/// Says whether the answer and its time were right.
fn report(name: &str, answer: Result<Answer, Box<dyn Error>>, expected: (u16, u64)) -> bool {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            println!("WRONG  {name}: no answer: {}", causes(error.as_ref()));
            return false;
        }
    };
    let (status, code) = expected;
    let milliseconds = answer.time.as_millis();
    let right = answer.status == status && answer.error_code == Some(code);
    if right {
        println!("right  {name}: {status} with ErrorCode {code}");
    } else {
        println!(
            "WRONG  {name}: expected {status} with ErrorCode {code}, got {} {}",
            answer.status, answer.text
        );
    }
    let in_time = answer.time < LIMIT;
    println!(
        "{}  in {milliseconds} ms; Chat waits {} ms",
        if in_time { "right" } else { "WRONG" },
        LIMIT.as_millis()
    );
    right && in_time
}

/// From the file `TOKEN_FILE` or the environment: a command line is in every process list.
fn token() -> Result<String, String> {
    let path = std::env::var("TOKEN_FILE").ok().filter(|path| !path.is_empty());
    let Some(path) = path else {
        return setting("TOKEN");
    };
    let text = std::fs::read_to_string(&path).map_err(|error| format!("TOKEN_FILE: {path}: {error}"))?;
    Ok(text.trim().to_owned())
}

fn setting(name: &str) -> Result<String, String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| {
        format!("{name} is missing; usage: make verify URL=… TOKEN_FILE=… SDK_APP_ID=… [TABLE_NAME=…]")
    })
}
