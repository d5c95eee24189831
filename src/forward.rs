//! The downstream receiver: the team's own, which gets every genuine callback as it came.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::de::IgnoredAny;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::callback::{Query, Token};
use crate::http::{self, HttpClient, HttpError, Response};
use crate::time::to_seconds;

/// Marks a callback that this service forwarded. A request that bears it has come back in a loop.
pub const LOOP_HEADER: &str = "x-chat-groups-forwarded";

/// The largest answer that is relayed, in bytes.
const ANSWER_MAX_BYTES: usize = 512 * 1024;

/// How long an answer that nobody needs is read, so that its connection can be used again.
const DRAIN: Duration = Duration::from_millis(50);

/// How long the body of an answer may take after its head, unless it is a decision.
const BODY_TIMEOUT: Duration = Duration::from_millis(200);

/// Consecutive timeouts that open a breaker.
const MAX_TIMEOUTS: u32 = 3;

/// The interval between probes while it is open.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The URL of the downstream receiver. Its `Debug` does not show it: its query may hold a secret.
#[derive(Clone)]
pub struct ForwardUrl(String);

impl ForwardUrl {
    /// Takes https, or http on a loopback or private address, without a fragment and without credentials.
    pub fn new(text: &str) -> Option<Self> {
        let is_private = |address| match address {
            IpAddr::V4(address) => address.is_loopback() || address.is_private(),
            IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
        };
        let url = http::parse(text)?;
        http::is_https_or(&url, is_private).then(|| Self(text.to_owned()))
    }

    /// This URL with more parameters.
    fn with_query(&self, query: &str) -> String {
        let separator = match self.0.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        format!("{}{separator}{}", self.0, escape(query))
    }
}

/// A query string may have come with characters that no URL can hold, a space for one.
fn escape(query: &str) -> Cow<'_, str> {
    let is_legal = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>".contains(&byte);
    if query.bytes().all(is_legal) {
        return query.into();
    }
    let escaped = |byte| if is_legal(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    query.bytes().map(escaped).collect()
}

impl std::fmt::Debug for ForwardUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ForwardUrl(redacted)")
    }
}

/// The kind of answer that is needed from the downstream receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// A 2xx status: it has taken the callback.
    Status,
    /// The same, and the body of a 200, if it is JSON that comes in time.
    Json,
    /// A 200 with JSON in time, and nothing else.
    Decision,
}

/// Forwards callbacks.
#[derive(Debug)]
pub struct Forwarder {
    url: ForwardUrl,
    http: HttpClient,
    /// A receiver that is too slow for after-events, which have less time, may still decide in time.
    after_events: Breaker,
    decisions: Breaker,
}

impl Forwarder {
    /// Nothing is connected yet.
    pub fn new(url: ForwardUrl, http: HttpClient) -> Self {
        Self { url, http, after_events: Breaker::default(), decisions: Breaker::default() }
    }

    /// Posts an after-event. A 2xx status has taken it, whatever becomes of its body.
    pub async fn post(&self, query: &str, body: &[u8], deadline: Instant) -> Result<(), ForwardError> {
        self.ask(Want::Status, query, body, deadline).await.map(drop)
    }

    /// Posts a callback and returns the body that is wanted. Fails fast while the breaker is open: a hanging receiver must
    /// not take all of the account's concurrency.
    pub async fn relay(
        &self,
        want: Want,
        query: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Option<String>, ForwardError> {
        let breaker = if want == Want::Decision { &self.decisions } else { &self.after_events };
        breaker.enter()?;
        let answer = self.ask(want, query, body, deadline).await;
        breaker.leave(match &answer {
            Ok(Err(error)) => error.is_timeout() && want != Want::Status,
            Ok(Ok(_)) => false,
            Err(error) => error.is_timeout(),
        });
        match want {
            Want::Status => answer.map(|_| None),
            Want::Json => answer.map(Result::ok),
            Want::Decision => answer?.map(Some),
        }
    }

    /// Posts a callback: has it been taken, and if so, with which body?
    async fn ask(
        &self,
        want: Want,
        query: &str,
        body: &[u8],
        deadline: Instant,
    ) -> Result<Result<String, ForwardError>, ForwardError> {
        let response = timeout_at(deadline, self.send(want, query, body)).await;
        let response = response.map_err(|_| ForwardError::TimedOut)??;
        let body_deadline = match want {
            Want::Status => deadline.min(Instant::now() + DRAIN),
            Want::Json => deadline.min(Instant::now() + BODY_TIMEOUT),
            Want::Decision => deadline,
        };
        match response.status() {
            200..=299 => Ok(read(response, body_deadline).await),
            status => Err(ForwardError::Status(status)),
        }
    }

    /// An after-event whose connection broke unanswered is sent once more, a decision never.
    async fn send(&self, want: Want, query: &str, body: &[u8]) -> Result<Response, HttpError> {
        let headers = [("content-type", "application/json"), (LOOP_HEADER, "1")];
        let url = self.url.with_query(query);
        match self.http.post(&url, &headers, body).await {
            Err(HttpError::Unanswered(_)) if want != Want::Decision => {
                self.http.post_anew(&url, &headers, body).await
            }
            result => result,
        }
    }
}

/// Reads the body of a 200, if it is JSON.
async fn read(response: Response, deadline: Instant) -> Result<String, ForwardError> {
    let status = response.status();
    let body = timeout_at(deadline, response.body(ANSWER_MAX_BYTES)).await;
    let body = body.map_err(|_| ForwardError::TimedOut)??;
    let text = String::from_utf8(body).map_err(|_| ForwardError::NotJson)?;
    match serde_json::from_str::<IgnoredAny>(&text) {
        _ if status != 200 => Err(ForwardError::Status(status)),
        Ok(_) => Ok(text),
        Err(_) => Err(ForwardError::NotJson),
    }
}

/// The query string of a callback that is delivered late: signed anew, because the downstream receiver checks freshness
/// too; without any sign where there is no token.
pub fn late_query(query: &Query<'_>, token: Option<&Token>, now: SystemTime) -> String {
    let rest = query.without(&["Sign", "RequestTime"]);
    let Some(token) = token else {
        return rest;
    };
    let request_time = to_seconds(now).to_string();
    let separator = if rest.is_empty() { "" } else { "&" };
    format!("{rest}{separator}RequestTime={request_time}&Sign={}", token.sign(&request_time))
}

/// A circuit breaker: after some timeouts in a row, one request an interval gets through, until one is answered.
#[derive(Debug, Default)]
struct Breaker(Mutex<BreakerState>);

#[derive(Debug, Default)]
struct BreakerState {
    timeouts: u32,
    next_probe: Option<Instant>,
}

impl Breaker {
    /// Whether a request may be made now.
    fn enter(&self) -> Result<(), ForwardError> {
        let (mut state, now) = (self.lock(), Instant::now());
        if state.timeouts < MAX_TIMEOUTS {
            return Ok(());
        }
        if state.next_probe.is_some_and(|next_probe| now < next_probe) {
            return Err(ForwardError::Skipped);
        }
        state.next_probe = Some(now + PROBE_INTERVAL);
        Ok(())
    }

    /// Notes whether the request timed out.
    fn leave(&self, timed_out: bool) {
        let mut state = self.lock();
        if timed_out {
            state.timeouts = state.timeouts.saturating_add(1);
            // From its end on: an attempt takes about as long as the interval, and an instance makes one at a time.
            state.next_probe = Some(Instant::now() + PROBE_INTERVAL);
        } else {
            *state = BreakerState::default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BreakerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the downstream receiver did not take a callback.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ForwardError {
    #[error("the downstream receiver did not answer in time")]
    TimedOut,
    #[error("the downstream receiver answered {0}")]
    Status(u16),
    #[error("the downstream receiver answered 200 with a body that is not JSON")]
    NotJson,
    #[error("the downstream receiver was not tried, as it did not answer before")]
    Skipped,
    #[error("the downstream receiver failed")]
    Failed(#[from] HttpError),
}

impl ForwardError {
    fn is_timeout(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Failed(error) => error.is_timeout(),
            Self::Status(_) | Self::NotJson | Self::Skipped => false,
        }
    }
}

#[cfg(test)]
mod tests;
