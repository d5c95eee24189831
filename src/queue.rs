//! The queues: what could not be done in time waits there for `redrive`.

use std::time::{Duration, SystemTime};

use aws_sdk_sqs::Client;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::Instant;

use crate::retry::{RetryError, hedged, retry_until};

/// When a second attempt is made beside the first: early enough to leave it half of the queue's budget. Two messages of
/// one callback do no harm.
const HEDGE_AFTER: Duration = Duration::from_millis(150);

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
    /// What is still to be done.
    #[serde(default)]
    pub pending: Pending,
    /// Whether it came without a checked Sign.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsigned: bool,
}

/// What is still to be done with a callback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pending {
    /// Write it to the table, or sweep what it has replaced.
    #[default]
    Table,
    /// Pass it on to the downstream receiver.
    Forward,
}

impl Message {
    /// Takes a callback as it came; `query` is without Sign.
    pub fn new(received_at: SystemTime, query: String, body: &[u8]) -> Self {
        let base64_length = body.len().div_ceil(3) * 4 + 2;
        let text = std::str::from_utf8(body).ok().filter(|text| json_string(text).len() <= base64_length);
        Self {
            received_at,
            query,
            body: text.map(str::to_owned),
            body_base64: text.is_none().then(|| BASE64_STANDARD.encode(body)),
            pending: Pending::Table,
            unsigned: false,
        }
    }

    /// Leaves the body out: of what is not kept, none is logged.
    pub fn drop_body(&mut self) {
        (self.body, self.body_base64) = (None, None);
    }

    /// The body, to the byte; `None` where the message holds none.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match (&self.body, &self.body_base64) {
            (Some(text), _) => Some(text.clone().into_bytes()),
            (None, Some(text)) => BASE64_STANDARD.decode(text).ok(),
            (None, None) => None,
        }
    }
}

/// JSON that SQS takes: it refuses U+FFFE and U+FFFF, which JSON may hold as they are.
fn json_string(value: &(impl Serialize + ?Sized)) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
}

/// An SQS queue that `redrive` reads.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// A queue that exists.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Puts a callback into the queue; when this returns, it is safe there.
    pub async fn send(&self, message: &Message, deadline: Instant) -> Result<(), QueueError> {
        let body = json_string(message);
        let send = || self.client.send_message().queue_url(&self.url).message_body(&body).send();
        retry_until(deadline, || hedged(HEDGE_AFTER, send)).await?;
        Ok(())
    }
}

/// Why a queue did not take a callback.
#[derive(Debug, Error)]
pub enum QueueError {
    /// There is none: `RETRY_QUEUE_URL` is not set.
    #[error("there is no queue")]
    Missing,
    /// SQS, or the way to it, failed. Whether the message is in the queue is not known.
    #[error("the queue failed")]
    Failed(#[from] RetryError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::from_millis;

    #[test]
    fn a_message_is_json_that_sqs_takes() {
        let body = "{\"Name\":\"\u{fffe}\u{ffff}é, and some more text\"}";
        let message = Message::new(from_millis(1), "a=1".to_owned(), body.as_bytes());
        let json = json_string(&message);
        let expected = r#"{"received_at":1,"query":"a=1","body":"{\"Name\":\"\ufffe\uffffé, and some more text\"}","pending":"table"}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Message>(&json).ok(), Some(message));
    }

    #[test]
    fn what_is_no_text_or_longer_as_text_stands_in_base64() {
        for body in [&b"\xff{}"[..], &b"\0\0\0\0\0\0\0\0"[..], &b"\"\"\"\"\"\"\"\""[..]] {
            let message = Message::new(from_millis(1), String::new(), body);
            assert_eq!((message.body.as_deref(), message.bytes().as_deref()), (None, Some(body)));
            assert!(json_string(&message).contains("body_base64"));
        }
    }

    #[test]
    fn pending_and_unsigned_may_be_left_out() {
        let message: Option<Message> = serde_json::from_str(r#"{"received_at":1,"query":"","body":""}"#).ok();
        assert_eq!(message.map(|message| (message.pending, message.unsigned)), Some((Pending::Table, false)));
    }
}
