//! The function `webhook`: the whole path of a callback, and the time that each part of it may take.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use lambda_http::http::{Method, Response};
use lambda_http::{Body, Request};
use tokio::time::Instant;

use super::{BODY_MAX_BYTES, Outcome, Refusal};
use crate::aws::Timeouts;
use crate::callback::{self, BodyError, Command, Kept, Origin, Query, Sender, Verifier};
use crate::event::Event;
use crate::log::{Record, causes};
use crate::queue::{Message, Queue, QueueError};
use crate::store::{Store, StoreError};

/// Chat waits 2 s; the gateway and the network need some of it. Counted from the start of the handler, the table has
/// until the first of these, the queue until the second, and the answer leaves by 1.5 s.
const TABLE_BUDGET: Duration = Duration::from_millis(900);
const QUEUE_BUDGET: Duration = Duration::from_millis(1300);

/// An attempt is ended by the budget alone.
pub const TABLE_TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_millis(300), attempt: TABLE_BUDGET };

/// The queue has at least 0.4 s.
pub const QUEUE_TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_millis(200), attempt: QUEUE_BUDGET };

/// Receives callbacks.
#[derive(Debug)]
pub struct Webhook {
    sdk_app_id: u64,
    verifier: Verifier,
    store: Store,
    queue: Option<Queue>,
    is_cold: AtomicBool,
}

/// A callback whose sender is accepted.
struct Callback<'a> {
    query: &'a Query<'a>,
    command: Command,
    sender: Sender,
    origin: Origin,
    body: &'a [u8],
    /// The start of the handler, from which all budgets are counted.
    start: Instant,
}

/// What has become of a callback.
#[derive(Debug)]
struct Handled {
    result: Result<Outcome, Refusal>,
    event: Option<Event>,
    /// What failed underneath.
    errors: Vec<String>,
    /// What no queue took.
    lost: Option<Message>,
}

impl Webhook {
    /// Puts the parts together. Without a queue, an event that can't be stored in time is answered 503.
    pub fn new(sdk_app_id: u64, verifier: Verifier, store: Store, queue: Option<Queue>) -> Self {
        Self { sdk_app_id, verifier, store, queue, is_cold: AtomicBool::new(true) }
    }

    /// Answers one request that arrived at `now`, and tells what became of it.
    pub async fn accept(&self, request: &Request, now: SystemTime) -> (Response<Body>, Record) {
        let start = Instant::now();
        let cold_start = self.is_cold.swap(false, Ordering::Relaxed);
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let handled = match self.admit(request, &query, (now, start)) {
            Ok(callback) => self.handle(&callback).await,
            Err(refusal) => Handled::new(Err(refusal)),
        };
        let duration = start.elapsed();
        let record = handled.record(&query, cold_start).timed(duration, now + duration);
        (handled.response(), record)
    }

    /// Checks method, size, SdkAppid, Sign and RequestTime, command, in this order: nothing is read from a body before
    /// its sender is accepted.
    fn admit<'a>(
        &self,
        request: &'a Request,
        query: &'a Query<'a>,
        (now, start): (SystemTime, Instant),
    ) -> Result<Callback<'a>, Refusal> {
        let body: &[u8] = request.body().as_ref();
        if request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        if body.len() > BODY_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        if query.sdk_app_id()? != self.sdk_app_id {
            return Err(Refusal::OtherApplication);
        }
        let sender = self.verifier.verify(query.sign()?, query.request_time()?, now)?;
        let command = query.command()?;
        let origin = Origin::new(query, self.sdk_app_id, now)?;
        Ok(Callback { query, command, sender, origin, body, start })
    }

    async fn handle(&self, callback: &Callback<'_>) -> Handled {
        let Command::Kept(command) = callback.command else {
            return Handled::new(Ok(Outcome::Ignored));
        };
        self.keep(command, callback).await
    }

    /// Brings a command that is kept to the table, or to the queue.
    async fn keep(&self, command: Kept, callback: &Callback<'_>) -> Handled {
        let event = match Event::parse(command, callback.body, &callback.origin) {
            Ok(Some(event)) if !event.is_empty() => event,
            Ok(event) => return Handled { event, ..Handled::new(Ok(Outcome::Ignored)) },
            Err(error) => return self.unreadable(error, callback).await,
        };
        let handled = match self.store.apply(&event, callback.start + TABLE_BUDGET).await {
            Ok(applied) => {
                if applied.has_leftovers {
                    // For `redrive` to sweep. A sweep that fails is no failure: `reconcile` finishes it.
                    self.enqueue(&callback.message(), callback).await.ok();
                }
                Handled::new(Ok(Outcome::Applied(applied)))
            }
            Err(error) => self.not_stored(&error, callback).await,
        };
        Handled { event: Some(event), ..handled }
    }

    /// Queues an event that could not be stored.
    async fn not_stored(&self, error: &StoreError, callback: &Callback<'_>) -> Handled {
        let message = callback.message();
        let table_error = causes(error);
        match self.enqueue(&message, callback).await {
            Ok(()) => Handled { errors: vec![table_error], ..Handled::new(Ok(Outcome::Queued)) },
            Err(error) => Handled {
                errors: vec![table_error, causes(&error)],
                lost: Some(message),
                ..Handled::new(Err(Refusal::Unavailable))
            },
        }
    }

    /// Queues a genuine body that can't be read: it ends up in the dead-letter queue, where an alarm reports it.
    async fn unreadable(&self, error: BodyError, callback: &Callback<'_>) -> Handled {
        let refused = |error| Handled::new(Err(Refusal::Body(error)));
        if callback.sender == Sender::Anonymous || error == BodyError::OtherCommand {
            return refused(error);
        }
        let message = callback.message();
        match self.enqueue(&message, callback).await {
            Ok(()) | Err(QueueError::Missing) => refused(error),
            Err(queue_error) => {
                Handled { errors: vec![causes(&queue_error)], lost: Some(message), ..refused(error) }
            }
        }
    }

    async fn enqueue(&self, message: &Message, callback: &Callback<'_>) -> Result<(), QueueError> {
        let queue = self.queue.as_ref().ok_or(QueueError::Missing)?;
        queue.send(message, callback.start + QUEUE_BUDGET).await
    }
}

impl Callback<'_> {
    fn message(&self) -> Message {
        Message {
            unsigned: self.sender == Sender::Anonymous,
            ..Message::new(self.origin.received_at, self.query.without(&["Sign"]), self.body)
        }
    }
}

impl Handled {
    fn new(result: Result<Outcome, Refusal>) -> Self {
        Self { result, event: None, errors: Vec::new(), lost: None }
    }

    fn response(&self) -> Response<Body> {
        match &self.result {
            Ok(_) => callback::ok(),
            Err(refusal) => callback::fail(refusal.code(), &refusal.to_string()),
        }
    }

    fn record(&self, query: &Query<'_>, cold_start: bool) -> Record {
        let (level, outcome) = match &self.result {
            _ if self.lost.is_some() => ("ERROR", "lost"),
            Ok(Outcome::Queued) => ("WARN", "queued"),
            Ok(outcome) => ("INFO", outcome.name()),
            Err(_) => ("WARN", "rejected"),
        };
        let refusal = self.result.as_ref().err();
        Record {
            level,
            outcome,
            error_code: refusal.map_or(0, |refusal| refusal.code().error_code()),
            error_info: refusal.map(ToString::to_string),
            cold_start,
            error: (!self.errors.is_empty()).then(|| self.errors.join("; ")),
            event: self.lost.clone(),
            ..Record::new(query).about(self.event.as_ref())
        }
    }
}
