//! One process under the Lambda Runtime API.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::Function;
use crate::cpu::Share;
use crate::database::TABLE_NAME;
use crate::dynamodb::DynamoDb;
use crate::receiver::Receiver;
use crate::runtime_api::RuntimeApi;

/// No process takes longer than this.
const LIMIT: Duration = Duration::from_secs(120);
const TOKEN: &str = "a-token";
const SDK_APP_ID: &str = "1400000001";

/// What a process is given to do.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    pub function: &'a Function,
    pub share: &'a Share,
    pub kind: Kind,
    /// The events, of which the first is the cold one.
    pub events: usize,
    /// How long a process waits for each later one.
    pub pause: Duration,
    pub way: Way,
    /// How long DynamoDB holds each answer back.
    pub hold: Duration,
    /// Whether each event is forwarded too.
    pub forward: bool,
    /// Whether the process runs under callgrind, some fifty times as slowly.
    pub counts_instructions: bool,
}

/// What each event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A group was created, with so many members.
    Creation(usize),
    /// An account has joined.
    Join,
    /// Queued creations of 99, for `redrive`: so many in a batch.
    Batch(usize),
}

impl Kind {
    /// Its name in the tables.
    pub fn name(self) -> String {
        match self {
            Self::Creation(members) => format!("creation of {members}"),
            Self::Join => "join of one".to_owned(),
            Self::Batch(size) => format!("{size} queued creations of 99"),
        }
    }
}

/// How the function reaches its DynamoDB.
#[derive(Clone, Copy)]
pub enum Way {
    /// Over TLS, trusting the one authority that SSL_CERT_FILE names.
    Tls,
    /// Over plain HTTP, with no SSL_CERT_FILE: the trust for AWS's own end points is made ready all the same.
    DefaultTrust,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Run {
    /// From the process's start until it asked for the first event.
    pub ready: Duration,
    /// CPU time until then.
    pub ready_cpu: Duration,
    /// From the process's start until it had answered the first event, without the time it waited for that event.
    pub first: Duration,
    /// CPU time until then.
    pub first_cpu: Duration,
    /// Each later event, from its delivery to its answer.
    pub warm: Vec<Duration>,
    /// All later events, pauses included.
    pub warm_wall: Duration,
    /// CPU time of all later events.
    pub warm_cpu: Duration,
    /// The most memory it held, in KiB.
    pub peak_kib: u64,
    /// Requests to DynamoDB for the last event.
    pub requests: usize,
    /// The waves of parallel requests among them.
    pub waves: usize,
    /// Write units of the last event.
    pub write_units: f64,
    /// What the function logged of the last event; null of one that logs nothing.
    pub record: Value,
    /// The instructions of all events and of the start, the kernel's left out; 0 if they are not counted.
    pub instructions: u64,
}

/// Starts a process, hands it its events and ends it.
///
/// It has a DynamoDB of its own, whose authority's certificate goes into `folder`, as does what the process logs.
pub async fn run(work: Work<'_>, folder: &Path) -> Result<Run, Box<dyn Error>> {
    tokio::time::timeout(LIMIT, serve(work, folder)).await?
}

async fn serve(work: Work<'_>, folder: &Path) -> Result<Run, Box<dyn Error>> {
    let database = DynamoDb::start(folder, work.hold).await?;
    let mut api = RuntimeApi::start().await?;
    let receiver = Receiver::start().await?;
    let (log, counts) = (folder.join("log"), folder.join("callgrind.out"));
    let events = Events::new(work.kind)?;
    // The shell waits, so that the time counts from the exec of the binary.
    let mut command = Command::new("sh");
    command.args(["-c", "read go; exec \"$@\"", "sh"]);
    if work.counts_instructions {
        let counts = counts.display();
        command.args(["valgrind", "--tool=callgrind", "--log-file=/dev/null"]);
        command.arg(format!("--callgrind-out-file={counts}"));
    }
    command
        .arg(&work.function.binary)
        .env_clear()
        .envs(work.function.tunables.map(|tunables| ("GLIBC_TUNABLES", tunables)))
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", api.address.as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("TABLE_NAME", TABLE_NAME),
            ("SDK_APP_ID", SDK_APP_ID),
            ("CALLBACK_TOKENS", TOKEN),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "bench"),
            ("AWS_SECRET_ACCESS_KEY", "bench"),
            ("AWS_ENDPOINT_URL_SQS", &receiver.url),
            ("RETRY_QUEUE_URL", &receiver.url),
        ])
        .stdin(Stdio::piped())
        .stdout(File::create(&log)?)
        .kill_on_drop(true);
    match work.way {
        Way::Tls => {
            command.env("AWS_ENDPOINT_URL_DYNAMODB", &database.url).env("SSL_CERT_FILE", &database.authority)
        }
        Way::DefaultTrust => command.env("AWS_ENDPOINT_URL_DYNAMODB", &database.plain_url),
    };
    if work.forward {
        command.env("FORWARD_URL", &receiver.url);
    }
    let mut process = command.spawn()?;
    let id = process.id().ok_or("the process ended at once")?;
    let mut go = process.stdin.take().ok_or("no standard input")?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let before = cpu_time(id)?;

    let start = Instant::now();
    go.write_all(b"\n").await?;
    let mut run = Run::default();
    let mut first_end = start;
    for number in 0..work.events {
        let next = api.next().await?;
        if number == 0 {
            run.ready = next.at - start;
            run.ready_cpu = cpu_time(id)? - before;
            // As Lambda does, which grants the start a whole CPU.
            work.share.limit(id)?;
        } else if !work.pause.is_zero() {
            tokio::time::sleep(work.pause).await;
        }
        if number + 1 == work.events {
            database.log.lock().map_err(|_| "a connection failed")?.clear();
        }
        let event = events.next(number);
        let sent = Instant::now();
        next.send(number, event, LIMIT)?;
        let answer = api.answer().await?;
        let end = answer.at;
        let response: Value =
            serde_json::from_slice(answer.result.as_ref().map_err(String::clone)?).unwrap_or_default();
        // Under callgrind, the first event may take too long: it connects.
        let may_fail = work.counts_instructions && number == 0;
        let is_done = match work.kind {
            Kind::Batch(_) => response["batchItemFailures"] == json!([]),
            _ => response["statusCode"] == 200,
        };
        if !is_done && !may_fail {
            return Err(format!("expected status 200, or a batch without failures, found {response}").into());
        }
        if number == 0 {
            run.first = run.ready + (end - sent);
            run.first_cpu = cpu_time(id)? - before;
            first_end = Instant::now();
        } else {
            run.warm.push(end - sent);
        }
        answer.accept()?;
    }
    run.warm_wall = first_end.elapsed();
    run.warm_cpu = cpu_time(id)? - before - run.first_cpu;
    run.peak_kib = peak_kib(id)?;
    if work.counts_instructions {
        // It writes its counts when it is asked to end.
        Command::new("sh").args(["-c", "kill \"$0\"", &id.to_string()]).status().await?;
        process.wait().await?;
        run.instructions = total(&counts)?;
    } else {
        process.kill().await?;
    }
    let seen = database.log.lock().map_err(|_| "a connection failed")?;
    run.requests = seen.len();
    run.write_units = seen.iter().map(|seen| seen.write_units).sum();
    run.waves = waves(seen.iter().map(|seen| (seen.begin, seen.end)).collect());
    drop(seen);
    run.record = last_line(&log)?;
    Ok(run)
}

/// How often requests began only after all those before had ended.
fn waves(mut requests: Vec<(Instant, Instant)>) -> usize {
    requests.sort();
    let mut waves = 0;
    let mut last_end = None;
    for (begin, end) in requests {
        waves += usize::from(last_end.is_none_or(|last| begin > last));
        last_end = last_end.max(Some(end));
    }
    waves
}

/// Callbacks as an HTTP API hands them over: each creation of a group of its own, each join of another account.
struct Events {
    kind: Kind,
    event: Value,
    body: Value,
    /// Milliseconds since the Unix epoch.
    received_at: u64,
}

impl Events {
    fn new(kind: Kind) -> Result<Self, Box<dyn Error>> {
        let mut event: Value = serde_json::from_str(include_str!("../../events/http-api.json"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let received_at = u64::try_from(now.as_millis())?;
        let body = match kind {
            Kind::Creation(_) | Kind::Batch(_) => {
                let members = if let Kind::Creation(members) = kind { members } else { 99 };
                let mut body: Value = serde_json::from_str(event["body"].as_str().ok_or("expected a body")?)?;
                body["MemberList"] = (0..members).map(member).collect();
                body
            }
            Kind::Join => json!({
                "CallbackCommand": "Group.CallbackAfterNewMemberJoin", "GroupId": "@TGS#2J4SZEAEL", "Type": "Public",
                "JoinType": "Apply", "Operator_Account": "leckie", "EventTime": received_at,
            }),
        };
        let time = now.as_secs().to_string();
        let sign = hex::encode(Sha256::digest(format!("{TOKEN}{time}")));
        let command = body["CallbackCommand"].as_str().ok_or("expected a command")?;
        event["rawQueryString"] = format!(
            "CallbackCommand={command}&ClientIP=203.0.113.7&OptPlatform=RESTAPI\
             &RequestTime={time}&SdkAppid={SDK_APP_ID}&Sign={sign}&contenttype=json"
        )
        .into();
        Ok(Self { kind, event, body, received_at })
    }

    fn next(&self, number: usize) -> Vec<u8> {
        let (mut event, mut body) = (self.event.clone(), self.body.clone());
        if let Kind::Batch(size) = self.kind {
            let records = (0..size).map(|index| {
                body["GroupId"] = format!("@TGS#{number:06}{index:03}").into();
                let message = json!({
                    "received_at": self.received_at, "query": event["rawQueryString"], "body": body.to_string(), "pending": "table",
                });
                json!({ "messageId": index.to_string(), "eventSource": "aws:sqs", "body": message.to_string() })
            });
            return json!({ "Records": records.collect::<Vec<_>>() }).to_string().into_bytes();
        }
        match self.kind {
            Kind::Join => body["NewMemberList"] = json!([member(number)]),
            _ => body["GroupId"] = format!("@TGS#{number:09}").into(),
        }
        event["body"] = body.to_string().into();
        event.to_string().into_bytes()
    }
}

fn member(number: usize) -> Value {
    json!({ "Member_Account": format!("user-{number:04}") })
}

/// The sum of the instructions that callgrind counted, save those of SHA-256: it hides the processor's own instructions
/// for it, which Lambda's arm64 machines have.
fn total(counts: &Path) -> Result<u64, Box<dyn Error>> {
    let counts = std::fs::read_to_string(counts)?;
    // A name stands where its number comes first, in a caller's lines or in its own.
    let named = counts.lines().filter_map(|line| line.strip_prefix("fn=").or(line.strip_prefix("cfn=")));
    let named = named.filter_map(|function| function.split_once(' '));
    let names: HashMap<&str, &str> = named.collect();
    if !names.values().any(|name| name.contains("tokio::")) {
        return Err("expected a binary with symbols: CARGO_PROFILE_RELEASE_STRIP=false".into());
    }
    let (mut sum, mut is_sha256, mut is_call) = (0, false, false);
    for line in counts.lines() {
        if let Some(function) = line.strip_prefix("fn=") {
            let number = function.split(' ').next().unwrap_or_default();
            is_sha256 = names.get(number).is_some_and(|name| name.contains("sha2::"));
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            // The line after a call has the costs of the called function, which are counted there.
            if !std::mem::take(&mut is_call) && !is_sha256 {
                sum += line.split(' ').nth(1).unwrap_or_default().parse::<u64>()?;
            }
        }
    }
    Ok(sum)
}

fn last_line(log: &Path) -> Result<Value, Box<dyn Error>> {
    let log = std::fs::read_to_string(log)?;
    Ok(log.lines().next_back().map(serde_json::from_str).transpose()?.unwrap_or_default())
}

/// The CPU time that the threads of a process have had.
fn cpu_time(id: u32) -> Result<Duration, Box<dyn Error>> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn peak_kib(id: u32) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("expected VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
