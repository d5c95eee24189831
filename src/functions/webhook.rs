//! The function `webhook`: the whole path of a callback, and the time that each part of it may take.

mod delivery;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use http::{Method, Response};
use tokio::time::Instant;

use self::delivery::Delivery;
use super::Refusal;
use super::gateway::Request;
use crate::aws::{Aws, Timeouts};
use crate::callback::{
    Application, BODY_MAX_BYTES, BodyError, Callback, Command, Query, Sender, SignedBy, Verifier,
};
use crate::config::WebhookSettings;
use crate::event::Event;
use crate::forward::{ForwardError, Forwarder, Want};
use crate::log::{Level, Outcome, Record};
use crate::queue::{Message, Pending, Queue, QueueError};
use crate::store::{Applied, Store, StoreError};

/// Deadlines, counted from the start of the handler. Chat waits 2 s, and the gateway and the network need some of it: the
/// answer leaves by 1.5 s. 0.9 s: the table, and the forwarding of a kept event beside it. 1.0 s: the forwarding of other
/// callbacks. 1.3 s: queues and decisions.
const STORE_BY: Duration = Duration::from_millis(900);
const RELAY_BY: Duration = Duration::from_millis(1000);
const QUEUE_BY: Duration = Duration::from_millis(1300);

/// For the table, whose deadline ends an attempt.
const TABLE_TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_millis(300), attempt: None };

/// For the queues, which have 0.3 s after `RELAY_BY`.
const QUEUE_TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_millis(200), attempt: None };

/// For a connection to the downstream receiver.
const FORWARD_CONNECT_TIMEOUT: Duration = QUEUE_BY;

/// Receives callbacks.
#[derive(Debug)]
pub struct Webhook {
    application: Application,
    verifier: Verifier,
    store: Store,
    outlets: Outlets,
    is_cold: AtomicBool,
}

/// Where callbacks go besides the table; each is optional.
#[derive(Debug, Default)]
pub struct Outlets {
    /// For events that can't be stored in time; without it such an event is answered 503.
    pub retry_queue: Option<Queue>,
    /// For genuine bodies that can't be read.
    pub dead_letter_queue: Option<Queue>,
    /// The downstream receiver.
    pub forwarder: Option<Forwarder>,
    /// For callbacks that the downstream receiver does not take.
    pub forward_queue: Option<Queue>,
}

/// The log line of a payload that no HTTP gateway sent: a warmer, a test in the console.
pub fn ignored(now: SystemTime) -> Record {
    let error = Some("payload: expected the event of an HTTP gateway".to_owned());
    let record = Record { level: Level::Warn, outcome: Outcome::Ignored, error, ..Record::default() };
    record.timed(Duration::ZERO, now)
}

impl Webhook {
    /// Puts the parts together.
    pub fn new(application: Application, verifier: Verifier, store: Store, outlets: Outlets) -> Self {
        Self { application, verifier, store, outlets, is_cold: AtomicBool::new(true) }
    }

    /// Puts the parts together that the settings name. Nothing is connected yet, but DynamoDB's address is prefetched.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn from_settings(settings: WebhookSettings) -> Self {
        let aws = Aws::new(settings.aws);
        aws.prefetch_dynamodb();
        let store = Store::new(aws.dynamodb(TABLE_TIMEOUTS), settings.table_name);
        let queue = |url| {
            let aws = aws.clone();
            Queue::new(move || aws.sqs(QUEUE_TIMEOUTS), url)
        };
        let outlets = Outlets {
            retry_queue: settings.retry_queue_url.map(queue),
            dead_letter_queue: settings.dead_letter_queue_url.map(queue),
            forwarder: settings.forward_url.map(|url| Forwarder::new(url, aws.http(FORWARD_CONNECT_TIMEOUT))),
            forward_queue: settings.forward_queue_url.map(queue),
        };
        Self::new(settings.application, settings.verifier, store, outlets)
    }

    /// Answers one request that arrived at `now`; the record is for the log.
    pub async fn accept(&self, request: &Request, now: SystemTime) -> (Response<String>, Record) {
        let start = Instant::now();
        let cold_start = self.is_cold.swap(false, Ordering::Relaxed);
        let query = Query::parse(&request.query);
        let (delivery, token) = match self.admit(request, &query, now) {
            Ok((command, callback)) => (self.handle(command, &callback, start).await, self.signed_by(&query)),
            Err(refusal) => (Delivery::refused(refusal), None),
        };
        let duration = start.elapsed();
        let record = delivery.record(&query).timed(duration, now + duration);
        (delivery.into_response(), Record { cold_start, token, ..record })
    }

    fn signed_by(&self, query: &Query<'_>) -> Option<SignedBy> {
        self.verifier.signed_by(query.sign().ok()??, query.request_time().ok()??)
    }

    /// Checks method, SdkAppid, Sign and RequestTime, the loop header, size, command, in this order: nothing is read from a
    /// body before its sender is accepted.
    fn admit<'a>(
        &self,
        request: &'a Request,
        query: &'a Query<'a>,
        received_at: SystemTime,
    ) -> Result<(Command, Callback<'a>), Refusal> {
        if request.method != Method::POST.as_str() {
            return Err(Refusal::Method);
        }
        if query.sdk_app_id()? != self.application.sdk_app_id {
            return Err(Refusal::OtherApplication);
        }
        let sender = self.verifier.verify(query.sign()?, query.request_time()?, received_at)?;
        if request.has_loop_header {
            return Err(Refusal::Loop);
        }
        let body = request.body.as_slice();
        if body.len() > BODY_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        Ok((query.command()?, Callback { query, body, received_at, sender }))
    }

    async fn handle(&self, command: Command, callback: &Callback<'_>, start: Instant) -> Delivery {
        match command {
            Command::Roster(command) => match callback.event(command, &self.application) {
                Ok(Some(event)) => self.store_and_forward(event, callback, start).await,
                Ok(None) => self.relay(callback, start).await,
                Err(error) => self.quarantine(error, callback, start).await,
            },
            Command::Other => self.relay(callback, start).await,
            Command::Decision => self.relay_decision(callback, start).await,
        }
    }

    /// Stores and forwards an event concurrently, then queues the work that failed.
    async fn store_and_forward(&self, event: Event, callback: &Callback<'_>, start: Instant) -> Delivery {
        let deadline = start + STORE_BY;
        let (table, forward) =
            tokio::join!(self.store(&event, deadline), self.forward(Want::Status, callback, deadline));
        let delivery = Delivery { event: Some(event), table, forward, ..Delivery::default() };
        self.queue_owed(delivery, callback, start).await
    }

    /// Forwards a callback that is not kept. Without a downstream receiver it is answered OK.
    async fn relay(&self, callback: &Callback<'_>, start: Instant) -> Delivery {
        let forward = self.forward(Want::Json, callback, start + RELAY_BY).await;
        self.queue_owed(Delivery { forward, ..Delivery::default() }, callback, start).await
    }

    /// Relays a decision, which is the downstream receiver's alone. Without one, OK means that all is allowed.
    async fn relay_decision(&self, callback: &Callback<'_>, start: Instant) -> Delivery {
        let forward = self.forward(Want::Decision, callback, start + QUEUE_BY).await;
        Delivery { is_decision: true, forward, ..Delivery::default() }
    }

    /// Refuses a body that can't be read. A genuine one is forwarded, and goes to the dead-letter queue: no retry can mend
    /// it, and an alarm reports it there. Of a body that names another command than its URL, Sign proves nothing.
    async fn quarantine(&self, error: BodyError, callback: &Callback<'_>, start: Instant) -> Delivery {
        if callback.sender != Sender::Genuine || error == BodyError::OtherCommand {
            return Delivery::refused(error);
        }
        let forward = self.forward(Want::Status, callback, start + STORE_BY).await;
        self.queue_owed(Delivery { forward, ..Delivery::refused(error) }, callback, start).await
    }

    /// Writes an event; `None` where it says nothing.
    async fn store(&self, event: &Event, deadline: Instant) -> Option<Result<Applied, StoreError>> {
        if event.is_empty() {
            return None;
        }
        Some(self.store.apply(event, deadline).await)
    }

    /// Posts a callback to the downstream receiver, if there is one.
    async fn forward(
        &self,
        want: Want,
        callback: &Callback<'_>,
        deadline: Instant,
    ) -> Option<Result<Option<String>, ForwardError>> {
        // A Sign that was not checked is not forwarded.
        let unchecked: &[&str] = match callback.sender {
            Sender::Genuine => &[],
            Sender::Anonymous => &["Sign", "RequestTime"],
        };
        let forwarder = self.outlets.forwarder.as_ref()?;
        Some(forwarder.relay(want, &callback.query.without(unchecked), callback.body, deadline).await)
    }

    /// Queues the work that is left.
    async fn queue_owed(&self, mut delivery: Delivery, callback: &Callback<'_>, start: Instant) -> Delivery {
        let Outlets { retry_queue, dead_letter_queue, forward_queue, .. } = &self.outlets;
        let queue = |pending| match pending {
            Pending::Table if delivery.refusal.is_some() => dead_letter_queue,
            Pending::Table | Pending::Sweep => retry_queue,
            Pending::Forward => forward_queue,
        };
        let mut owed = delivery.owed();
        owed.retain(|pending| queue(*pending).is_some() || delivery.needs_queue(*pending));
        let Some(first) = owed.first() else { return delivery };
        // Made once: a large body is compressed.
        let message = Message::new(callback, *first);
        let sent = owed.into_iter().map(async |pending| {
            let message = Message { pending, ..message.clone() };
            let sent = match queue(pending) {
                Some(queue) => queue.send(&message, start + QUEUE_BY).await,
                None => Err(QueueError::Missing),
            };
            (message, sent)
        });
        delivery.queued = join_all(sent).await;
        delivery
    }
}
