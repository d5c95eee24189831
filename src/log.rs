//! The log on standard output: one line for each callback, and the rare line of a library.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use miniz_oxide::deflate::compress_to_vec_zlib;
use serde::{Serialize, Serializer};

use crate::callback::{Query, SignedBy};
use crate::event::Event;
use crate::queue::{COMPRESSION_LEVEL, Message};
use crate::store::Effect;
use crate::time::{rfc3339, to_millis};

/// The most characters of a field that anybody can fill: Sign covers none of them.
const UNCHECKED_MAX_CHARS: usize = 128;

/// The most characters of an error, which may quote the answer of a service.
const ERROR_MAX_CHARS: usize = 2000;

/// The most characters of a lost event in one line. Lambda splits longer lines, and halves are not JSON.
const PART_MAX_CHARS: usize = 58_000;

/// The outcome of a callback, of a queued message or of a batch of `publish`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At least one fact was new.
    Stored,
    /// All of it was in the table.
    Duplicate,
    /// A new life of the group began.
    Replaced,
    /// Newer facts are in the table.
    Stale,
    /// Not kept and not forwarded, or without any fact.
    #[default]
    Ignored,
    /// The downstream receiver took it.
    Forwarded,
    /// It waits in a queue.
    Queued,
    /// The downstream receiver gave no decision.
    Undecided,
    /// Answered FAIL, or unreadable.
    Rejected,
    /// Neither the table (or the downstream receiver) nor a queue took it.
    Lost,
    /// A part of a lost event.
    LostPart,
    /// `publish` told all changes.
    Published,
    /// `redrive` or `publish` could not finish it; it comes again.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl From<Effect> for Outcome {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Stored => Self::Stored,
            Effect::Replaced => Self::Replaced,
            Effect::Stale => Self::Stale,
            Effect::Duplicate => Self::Duplicate,
        }
    }
}

/// The severity of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// All is well.
    #[default]
    Info,
    /// Somebody may have to look.
    Warn,
    /// Somebody has to act.
    Error,
}

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

/// The log line of one callback. It never holds a token, a Sign or a body; a lost event follows in lines of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "docs/operate.md explains the fields")]
pub struct Record {
    pub timestamp: String,
    pub level: Level,
    pub outcome: Outcome,
    /// ErrorCode of the answer; 0 for OK.
    pub error_code: u32,
    /// ErrorInfo of the answer.
    #[serde(serialize_with = "serialize_error")]
    pub error_info: Option<String>,
    /// The command in the URL.
    pub callback_command: Option<String>,
    /// The group, once the body is read.
    pub group_id: Option<String>,
    /// The number of accounts in the event.
    pub member_count: Option<usize>,
    pub opt_platform: Option<String>,
    /// Chat's id of the request.
    pub request_id: Option<String>,
    /// From the start of the handler to the answer.
    pub duration_ms: f64,
    /// Whether this was the first callback of its process.
    pub cold_start: bool,
    /// The result of forwarding; absent without FORWARD_URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forwarded>,
    /// The token that signed it; absent unless there are two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SignedBy>,
    /// The errors underneath.
    #[serde(serialize_with = "serialize_error")]
    pub error: Option<String>,
    /// The id of the lines that hold the lost event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_id: Option<String>,
    /// The queue messages of a lost event: one for each of the table and the downstream receiver.
    #[serde(skip)]
    pub lost: Vec<Message>,
}

/// A line with a part of a lost event.
#[derive(Debug, Serialize)]
struct LostPart<'a> {
    outcome: Outcome,
    lost_id: &'a str,
    /// From 1 on.
    part: usize,
    parts: usize,
    /// The parts' `data`, joined, is the base64 text of a zlib stream of JSON: a queue message, or a list of two.
    data: &'a str,
}

impl Record {
    /// A line with the parameters of the URL.
    pub fn new(query: &Query<'_>) -> Self {
        Self {
            callback_command: query.callback_command().ok().map(unchecked),
            opt_platform: query.opt_platform().map(unchecked),
            request_id: query.request_id().map(unchecked),
            ..Self::default()
        }
    }

    /// The same line, with the group and the number of accounts.
    #[must_use]
    pub fn about(self, event: Option<&Event>) -> Self {
        Self {
            group_id: event.map(|event| unchecked(&event.key.group_id)),
            member_count: event.map(|event| event.members.len()),
            ..self
        }
    }

    /// The same line, with the duration.
    #[must_use]
    pub fn timed(self, duration: Duration, now: SystemTime) -> Self {
        let duration_ms = (duration.as_secs_f64() * 100_000.0).round() / 100.0;
        let lost_id =
            (!self.lost.is_empty()).then(|| format!("{}-{:016x}", to_millis(now), fastrand::u64(..)));
        Self { timestamp: rfc3339(now), duration_ms, lost_id, ..self }
    }

    /// The line, without its end.
    pub fn to_line(&self) -> String {
        to_json(self)
    }

    /// The lines of the lost event, without their ends; none where nothing is lost.
    pub fn lost_lines(&self) -> Vec<String> {
        let Some(lost_id) = &self.lost_id else { return Vec::new() };
        let json = match self.lost.as_slice() {
            [message] => to_json(message),
            messages => to_json(messages),
        };
        let base64 = BASE64_STANDARD.encode(compress_to_vec_zlib(json.as_bytes(), COMPRESSION_LEVEL));
        let parts = base64.len().div_ceil(PART_MAX_CHARS);
        let line = |(index, data): (usize, &[u8])| {
            let data = std::str::from_utf8(data).unwrap_or_default();
            to_json(&LostPart { outcome: Outcome::LostPart, lost_id, part: index + 1, parts, data })
        };
        base64.as_bytes().chunks(PART_MAX_CHARS).enumerate().map(line).collect()
    }

    /// Writes the line, and a lost event behind it.
    pub fn write(&self) {
        write(&self.to_line());
        for line in self.lost_lines() {
            write(&line);
        }
    }
}

/// A text that anybody can send.
fn unchecked(text: &str) -> String {
    text.chars().take(UNCHECKED_MAX_CHARS).collect()
}

fn serialize_error<S: Serializer>(error: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let cut = error.as_ref().map(|error| error.chars().take(ERROR_MAX_CHARS).collect::<String>());
    cut.serialize(serializer)
}

fn to_json(value: &(impl Serialize + ?Sized)) -> String {
    // Strings and numbers always serialize.
    serde_json::to_string(value).unwrap_or_default()
}

/// Sends the lines of libraries (a broken certificate, a panic that the runtime caught) to standard output, as JSON.
pub fn init() {
    tracing_subscriber::fmt().json().with_max_level(tracing::Level::WARN).init();
}

/// Writes a line.
pub fn write(line: &str) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{line}") {
        tracing::error!(%error, "a line could not be written");
    }
}

/// Logs the error that ends a process, if there is one; its exit code.
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
