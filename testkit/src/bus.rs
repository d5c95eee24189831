//! As much of EventBridge as `publish` uses, for faults that an emulator can't make: it takes events, and refuses some.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Of one request: the positions of the entries that are refused, each with an error code.
pub type Refusals = Vec<(usize, &'static str)>;

/// A bus in memory, on loopback.
#[derive(Debug, Clone)]
pub struct Bus {
    pub url: String,
    state: Arc<Mutex<BusState>>,
}

#[derive(Debug, Default)]
struct BusState {
    entries: Vec<Value>,
    requests: Vec<usize>,
    refusals: VecDeque<Refusals>,
}

impl Bus {
    /// Starts a bus that refuses these entries of the first requests, and takes all others.
    pub async fn start(refusals: impl IntoIterator<Item = Refusals>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let state = BusState { refusals: refusals.into_iter().collect(), ..BusState::default() };
        let bus =
            Self { url: format!("http://{}", listener.local_addr()?), state: Arc::new(Mutex::new(state)) };
        let app = Router::new().fallback(put_events).with_state(bus.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(bus)
    }

    /// The entries that it took, in their order.
    pub fn entries(&self) -> Vec<Value> {
        self.lock().entries.clone()
    }

    /// The events that it took.
    pub fn events(&self) -> Vec<Value> {
        self.lock().entries.iter().filter_map(event).collect()
    }

    /// The events that it took since the last time.
    pub fn take_events(&self) -> Vec<Value> {
        std::mem::take(&mut self.lock().entries).iter().filter_map(event).collect()
    }

    /// How many entries each request had.
    pub fn requests(&self) -> Vec<usize> {
        self.lock().requests.clone()
    }

    fn lock(&self) -> MutexGuard<'_, BusState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(entry: &Value) -> Option<Value> {
    serde_json::from_str(entry["Detail"].as_str()?).ok()
}

async fn put_events(State(bus): State<Bus>, body: String) -> (StatusCode, Json<Value>) {
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    let entries = request["Entries"].as_array().cloned().unwrap_or_default();
    if entries.is_empty() || entries.len() > 10 {
        let error = json!({ "__type": "ValidationException", "message": "expected 1 to 10 entries" });
        return (StatusCode::BAD_REQUEST, Json(error));
    }
    let mut state = bus.lock();
    state.requests.push(entries.len());
    let refused = state.refusals.pop_front().unwrap_or_default();
    let results: Vec<Value> = (0..entries.len())
        .map(|position| match refused.iter().find(|(refused, _)| *refused == position) {
            Some((_, code)) => json!({ "ErrorCode": code, "ErrorMessage": "refused" }),
            None => json!({ "EventId": format!("event-{position}") }),
        })
        .collect();
    let taken = entries
        .into_iter()
        .enumerate()
        .filter(|(position, _)| !refused.iter().any(|(refused, _)| refused == position));
    state.entries.extend(taken.map(|(_, entry)| entry));
    (StatusCode::OK, Json(json!({ "FailedEntryCount": refused.len(), "Entries": results })))
}
