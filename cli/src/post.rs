//! A POST as Chat would send it.

use std::time::{Duration, Instant};

use chat_groups::http::{HttpClient, HttpError, Trust};
use chat_groups::log::error_chain;
use serde_json::Value;

/// Longer than Chat waits, so that a late answer is seen.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Far more than any answer to Chat has.
const ANSWER_MAX_BYTES: usize = 1024 * 1024;

/// Posts to one URL.
#[derive(Clone)]
pub struct Poster {
    url: String,
    client: HttpClient,
}

/// What came back, and after how long, a new connection included.
pub struct Answer {
    pub status: u16,
    pub text: String,
    pub time: Duration,
}

impl Poster {
    /// A URL as it stands in Chat's console, with or without a query of its own.
    pub fn new(url: String, trust: Trust) -> Self {
        Self { url, client: HttpClient::new(trust, TIMEOUT) }
    }

    /// Posts a body. An error says why there is no answer.
    pub async fn post(&self, query: &str, body: &str) -> Result<Answer, String> {
        let headers = [("content-type", "application/json")];
        let target = self.target(query);
        let start = Instant::now();
        let exchange = async {
            let response = self.client.post(&target, &headers, body.as_bytes()).await?;
            let status = response.status();
            Ok::<_, HttpError>((status, response.body(ANSWER_MAX_BYTES).await?))
        };
        let answer =
            tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| format!("{TIMEOUT:?} are over"))?;
        let (status, body) = answer.map_err(|error| error_chain(&error))?;
        Ok(Answer { status, text: String::from_utf8_lossy(&body).into_owned(), time: start.elapsed() })
    }

    /// The URL with this query string.
    pub fn target(&self, query: &str) -> String {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{separator}{query}", self.url)
    }
}

impl Answer {
    /// The ErrorCode, if the answer is JSON with one.
    pub fn error_code(&self) -> Option<u64> {
        serde_json::from_str::<Value>(&self.text).ok()?["ErrorCode"].as_u64()
    }
}
