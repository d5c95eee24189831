//! Posts a callback to the local receiver as Chat would, signed.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::Request;
use chat_groups::callback::Token;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;

/// Knows where the receiver is, and a token that it accepts.
pub struct Sender {
    url: String,
    sdk_app_id: u64,
    token: Token,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What the receiver answered.
#[derive(Serialize)]
pub(super) struct Answer {
    status: u16,
    text: String,
    duration_ms: f64,
}

impl Sender {
    /// Posts to the receiver at `url`.
    pub fn new(url: String, sdk_app_id: u64, token: Token) -> Self {
        Self { url, sdk_app_id, token, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    pub(super) async fn send(&self, command: &str, body: String) -> Result<Answer, Box<dyn Error>> {
        let target = format!("{}?{}", self.url, self.query(command)?);
        let start = Instant::now();
        let response = self.client.request(Request::post(target).body(Full::from(body))?).await?;
        let status = response.status().as_u16();
        let text = String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()).into_owned();
        Ok(Answer { status, text, duration_ms: start.elapsed().as_secs_f64() * 1000.0 })
    }

    /// The URL parameters, sorted by name as Chat sorts them.
    fn query(&self, command: &str) -> Result<String, Box<dyn Error>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().to_string();
        let parameters = BTreeMap::from([
            ("CallbackCommand", command.to_owned()),
            ("ClientIP", "127.0.0.1".to_owned()),
            ("OptPlatform", "Web".to_owned()),
            ("RequestID", format!("page-{:08x}", fastrand::u32(..))),
            ("Sign", self.token.sign(&now)),
            ("RequestTime", now),
            ("SdkAppid", self.sdk_app_id.to_string()),
            ("contenttype", "json".to_owned()),
        ]);
        Ok(form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish())
    }
}
