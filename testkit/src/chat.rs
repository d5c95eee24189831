//! A stand-in for Chat's REST API: a real HTTP server over groups in memory, made from the vendor's tables.

mod command;
mod fault;
mod model;
mod usersig;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

use command::Question;
pub use fault::{Fault, Script};
pub use model::{Group, Member, Model};

/// The application that is served: who asks has to sign as its admin, with its key.
#[derive(Debug, Clone)]
pub struct Application {
    pub sdk_app_id: u64,
    pub admin_account: String,
    pub secret_key: String,
}

/// How the server behaves. The defaults are the vendor's.
#[derive(Debug, Clone)]
pub struct Behavior {
    /// The least time between two pages of the list of groups.
    pub list_interval: Duration,
    /// The calls of each other command that are answered in a second.
    pub calls_per_second: usize,
    /// The largest answer.
    pub answer_max_bytes: usize,
    /// What its clock is ahead of ours, in seconds.
    pub clock_skew_seconds: i64,
    /// Whether every number is sent as a string.
    pub numbers_as_text: bool,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            list_interval: Duration::from_secs(1),
            calls_per_second: 200,
            answer_max_bytes: 1024 * 1024,
            clock_skew_seconds: 0,
            numbers_as_text: false,
        }
    }
}

/// What is done to the groups just before a command is answered.
type Hook = Box<dyn FnMut(&str, &mut Model) + Send>;

/// The server, on loopback, and the handle to drive it.
#[derive(Clone)]
pub struct Chat {
    pub url: String,
    application: Arc<Application>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    model: Model,
    behavior: Behavior,
    scripts: BTreeMap<String, Script>,
    hook: Option<Hook>,
    calls: BTreeMap<String, Vec<Instant>>,
    /// Where pages of the list of groups ended.
    marks: Vec<String>,
    list_at: Option<Instant>,
}

/// Why a question is refused: ErrorCode and ErrorInfo.
type Refusal = (u32, &'static str);

impl Chat {
    pub async fn start(application: Application) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let chat = Self { url, application: Arc::new(application), state: Arc::default() };
        let app = Router::new().fallback(serve).with_state(chat.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(chat)
    }

    /// Changes the groups, or looks at them.
    pub fn groups<T>(&self, act: impl FnOnce(&mut Model) -> T) -> T {
        act(&mut self.state().model)
    }

    /// Changes the groups just before each answer: while pages are read, between two calls.
    pub fn before_each(&self, hook: impl FnMut(&str, &mut Model) + Send + 'static) {
        self.state().hook = Some(Box::new(hook));
    }

    /// Changes how the server behaves.
    pub fn behave(&self, act: impl FnOnce(&mut Behavior)) {
        act(&mut self.state().behavior);
    }

    /// Says what goes wrong with a command from now on.
    pub fn script(&self, command: &str, script: Script) {
        self.state().scripts.insert(command.to_owned(), script);
    }

    /// How often a command was called, refused and broken calls included.
    pub fn calls(&self, command: &str) -> usize {
        self.state().calls.get(command).map_or(0, Vec::len)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, command: &str, query: &str, body: &[u8]) -> Result<Value, Refusal> {
        usersig::check(query, &self.application)?;
        let body = serde_json::from_slice(body).map_err(|_| (60003, "request body is no JSON"))?;
        let state = &mut *self.state();
        if let Some(hook) = &mut state.hook {
            hook(command, &mut state.model);
        }
        state.admit(command)?;
        state.answer(command, Question(&body))
    }

    fn finish(&self, answer: Result<Value, Refusal>, fault: &Fault) -> Response {
        let behavior = self.state().behavior.clone();
        let mut answer = answer.unwrap_or_else(refused);
        fault.maim(&mut answer);
        if answer.to_string().len() > behavior.answer_max_bytes {
            answer = refused((10018, "response packet is too large"));
        }
        if behavior.numbers_as_text {
            numbers_as_text(&mut answer);
        }
        let skew = Duration::from_secs(behavior.clock_skew_seconds.unsigned_abs());
        let now = SystemTime::now();
        let now = if behavior.clock_skew_seconds < 0 { now - skew } else { now + skew };
        let headers = [
            (header::DATE, httpdate::fmt_http_date(now)),
            (header::CONTENT_TYPE, "application/json".to_owned()),
        ];
        (headers, answer.to_string()).into_response()
    }
}

impl State {
    /// Counts a call, and says what goes wrong with it.
    fn begin(&mut self, command: &str) -> Fault {
        self.calls.entry(command.to_owned()).or_default().push(Instant::now());
        self.scripts.get_mut(command).map_or(Fault::None, Script::next)
    }

    /// The limits of a command's frequency.
    fn admit(&mut self, command: &str) -> Result<(), Refusal> {
        let too_frequent = Err((60007, "requests exceed the frequency limit"));
        if command == "get_appid_group_list" {
            if self.list_at.is_some_and(|at| at.elapsed() < self.behavior.list_interval) {
                return too_frequent;
            }
            self.list_at = Some(Instant::now());
            return Ok(());
        }
        let recent = |at: &&Instant| at.elapsed() < Duration::from_secs(1);
        let calls = self.calls.get(command).map_or(0, |calls| calls.iter().rev().take_while(recent).count());
        if calls > self.behavior.calls_per_second { too_frequent } else { Ok(()) }
    }
}

async fn serve(Extract(chat): Extract<Chat>, method: Method, uri: Uri, body: Bytes) -> Response {
    let Some(command) =
        uri.path().strip_prefix("/v4/group_open_http_svc/").filter(|_| method == Method::POST)
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let fault = chat.state().begin(command);
    let answer = || chat.answer(command, uri.query().unwrap_or_default(), &body);
    let answer = match &fault {
        Fault::Hang => std::future::pending().await,
        Fault::Answer(status, body) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return (status, body.clone()).into_response();
        }
        Fault::Code(code) => Err((*code, "made up")),
        Fault::Slow(delay) => {
            sleep(*delay).await;
            answer()
        }
        Fault::Late(delay) => {
            let answer = answer();
            sleep(*delay).await;
            answer
        }
        Fault::None | Fault::Truncate | Fault::Empty => answer(),
    };
    chat.finish(answer, &fault)
}

fn refused((code, info): Refusal) -> Value {
    json!({ "ActionStatus": "FAIL", "ErrorCode": code, "ErrorInfo": info })
}

fn numbers_as_text(value: &mut Value) {
    match value {
        Value::Number(number) => *value = Value::String(number.to_string()),
        Value::Array(values) => values.iter_mut().for_each(numbers_as_text),
        Value::Object(fields) => fields.values_mut().for_each(numbers_as_text),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
