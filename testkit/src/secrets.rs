//! A stand-in for Secrets Manager: GetSecretValue of one secret.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The server, on loopback.
pub struct Secrets {
    pub url: String,
    secret: Arc<Secret>,
}

struct Secret {
    id: String,
    text: Mutex<String>,
}

impl Secrets {
    /// Serves this secret, and knows no other.
    pub async fn start(id: &str, text: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let secret = Arc::new(Secret { id: id.to_owned(), text: Mutex::new(text.to_owned()) });
        let app = Router::new().route("/", post(answer)).with_state(secret.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, secret })
    }

    /// Changes the secret.
    pub fn set(&self, text: &str) {
        *self.secret.text.lock().unwrap_or_else(PoisonError::into_inner) = text.to_owned();
    }
}

async fn answer(
    State(secret): State<Arc<Secret>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let question: Value = serde_json::from_str(&body).unwrap_or_default();
    match (target, question["SecretId"] == secret.id.as_str()) {
        (Some("secretsmanager.GetSecretValue"), true) => {
            let text = secret.text.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (StatusCode::OK, Json(json!({ "Name": secret.id, "SecretString": text })))
        }
        (Some("secretsmanager.GetSecretValue"), false) => {
            (StatusCode::BAD_REQUEST, Json(json!({ "__type": "ResourceNotFoundException" })))
        }
        _ => (StatusCode::BAD_REQUEST, Json(json!({ "__type": "UnknownOperationException" }))),
    }
}
