//! The queues: work that could not be done in time waits there for `redrive`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::Client;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::Instant;

use crate::callback::{BODY_MAX_BYTES, Body, Callback, Command, RosterCommand, Sender};
use crate::retry::{RetryError, hedged, retry_until};

/// When a second attempt is made beside the first: early enough to leave it half of the queue's budget. Two messages of
/// one callback do no harm.
const HEDGE_AFTER: Duration = Duration::from_millis(150);

/// The largest message that SQS takes, in bytes.
const MESSAGE_MAX_BYTES: usize = 1024 * 1024;

/// Larger bodies are compressed.
const PLAIN_MAX_BYTES: usize = 64 * 1024;

/// zlib's fastest: an answer waits for it, and lists of members repeat themselves.
pub(crate) const COMPRESSION_LEVEL: u8 = 1;

/// A callback as it waits in a queue. Its sender was checked before: a token may have changed since.
///
/// ```
/// # use chat_groups::queue::Message;
/// let json = r#"{"received_at":1669872112000,"query":"SdkAppid=1400000001","body":"{}","pending":"forward"}"#;
/// let message: Message = serde_json::from_str(json)?;
/// assert_eq!(message.bytes().as_deref(), Some(&b"{}"[..]));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// When the callback arrived; in JSON, milliseconds since the Unix epoch.
    #[serde(with = "crate::time::millis")]
    pub received_at: SystemTime,
    /// The raw query string, without Sign.
    pub query: String,
    /// The body as received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// In its place: a body that is not UTF-8, or that would be larger as a JSON string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// In its place: the zlib stream of a body over 64 KiB, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_zlib: Option<String>,
    /// The work that is left.
    #[serde(default)]
    pub pending: Pending,
    /// Whether it came without a checked Sign.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsigned: bool,
}

/// The work that is left for a callback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pending {
    /// Write it to the table.
    #[default]
    Table,
    /// Remove the items of the life that it ended; it is in the table.
    Sweep,
    /// Forward it to the downstream receiver.
    Forward,
}

impl Message {
    /// Takes a callback as it came. Of an AfterGroupDestroyed that SQS would refuse for its size, the members are left
    /// out: they say nothing.
    pub fn new(callback: &Callback<'_>, pending: Pending) -> Self {
        let message = Self::with_body(callback, callback.body, pending);
        match message.is_too_large().then(|| without_members(callback)).flatten() {
            Some(body) => Self::with_body(callback, &body, pending),
            None => message,
        }
    }

    fn with_body(callback: &Callback<'_>, body: &[u8], pending: Pending) -> Self {
        let mut message = Self {
            received_at: callback.received_at,
            query: callback.query.without(&["Sign"]),
            body: None,
            body_base64: None,
            body_zlib: None,
            pending,
            unsigned: callback.sender == Sender::Anonymous,
        };
        let base64_length = body.len().div_ceil(3) * 4 + 2;
        let text = || std::str::from_utf8(body).ok().filter(|text| json_string(text).len() <= base64_length);
        if body.len() > PLAIN_MAX_BYTES {
            message.body_zlib = Some(BASE64_STANDARD.encode(compress_to_vec_zlib(body, COMPRESSION_LEVEL)));
        } else if let Some(text) = text() {
            message.body = Some(text.to_owned());
        } else {
            message.body_base64 = Some(BASE64_STANDARD.encode(body));
        }
        message
    }

    /// Drops the body: bodies of callbacks that are not kept are never logged.
    pub fn drop_body(&mut self) {
        (self.body, self.body_base64, self.body_zlib) = (None, None, None);
    }

    /// The body, to the byte; `None` where the message holds none, or one that is larger than any callback's.
    pub fn bytes(&self) -> Option<Cow<'_, [u8]>> {
        if let Some(text) = &self.body {
            return Some(text.as_bytes().into());
        }
        if let Some(text) = &self.body_base64 {
            return BASE64_STANDARD.decode(text).ok().map(Cow::Owned);
        }
        let zlib = BASE64_STANDARD.decode(self.body_zlib.as_ref()?).ok()?;
        decompress_to_vec_zlib_with_limit(&zlib, BODY_MAX_BYTES).ok().map(Cow::Owned)
    }

    /// The sender, who was checked when the callback arrived.
    pub fn sender(&self) -> Sender {
        if self.unsigned { Sender::Anonymous } else { Sender::Genuine }
    }

    fn is_too_large(&self) -> bool {
        self.body_zlib.is_some() && json_string(self).len() > MESSAGE_MAX_BYTES
    }
}

/// The body of an AfterGroupDestroyed without its list of members; `None` for any other callback.
fn without_members(callback: &Callback<'_>) -> Option<Vec<u8>> {
    let Ok(Command::Roster(RosterCommand::AfterGroupDestroyed)) = callback.query.command() else {
        return None;
    };
    let mut body = Body::new(callback.body);
    let mut fields = body.fields().ok()?;
    fields.take("MemberList")?;
    serde_json::to_vec(&fields.rest().collect::<BTreeMap<_, _>>()).ok()
}

/// JSON that SQS takes: it refuses U+FFFE and U+FFFF, which JSON may hold as they are.
fn json_string(value: &(impl Serialize + ?Sized)) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
}

/// An SQS queue.
#[derive(Debug)]
pub struct Queue {
    client: LazyLock<Client, Box<dyn FnOnce() -> Client + Send>>,
    url: String,
}

impl Queue {
    /// A queue that exists. Its client is made for the first message: most processes send none, and start 0.15 ms sooner
    /// without it.
    pub fn new(client: impl FnOnce() -> Client + Send + 'static, url: String) -> Self {
        Self { client: LazyLock::new(Box::new(client)), url }
    }

    /// Puts a callback into the queue; when this returns, it is safe there.
    pub async fn send(&self, message: &Message, deadline: Instant) -> Result<(), QueueError> {
        let body = json_string(message);
        if body.len() > MESSAGE_MAX_BYTES {
            return Err(QueueError::TooLarge);
        }
        let send = || self.client.send_message().queue_url(&self.url).message_body(&body).send();
        retry_until(deadline, || hedged(HEDGE_AFTER, send)).await?;
        Ok(())
    }
}

/// Why a queue did not take a callback.
#[derive(Debug, Error)]
pub enum QueueError {
    /// No queue is configured for this work.
    #[error("there is no queue")]
    Missing,
    /// SQS takes no such message.
    #[error("message: expected at most {MESSAGE_MAX_BYTES} bytes")]
    TooLarge,
    /// SQS, or the way to it, failed. Whether the message is in the queue is not known.
    #[error("the queue failed")]
    Failed(#[from] RetryError),
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::callback::Query;
    use crate::time::from_millis;

    fn message(query: &str, body: &[u8]) -> Message {
        let (query, received_at) = (&Query::parse(query), from_millis(1));
        Message::new(&Callback { query, body, received_at, sender: Sender::Genuine }, Pending::Table)
    }

    /// Bytes that zlib makes no shorter, as digits and letters.
    fn noise(bytes: usize) -> String {
        let mut random = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| random.alphanumeric()).take(bytes).collect()
    }

    #[test]
    fn a_message_is_json_that_sqs_takes() {
        let body = "{\"Name\":\"\u{fffe}\u{ffff}é, and some more text\"}";
        let message = message("a=1", body.as_bytes());
        let json = json_string(&message);
        let expected = r#"{"received_at":1,"query":"a=1","body":"{\"Name\":\"\ufffe\uffffé, and some more text\"}","pending":"table"}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Message>(&json).ok(), Some(message));
    }

    #[test]
    fn what_is_no_text_or_longer_as_text_stands_in_base64() {
        for body in [&b"\xff{}"[..], &b"\0\0\0\0\0\0\0\0"[..], &b"\"\"\"\"\"\"\"\""[..]] {
            let message = message("", body);
            assert_eq!((message.body.as_deref(), message.bytes().as_deref()), (None, Some(body)));
            assert!(json_string(&message).contains("body_base64"));
        }
    }

    #[test]
    fn a_body_over_64_kib_is_compressed() {
        for (length, is_compressed) in [(PLAIN_MAX_BYTES, false), (PLAIN_MAX_BYTES + 1, true)] {
            let body = vec![b'x'; length];
            let message = message("", &body);
            assert_eq!(message.bytes().as_deref(), Some(body.as_slice()));
            assert_eq!((message.body.is_none(), message.body_zlib.is_some()), (is_compressed, is_compressed));
        }
    }

    #[test]
    fn a_stream_that_inflates_beyond_the_largest_body_is_refused() {
        let [largest, larger] = [0, 1].map(|more| message("", &vec![0; BODY_MAX_BYTES + more]));
        assert_eq!(largest.bytes().map(|body| body.len()), Some(BODY_MAX_BYTES));
        assert_eq!(larger.bytes(), None);
    }

    #[test]
    fn a_destroyed_group_that_is_too_large_for_sqs_loses_its_members_alone() {
        let destroyed = "CallbackCommand=Group.CallbackAfterGroupDestroyed";
        let created = "CallbackCommand=Group.CallbackAfterCreateGroup";
        let body = |bytes| format!(r#"{{"GroupId":"g","MemberList":["{}"],"EventTime":5}}"#, noise(bytes));
        let bytes = |query, body: &str| message(query, body.as_bytes()).bytes().unwrap().into_owned();
        let (large, too_large) = (body(500_000), body(2_000_000));
        assert_eq!(bytes(destroyed, &large), large.as_bytes());
        assert_eq!(bytes(destroyed, &too_large), br#"{"EventTime":5,"GroupId":"g"}"#);
        assert_eq!(bytes(created, &too_large), too_large.as_bytes());
    }

    #[test]
    fn pending_and_unsigned_may_be_left_out() {
        let message: Message = serde_json::from_str(r#"{"received_at":1,"query":"","body":""}"#).unwrap();
        assert_eq!((message.pending, message.sender()), (Pending::Table, Sender::Genuine));
    }
}
