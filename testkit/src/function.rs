//! A function as a process of its own, behind a Lambda Runtime API on loopback.

use std::error::Error;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use crate::runtime_api::RuntimeApi;
use crate::{local, samples, table};

/// How long an invocation may take before it counts as failed, and what the function is told of that.
const INVOCATION_TIMEOUT: Duration = Duration::from_secs(60);
const TIME_LIMIT: Duration = Duration::from_secs(30);

type Answer = Result<Value, String>;

/// A running function.
pub struct Function {
    child: Child,
    invocations: mpsc::Sender<Invocation>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Function {
    /// Starts a function's binary with these environment variables, credentials, and no others.
    pub async fn start(binary: &Path, env: &[(&str, &str)]) -> io::Result<Self> {
        let api = RuntimeApi::start().await?;
        let mut child = Command::new(binary)
            .env_clear()
            .envs(local::CREDENTIALS)
            .envs(env.iter().copied())
            .env("AWS_LAMBDA_RUNTIME_API", &api.address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "function")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let lines = Arc::new(Mutex::default());
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(collect(BufReader::new(stdout), Arc::clone(&lines)));
        }
        let (invocations, waiting) = mpsc::channel(1);
        tokio::spawn(async move { invoke_in_turn(api, waiting).await.ok() });
        Ok(Self { child, invocations, lines })
    }

    /// Starts a function that `cargo build --release` made, wherever this program was built.
    pub async fn start_release(name: &str, env: &[(&str, &str)]) -> Result<Self, Box<dyn Error>> {
        let binary = std::env::current_exe()?.with_file_name("").join("../release").join(name);
        let function = Self::start(&binary, env).await;
        Ok(function.map_err(|error| format!("{}: {error}", binary.display()))?)
    }

    /// Starts `webhook` or `redrive` as released, with its table and its queue at these URLs.
    pub async fn start_with(name: &str, table_url: &str, queue_url: &str) -> Result<Self, Box<dyn Error>> {
        let env = [
            ("TABLE_NAME", table::TABLE_NAME),
            ("SDK_APP_ID", samples::SDK_APP_ID),
            ("CALLBACK_TOKENS", samples::TOKEN),
            // The sample's Sign is as old as the vendor's example.
            ("MAX_REQUEST_AGE_SECONDS", "1000000000"),
            ("RETRY_QUEUE_URL", queue_url),
            ("AWS_ENDPOINT_URL_DYNAMODB", table_url),
            ("AWS_ENDPOINT_URL_SQS", queue_url),
        ];
        Self::start_release(name, &env).await
    }

    /// Starts `publish` as released, with its table, its history and its bus at these URLs. An empty one leaves out the history, or the
    /// bus.
    pub async fn start_publish(table_url: &str, bus_url: &str) -> Result<Self, Box<dyn Error>> {
        let bus = "arn:aws:events:local:123456789012:event-bus/changes";
        let env = [
            ("TABLE_NAME", table::TABLE_NAME),
            ("SDK_APP_ID", samples::SDK_APP_ID),
            ("HISTORY_TABLE_NAME", if table_url.is_empty() { "" } else { table::HISTORY_TABLE_NAME }),
            ("EVENT_BUS_ARN", if bus_url.is_empty() { "" } else { bus }),
            ("AWS_ENDPOINT_URL_DYNAMODB", table_url),
            ("AWS_ENDPOINT_URL_EVENTBRIDGE", bus_url),
        ];
        Self::start_release("publish", &env).await
    }

    /// Invokes the function with an event; an error is what it reported, or that it is gone.
    pub async fn invoke(&self, event: Value) -> Answer {
        self.invoke_within(event, TIME_LIMIT).await
    }

    /// The same with another time limit.
    pub async fn invoke_within(&self, event: Value, limit: Duration) -> Answer {
        let (sender, answer) = oneshot::channel();
        self.invocations.send((event, limit, sender)).await.map_err(|_| "the function is gone")?;
        let answer = tokio::time::timeout(limit + INVOCATION_TIMEOUT, answer).await;
        answer.map_err(|_| "no answer")?.map_err(|_| "the function is gone")?
    }

    /// Kills the process, as `kill -9` does.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Waits until the process has ended by itself; whether it called that a success.
    pub async fn ended(&mut self) -> io::Result<bool> {
        Ok(self.child.wait().await?.success())
    }

    /// The most memory that the process has used, as Linux tells it.
    pub fn peak_memory(&self) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(peak.trim().to_owned())
    }

    /// Lets the most memory count from now on.
    pub fn reset_peak_memory(&self) -> io::Result<()> {
        let id = self.child.id().ok_or(io::ErrorKind::NotFound)?;
        std::fs::write(format!("/proc/{id}/clear_refs"), "5")
    }

    /// What it has written to standard output.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn collect(stdout: BufReader<tokio::process::ChildStdout>, lines: Arc<Mutex<Vec<String>>>) {
    let mut stdout = stdout.lines();
    while let Ok(Some(line)) = stdout.next_line().await {
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// An event, its time limit, and where its answer goes.
type Invocation = (Value, Duration, oneshot::Sender<Answer>);

/// A function takes one event at a time.
async fn invoke_in_turn(mut api: RuntimeApi, mut waiting: mpsc::Receiver<Invocation>) -> Result<(), String> {
    for number in 0.. {
        let next = api.next().await?;
        let Some((event, limit, sender)) = waiting.recv().await else { break };
        next.send(number, event.to_string().into_bytes(), limit)?;
        let answer = api.answer().await?.accept();
        let answer = answer.and_then(|body| serde_json::from_slice(&body).map_err(|error| error.to_string()));
        // Nobody waits any more where the invocation has timed out.
        sender.send(answer).ok();
    }
    Ok(())
}
