//! What became of a callback: the answer to Chat and the one log line.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use lambda_http::Body;
use lambda_http::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use lambda_http::http::{Response, StatusCode};
use serde::Serialize;

use crate::callback::{ParameterError, Query};
use crate::group::{BodyError, GroupCreated};
use crate::queue::{Message, QueueError};
use crate::redrive::RedriveError;
use crate::signature::SignatureError;
use crate::store::{StoreError, Stored};

/// The largest body that is read, in bytes.
pub const BODY_MAX_BYTES: usize = 256 * 1024;

/// What became of a callback.
#[derive(Debug)]
pub enum Outcome {
    /// The table has taken it, or had reason not to.
    Stored(Stored),
    /// It is a command that is not handled here.
    Ignored,
    /// The table did not take it; it is safe in the retry queue.
    Queued(StoreError),
    /// It is not what it should be.
    Rejected(Refusal),
    /// It is genuine, and the queue did not take what had to go there.
    Lost {
        /// What is answered.
        refusal: Refusal,
        /// Why the queue did not take it.
        error: QueueError,
        /// The callback itself, for the log.
        message: Message,
    },
}

/// Why a callback is not answered OK.
#[derive(Debug)]
pub enum Refusal {
    /// The body can't be read.
    Body(BodyError),
    /// The URL parameters are not what Chat sends.
    Parameter(ParameterError),
    /// It is meant for another application.
    OtherApplication,
    /// The sender is not known to be Chat.
    Signature(SignatureError),
    /// The method is not POST.
    Method,
    /// The body is larger than [`BODY_MAX_BYTES`].
    TooLarge,
    /// Neither the table nor the queue took it.
    Unavailable(StoreError),
}

impl Refusal {
    /// The HTTP status and Chat's ErrorCode, one of those (120001 to 130000) that are left to applications.
    pub fn codes(&self) -> (StatusCode, u32) {
        match self {
            Self::Body(BodyError::Field { .. }) => (StatusCode::BAD_REQUEST, 120_001),
            Self::Body(BodyError::OtherCommand)
            | Self::Parameter(_)
            | Self::Signature(SignatureError::NoRequestTime(_)) => (StatusCode::BAD_REQUEST, 120_002),
            Self::OtherApplication => (StatusCode::FORBIDDEN, 120_003),
            Self::Signature(_) => (StatusCode::FORBIDDEN, 120_004),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, 120_005),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 120_006),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, 120_007),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Parameter(error) => error.fmt(f),
            Self::OtherApplication => {
                f.write_str("URL parameter SdkAppid: expected the application of this receiver")
            }
            Self::Signature(error) => error.fmt(f),
            Self::Method => f.write_str("method: expected POST"),
            Self::TooLarge => write!(f, "body: expected at most {BODY_MAX_BYTES} bytes"),
            Self::Unavailable(_) => f.write_str("the event could not be kept; please send it again"),
        }
    }
}

impl From<ParameterError> for Refusal {
    fn from(error: ParameterError) -> Self {
        Self::Parameter(error)
    }
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        Self::Signature(error)
    }
}

/// The body of every answer, in the vendor's form.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    action_status: &'a str,
    error_info: &'a str,
    error_code: u32,
}

impl Stored {
    /// Its name in the log.
    fn name(self) -> &'static str {
        match self {
            Self::New => "stored",
            Self::Duplicate => "duplicate",
            Self::Replaced => "replaced",
            Self::Stale => "stale",
        }
    }
}

impl Outcome {
    /// Why the answer is not OK, if it is not.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Rejected(refusal) | Self::Lost { refusal, .. } => Some(refusal),
            Self::Stored(_) | Self::Ignored | Self::Queued(_) => None,
        }
    }

    /// The answer for the gateway.
    pub fn response(&self) -> Response<Body> {
        let error_info = self.refusal().map(Refusal::to_string).unwrap_or_default();
        let (status, error_code) = self.refusal().map_or((StatusCode::OK, 0), Refusal::codes);
        let answer = Answer {
            action_status: if error_code == 0 { "OK" } else { "FAIL" },
            error_info: &error_info,
            error_code,
        };
        let mut response = Response::new(Body::Text(json(&answer)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }

    /// Its level and its name in the log.
    fn label(&self) -> (&'static str, &'static str) {
        match self {
            Self::Stored(stored) => ("INFO", stored.name()),
            Self::Ignored => ("INFO", "ignored"),
            Self::Queued(_) => ("WARN", "queued"),
            Self::Rejected(_) => ("WARN", "rejected"),
            Self::Lost { .. } => ("ERROR", "lost"),
        }
    }

    /// What failed underneath, with its causes.
    fn error(&self) -> Option<String> {
        match self {
            Self::Queued(error) => Some(causes(error)),
            Self::Lost { refusal, error, .. } => Some(match refusal {
                Refusal::Unavailable(table) => format!("{}; {}", causes(table), causes(error)),
                _ => causes(error),
            }),
            Self::Stored(_) | Self::Ignored | Self::Rejected(_) => None,
        }
    }
}

/// The one log line of a callback. It never holds a token, a Sign or a body; `lost` alone carries the event.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Record {
    /// When the line was written.
    pub timestamp: String,
    /// `INFO`, `WARN` (somebody may have to look) or `ERROR` (somebody has to act).
    pub level: &'static str,
    /// What became of the callback.
    pub outcome: &'static str,
    /// ErrorCode of the answer; 0 for OK.
    pub error_code: u32,
    /// ErrorInfo of the answer; nothing for OK.
    pub error_info: Option<String>,
    /// The command in the URL.
    pub callback_command: Option<String>,
    /// The group, once the body is read.
    pub group_id: Option<String>,
    /// How many members it has.
    pub member_count: Option<usize>,
    /// The end user's platform.
    pub opt_platform: Option<String>,
    /// Chat's id of the request.
    pub request_id: Option<String>,
    /// From the start of the handler to the answer.
    pub duration_ms: f64,
    /// Whether this was the first callback of its process.
    pub cold_start: bool,
    /// What failed underneath.
    pub error: Option<String>,
    /// The queue message of a lost event, to be put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Message>,
}

impl Record {
    /// Takes over what the URL says of the callback.
    pub fn describe(&mut self, query: &Query<'_>) {
        self.callback_command = query.callback_command().ok().map(str::to_owned);
        self.opt_platform = query.opt_platform().map(str::to_owned);
        self.request_id = query.request_id().map(str::to_owned);
    }

    /// Takes over what the body says of the group.
    pub fn describe_group(&mut self, event: &GroupCreated) {
        self.group_id = Some(event.group_id.clone());
        self.member_count = Some(event.members.len());
    }

    /// Completes the record of a callback, `now` in milliseconds since the Unix epoch.
    pub fn finish(&mut self, outcome: &Outcome, duration: Duration, now: u64) {
        (self.level, self.outcome) = outcome.label();
        self.error_code = outcome.refusal().map_or(0, |refusal| refusal.codes().1);
        self.error_info = outcome.refusal().map(Refusal::to_string);
        self.error = outcome.error();
        if let Outcome::Lost { message, .. } = outcome {
            self.event = Some(message.clone());
        }
        self.time(duration, now);
    }

    /// Completes the record of a message from the retry queue.
    pub fn finish_redrive(&mut self, stored: &Result<Stored, RedriveError>, duration: Duration, now: u64) {
        (self.level, self.outcome) = match stored {
            Ok(stored) => ("INFO", stored.name()),
            Err(_) => ("WARN", "failed"),
        };
        self.error = stored.as_ref().err().map(|error| causes(error));
        self.time(duration, now);
    }

    fn time(&mut self, duration: Duration, now: u64) {
        let now = DateTime::from_millis(i64::try_from(now).unwrap_or(i64::MAX));
        self.timestamp = now.fmt(DateTimeFormat::DateTime).unwrap_or_default();
        self.duration_ms = (duration.as_secs_f64() * 100_000.0).round() / 100.0;
    }

    /// The line, without its end.
    pub fn to_line(&self) -> String {
        json(self)
    }
}

/// An error with all of its sources, for a log.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Serializes what can't fail to serialize: structs of strings and numbers.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
