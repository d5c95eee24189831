//! A POST as Chat would send it.

use std::error::Error;
use std::time::{Duration, Instant};

use axum::http::Request;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Longer than Chat waits, so that a late answer is seen.
const PATIENCE: Duration = Duration::from_secs(15);

/// Posts to one URL.
#[derive(Clone)]
pub struct Poster {
    url: String,
    client: Client<HttpsConnector<HttpConnector>, Full<axum::body::Bytes>>,
}

/// What came back, and when.
pub struct Answer {
    pub status: u16,
    pub error_code: Option<u64>,
    pub text: String,
    pub time: Duration,
}

impl Poster {
    /// A URL as it stands in Chat's console, with or without a query of its own.
    pub fn new(url: String) -> Result<Self, std::io::Error> {
        let https = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
        Ok(Self { url, client: Client::builder(TokioExecutor::new()).build(https) })
    }

    /// Posts a body; the time is that of the whole exchange, connection included.
    pub async fn post(&self, query: &str, body: &str) -> Result<Answer, Box<dyn Error>> {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        let target = format!("{}{separator}{query}", self.url);
        let request = Request::post(target).body(Full::from(body.to_owned()))?;
        let start = Instant::now();
        let exchange = async {
            let response = self.client.request(request).await?;
            let status = response.status().as_u16();
            let bytes = response.into_body().collect().await?.to_bytes();
            Ok::<_, Box<dyn Error>>((status, String::from_utf8_lossy(&bytes).into_owned()))
        };
        let (status, text) = tokio::time::timeout(PATIENCE, exchange).await??;
        let error_code =
            serde_json::from_str::<Value>(&text).ok().and_then(|answer| answer["ErrorCode"].as_u64());
        Ok(Answer { status, error_code, text, time: start.elapsed() })
    }
}
