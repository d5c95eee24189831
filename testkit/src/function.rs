//! A function as a process of its own, behind a Lambda Runtime API on loopback.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

/// How long an invocation may take before it counts as failed.
const INVOCATION_TIMEOUT: Duration = Duration::from_secs(60);

type Answer = Result<Value, String>;

/// A running function.
pub struct Function {
    child: Child,
    invocations: mpsc::Sender<(Value, oneshot::Sender<Answer>)>,
    lines: Arc<Mutex<Vec<String>>>,
}

struct Api {
    waiting: AsyncMutex<mpsc::Receiver<(Value, oneshot::Sender<Answer>)>>,
    under_way: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

impl Function {
    /// Starts a function's binary with these environment variables and no others.
    pub async fn start(binary: &Path, env: &[(&str, &str)]) -> io::Result<Self> {
        let (invocations, waiting) = mpsc::channel(1);
        let api = Arc::new(Api { waiting: AsyncMutex::new(waiting), under_way: Mutex::default() });
        let app = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(answer))
            .with_state(api);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let mut child = Command::new(binary)
            .env_clear()
            .envs(env.iter().copied())
            .env("AWS_LAMBDA_RUNTIME_API", address)
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
        Ok(Self { child, invocations, lines })
    }

    /// Starts a function that `cargo build --release` made, wherever this program was built.
    pub async fn start_release(name: &str, env: &[(&str, &str)]) -> Result<Self, Box<dyn Error>> {
        let binary = std::env::current_exe()?.with_file_name("").join("../release").join(name);
        let function = Self::start(&binary, env).await;
        Ok(function.map_err(|error| format!("{}: {error}", binary.display()))?)
    }

    /// Invokes the function with an event; an error is what it reported, or that it is gone.
    pub async fn invoke(&self, event: Value) -> Answer {
        let (sender, answer) = oneshot::channel();
        self.invocations.send((event, sender)).await.map_err(|_| "the function is gone")?;
        let answer = tokio::time::timeout(INVOCATION_TIMEOUT, answer).await;
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

async fn next(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let Some((event, sender)) = api.waiting.lock().await.recv().await else {
        return Err(StatusCode::GONE);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = format!("{:032x}", now.as_nanos());
    let deadline = (now + Duration::from_secs(30)).as_millis();
    api.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), sender);
    let headers = AppendHeaders([
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:local:1:function:function".to_owned()),
    ]);
    Ok((headers, Json(event)))
}

async fn answer(
    State(api): State<Arc<Api>>,
    UrlPath((id, kind)): UrlPath<(String, String)>,
    body: String,
) -> StatusCode {
    let answer = match kind.as_str() {
        "response" => serde_json::from_str(&body).map_err(|error| error.to_string()),
        _ => Err(body),
    };
    let sender = api.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    // Nobody waits any more where the invocation has timed out.
    match sender.map(|sender| sender.send(answer)) {
        Some(Ok(())) => StatusCode::ACCEPTED,
        Some(Err(_)) | None => StatusCode::BAD_REQUEST,
    }
}
