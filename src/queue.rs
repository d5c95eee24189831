//! The retry queue: what the table did not take in time waits there for `redrive`.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_sdk_sqs::Client;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::hedge::hedged;

/// When a second attempt is made beside the first: well before the half of the least time that the queue has.
/// Two messages of one callback do no harm, the second is a duplicate.
const HEDGE_AFTER: Duration = Duration::from_millis(150);

/// A callback as it waits in the queue. Its sender was checked before: a token may have changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// When the callback arrived, in milliseconds since the Unix epoch.
    pub received_at: u64,
    /// The raw query string, without Sign.
    pub query: String,
    /// The body as received. Bytes that are not UTF-8 stand here as U+FFFD.
    pub body: String,
    /// The exact bytes of a body that is not UTF-8, in hex: JSON can't hold them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hex: Option<String>,
}

impl Message {
    /// Takes a callback as it came; `query` is without Sign.
    pub fn new(received_at: u64, query: String, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let body_hex = matches!(text, std::borrow::Cow::Owned(_)).then(|| hex::encode(body));
        Self { received_at, query, body: text.into_owned(), body_hex }
    }

    /// The body, to the byte.
    pub fn bytes(&self) -> Vec<u8> {
        let exact = self.body_hex.as_ref().and_then(|text| hex::decode(text).ok());
        exact.unwrap_or_else(|| self.body.clone().into_bytes())
    }

    fn to_json(&self) -> Result<String, serde_json::Error> {
        // JSON may hold these two characters as they are, SQS may not.
        Ok(serde_json::to_string(self)?.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff"))
    }
}

/// The SQS queue that `redrive` reads.
#[derive(Debug, Clone)]
pub struct RetryQueue {
    client: Client,
    url: String,
}

impl RetryQueue {
    /// A queue that exists.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Puts a callback into the queue; when this returns, it is safe there.
    pub async fn send(&self, message: &Message, deadline: Instant) -> Result<(), QueueError> {
        let body = message.to_json().map_err(QueueError::failed)?;
        let attempt = || self.client.send_message().queue_url(&self.url).message_body(&body).send();
        let send = hedged(HEDGE_AFTER, attempt);
        match tokio::time::timeout_at(deadline, send).await {
            Ok(sent) => sent.map(|_| ()).map_err(QueueError::failed),
            Err(_) => Err(QueueError::TimedOut),
        }
    }
}

/// Why the queue did not take a callback.
#[derive(Debug)]
pub enum QueueError {
    /// There is none: `RETRY_QUEUE_URL` is not set.
    Missing,
    /// Not before the deadline. Whether it is in the queue is not known.
    TimedOut,
    /// SQS, or the way to it, failed.
    Failed(Box<dyn Error + Send + Sync>),
}

impl QueueError {
    fn failed(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is no retry queue",
            Self::TimedOut => "the retry queue did not answer in time",
            Self::Failed(_) => "the retry queue failed",
        })
    }
}

impl Error for QueueError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Missing | Self::TimedOut => None,
            Self::Failed(error) => Some(error.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_json_that_sqs_takes() {
        let message = Message::new(1, "a=1".to_owned(), "{\"Name\":\"\u{fffe}\u{ffff}é\"}".as_bytes());
        let json = message.to_json().unwrap_or_default();
        assert_eq!(json, r#"{"received_at":1,"query":"a=1","body":"{\"Name\":\"\ufffe\uffffé\"}"}"#);
        assert_eq!(serde_json::from_str::<Message>(&json).ok(), Some(message));
    }

    #[test]
    fn bytes_that_are_not_text_are_kept_exactly() {
        let message = Message::new(1, String::new(), b"\xff{}");
        assert_eq!(message.body, "\u{fffd}{}");
        assert_eq!(message.body_hex.as_deref(), Some("ff7b7d"));
        assert_eq!(message.bytes(), b"\xff{}");
    }
}
