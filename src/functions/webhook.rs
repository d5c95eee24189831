//! The whole path of a callback, and the time that each part of it may take.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_http::http::{Method, Response};
use lambda_http::{Body, Request};
use tokio::time::Instant;

use crate::aws::{Aws, Patience};
use crate::callback::{AFTER_CREATE_GROUP, Delivery, Query};
use crate::config::{Application, ConfigError, Environment, Reception};
use crate::group::{BodyError, GroupCreated};
use crate::queue::{Message, QueueError, RetryQueue};
use crate::reply::{BODY_MAX_BYTES, Outcome, Record, Refusal};
use crate::signature::{Sender, Verifier};
use crate::store::{Store, StoreError};

/// Chat waits 2 s; the gateway and the way there and back need some of it. Counted from the start of the
/// handler, the table has until the first of these, the queue until the second, and the answer leaves by 1.5 s.
const TABLE_BUDGET: Duration = Duration::from_millis(900);
const QUEUE_BUDGET: Duration = Duration::from_millis(1300);

/// Four connections that are refused at once, or two that hang, fit into the table's budget.
const TABLE_PATIENCE: Patience = Patience {
    connect: Duration::from_millis(300),
    attempt: TABLE_BUDGET,
    attempts: 4,
    backoff: Duration::from_millis(25),
};

/// The queue has 0.4 s at the least.
const QUEUE_PATIENCE: Patience = Patience {
    connect: Duration::from_millis(200),
    attempt: QUEUE_BUDGET,
    attempts: 4,
    backoff: Duration::from_millis(25),
};

/// The function `webhook`: receives callbacks.
#[derive(Debug)]
pub struct Webhook {
    sdk_app_id: u64,
    verifier: Verifier,
    store: Store,
    queue: Option<RetryQueue>,
    cold: AtomicBool,
}

impl Webhook {
    /// Reads the settings and builds the clients. Nothing is connected yet, but DynamoDB's address is being looked up.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn from_env(env: Environment<'_>) -> Result<Self, ConfigError> {
        let Application { sdk_app_id, table_name } = Application::from_env(env)?;
        let Reception { verifier, retry_queue_url } = Reception::from_env(env)?;
        let aws = Aws::from_env(env)?;
        let webhook = Self {
            sdk_app_id,
            verifier,
            store: Store::new(aws.dynamodb(TABLE_PATIENCE), table_name),
            queue: retry_queue_url.map(|url| RetryQueue::new(aws.sqs(QUEUE_PATIENCE), url)),
            cold: AtomicBool::new(true),
        };
        aws.look_up_dynamodb();
        Ok(webhook)
    }

    /// Answers one request that arrived at `now`, and tells what became of it.
    pub async fn accept(&self, request: &Request, now: SystemTime) -> (Response<Body>, Record) {
        let start = Instant::now();
        let received_at = milliseconds(now);
        let mut record = Record { cold_start: self.cold.swap(false, Ordering::Relaxed), ..Record::default() };
        let outcome = self
            .decide(request, Arrival { start, received_at }, &mut record)
            .await
            .unwrap_or_else(Outcome::Rejected);
        let duration = start.elapsed();
        record.finish(&outcome, duration, milliseconds(now + duration));
        (outcome.response(), record)
    }

    /// The path of a request: method, size, SdkAppid, Sign and RequestTime, command, body, table, queue.
    async fn decide(
        &self,
        request: &Request,
        arrival: Arrival,
        record: &mut Record,
    ) -> Result<Outcome, Refusal> {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        record.describe(&query);

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
        let now = arrival.received_at / 1000;
        let sender = self.verifier.verify(query.sign()?, query.request_time()?, now)?;
        if query.callback_command()? != AFTER_CREATE_GROUP {
            return Ok(Outcome::Ignored);
        }
        let delivery = Delivery::new(&query, self.sdk_app_id, arrival.received_at)?;
        let message = || Message::new(arrival.received_at, query.without_sign(), body);

        let event = match GroupCreated::parse(body, delivery) {
            Ok(event) => event,
            Err(error) => return Ok(self.unreadable(error, sender, message(), arrival).await),
        };
        record.describe_group(&event);
        match self.store.put(&event, arrival.start + TABLE_BUDGET).await {
            Ok(stored) => Ok(Outcome::Stored(stored)),
            Err(error) => Ok(self.not_stored(&event, error, message(), arrival).await),
        }
    }

    /// Keeps what the table did not take. What would take an earlier group apart is kept first, then done.
    async fn not_stored(
        &self,
        event: &GroupCreated,
        mut table_error: StoreError,
        message: Message,
        arrival: Arrival,
    ) -> Outcome {
        let queued = self.enqueue(&message, arrival).await;
        let is_kept = matches!(queued, Ok(()) | Err(QueueError::Missing));
        if is_kept && matches!(table_error, StoreError::TakesApart) {
            match self.store.finish(event, arrival.start + QUEUE_BUDGET).await {
                Ok(stored) => return Outcome::Stored(stored),
                Err(error) => table_error = error,
            }
        }
        match queued {
            Ok(()) => Outcome::Queued(table_error),
            Err(error) => Outcome::Lost { refusal: Refusal::Unavailable(table_error), error, message },
        }
    }

    /// Keeps a genuine body that can't be read: through the queue it ends in the dead-letter queue, where it is seen.
    async fn unreadable(
        &self,
        error: BodyError,
        sender: Sender,
        message: Message,
        arrival: Arrival,
    ) -> Outcome {
        let refusal = Refusal::Body(error);
        if sender == Sender::Anonymous || matches!(refusal, Refusal::Body(BodyError::OtherCommand)) {
            return Outcome::Rejected(refusal);
        }
        match self.enqueue(&message, arrival).await {
            Ok(()) | Err(QueueError::Missing) => Outcome::Rejected(refusal),
            Err(error) => Outcome::Lost { refusal, error, message },
        }
    }

    async fn enqueue(&self, message: &Message, arrival: Arrival) -> Result<(), QueueError> {
        let queue = self.queue.as_ref().ok_or(QueueError::Missing)?;
        queue.send(message, arrival.start + QUEUE_BUDGET).await
    }
}

/// When a request came: for the budgets, and for the record.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    start: Instant,
    received_at: u64,
}

/// Milliseconds since the Unix epoch.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
