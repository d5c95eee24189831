//! Posts a callback to the local receiver as Chat would, signed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use chat_groups::callback::Token;
use chat_groups::time::to_millis;
use serde::Serialize;

use crate::post::Poster;

/// Knows where the receiver is, and a token that it accepts.
pub struct Sender {
    poster: Poster,
    sdk_app_id: u64,
    token: Token,
}

/// What the receiver answered.
#[derive(Serialize)]
pub(super) struct Answer {
    status: u16,
    text: String,
    duration_ms: f64,
}

impl Sender {
    /// Posts to the receiver.
    pub fn new(poster: Poster, sdk_app_id: u64, token: Token) -> Self {
        Self { poster, sdk_app_id, token }
    }

    pub(super) async fn send(&self, command: &str, body: String) -> Result<Answer, String> {
        let answer = self.poster.post(&self.query(command), &body).await?;
        Ok(Answer {
            status: answer.status,
            text: answer.text,
            duration_ms: answer.time.as_secs_f64() * 1000.0,
        })
    }

    /// The URL parameters, sorted by name as Chat sorts them.
    fn query(&self, command: &str) -> String {
        let now = (to_millis(SystemTime::now()) / 1000).to_string();
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
        form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
    }
}
