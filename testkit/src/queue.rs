//! As much of SQS as `webhook` uses, for faults that an emulator can't make: it takes messages.

use std::io;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A queue in memory, on loopback.
#[derive(Debug, Clone)]
pub struct Queue {
    pub url: String,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Queue {
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let queue = Self { url: format!("http://{}", listener.local_addr()?), messages: Arc::default() };
        let app = Router::new().fallback(send_message).with_state(queue.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(queue)
    }

    /// Takes out all messages.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.messages.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

async fn send_message(State(queue): State<Queue>, body: String) -> Json<Value> {
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    let text = request["MessageBody"].as_str().unwrap_or_default().to_owned();
    let mut messages = queue.messages.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    messages.push(text);
    Json(json!({ "MessageId": format!("message-{}", messages.len()), "MD5OfMessageBody": "" }))
}
