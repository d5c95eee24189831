//! What a function writes: one line for each callback on standard output, and the rare line of a library.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::callback::Query;
use crate::event::Event;
use crate::queue::Message;
use crate::time::rfc3339;

/// The result of forwarding a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarded {
    /// The downstream receiver took it.
    Ok,
    /// It is safe in the forward queue.
    Queued,
    /// Neither.
    Failed,
}

/// The log line of one callback. It never holds a token, a Sign or a body; `lost` alone carries the event.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "docs/operate.md explains the fields")]
pub struct Record {
    pub timestamp: String,
    /// `INFO`, `WARN` (somebody may have to look) or `ERROR` (somebody has to act).
    pub level: &'static str,
    pub outcome: &'static str,
    /// ErrorCode of the answer; 0 for OK.
    pub error_code: u32,
    /// ErrorInfo of the answer.
    pub error_info: Option<String>,
    /// The command in the URL.
    pub callback_command: Option<String>,
    /// The group, once the body is read.
    pub group_id: Option<String>,
    /// How many accounts the event speaks of.
    pub member_count: Option<usize>,
    pub opt_platform: Option<String>,
    /// Chat's id of the request.
    pub request_id: Option<String>,
    /// From the start of the handler to the answer.
    pub duration_ms: f64,
    /// Whether this was the first callback of its process.
    pub cold_start: bool,
    /// What became of passing it on; absent without FORWARD_URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forwarded>,
    /// What failed underneath.
    pub error: Option<String>,
    /// The queue message of a lost event, to be put back; a list where both the table and the downstream receiver are owed
    /// it.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "one_or_list")]
    pub event: Vec<Message>,
}

impl Record {
    /// A line that says who sent what.
    pub fn new(query: &Query<'_>) -> Self {
        Self {
            callback_command: query.callback_command().ok().map(str::to_owned),
            opt_platform: query.opt_platform().map(str::to_owned),
            request_id: query.request_id().map(str::to_owned),
            ..Self::default()
        }
    }

    /// The same line, with what the body says.
    #[must_use]
    pub fn about(self, event: Option<&Event>) -> Self {
        Self {
            group_id: event.map(|event| event.key.group_id.clone()),
            member_count: event.map(|event| event.members.len()),
            ..self
        }
    }

    /// The same line, with the time that all took.
    #[must_use]
    pub fn timed(self, duration: Duration, now: SystemTime) -> Self {
        let duration_ms = (duration.as_secs_f64() * 100_000.0).round() / 100.0;
        Self { timestamp: rfc3339(now), duration_ms, ..self }
    }

    /// The line, without its end.
    pub fn to_line(&self) -> String {
        // Strings and numbers always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn one_or_list<S: Serializer>(messages: &Vec<Message>, serializer: S) -> Result<S::Ok, S::Error> {
    match messages.as_slice() {
        [message] => message.serialize(serializer),
        messages => messages.serialize(serializer),
    }
}

/// Sends what libraries have to say (a broken certificate, a panic that the runtime caught) to standard output, as JSON.
pub fn init() {
    tracing_subscriber::fmt().json().with_max_level(tracing::Level::WARN).init();
}

/// Writes a line.
pub fn write(line: &str) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{line}") {
        tracing::error!(%error, "a line could not be written");
    }
}

/// How a function's process ends; an error says why it can't go on.
pub fn exit_code(result: Result<(), Box<dyn Error + Send + Sync>>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    tracing::error!("{}", error_chain(error.as_ref()));
    ExitCode::FAILURE
}

/// An error with all of its sources.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
