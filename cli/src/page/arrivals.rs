//! What arrived in this run: kept within bounds, and passed on to every viewer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::response::sse::Event;
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

const KEPT_MAX: usize = 2_000;
const KEPT_MAX_BYTES: usize = 64 * 1024 * 1024;

/// How many lines a viewer who comes late is sent: as many as the page shows.
const SENT_MAX: usize = 500;

/// The callbacks of this run. Clones are handles to the same ones.
#[derive(Clone)]
pub struct Arrivals {
    kept: Arc<Mutex<Kept>>,
    /// The id of the newest arrival. Viewers read the rest from `kept`, so a slow one costs nothing.
    newest: watch::Sender<u64>,
}

struct Kept {
    arrivals: VecDeque<Arrival>,
    bytes: usize,
    next_id: u64,
}

struct Arrival {
    id: u64,
    line: Value,
    body: Bytes,
}

impl Default for Arrivals {
    fn default() -> Self {
        // Ids grow from one run to the next, so that a viewer who saw the last run misses nothing of this one.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let next_id = u64::try_from(now).unwrap_or_default() * 1000;
        let kept = Kept { arrivals: VecDeque::new(), bytes: 0, next_id };
        Self { kept: Arc::new(Mutex::new(kept)), newest: watch::Sender::new(0) }
    }
}

impl Arrivals {
    /// Adds the record of a callback, which is its log line, and its body.
    pub fn add(&self, record: &impl Serialize, body: &[u8]) {
        let mut line = serde_json::to_value(record).unwrap_or_default();
        let mut kept = self.kept();
        let id = kept.next_id;
        if let Some(fields) = line.as_object_mut() {
            fields.insert("id".to_owned(), id.into());
            fields.insert("body_bytes".to_owned(), body.len().into());
        }
        kept.push(Arrival { id, line, body: Bytes::copy_from_slice(body) });
        drop(kept);
        self.newest.send_replace(id);
    }

    /// The lines of one group, newest first.
    pub(super) fn of_group(&self, group_id: &str) -> Vec<Value> {
        let kept = self.kept();
        let of_group = kept.arrivals.iter().rev().filter(|arrival| arrival.line["group_id"] == group_id);
        of_group.map(|arrival| arrival.line.clone()).collect()
    }

    /// The body of one arrival, as long as it is kept.
    pub(super) fn body(&self, id: u64) -> Option<Bytes> {
        let kept = self.kept();
        kept.arrivals.iter().find(|arrival| arrival.id == id).map(|arrival| arrival.body.clone())
    }

    /// What arrived after `last`, and then what arrives.
    pub(super) fn stream(&self, last: u64) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
        let start = (self.clone(), self.newest.subscribe(), last);
        let batches = stream::unfold(start, |(all, mut newest, last)| async move {
            // Marked as seen before they are read: what comes in between only wakes once more.
            newest.mark_unchanged();
            let mut lines = all.after(last);
            while lines.is_empty() {
                newest.changed().await.ok()?;
                lines = all.after(last);
            }
            let last = lines.last().map_or(last, |(id, _)| *id);
            Some((stream::iter(lines), (all, newest, last)))
        });
        batches.flatten().map(|(id, line)| Ok(Event::default().id(id.to_string()).data(line.to_string())))
    }

    fn after(&self, last: u64) -> Vec<(u64, Value)> {
        let kept = self.kept();
        let new = kept.arrivals.iter().rev().take(SENT_MAX).take_while(|arrival| arrival.id > last);
        let mut lines: Vec<_> = new.map(|arrival| (arrival.id, arrival.line.clone())).collect();
        lines.reverse();
        lines
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, arrival: Arrival) {
        self.next_id += 1;
        self.bytes += arrival.body.len();
        self.arrivals.push_back(arrival);
        while self.arrivals.len() > KEPT_MAX || self.bytes > KEPT_MAX_BYTES {
            self.bytes -= self.arrivals.pop_front().map_or(0, |oldest| oldest.body.len());
        }
    }
}
