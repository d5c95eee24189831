//! The function `webhook`: the whole path of a callback, and the time that each part of it may take.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use lambda_http::http::{Method, Response};
use lambda_http::{Body, Request};
use tokio::time::Instant;

use super::{BODY_MAX_BYTES, Outcome, Refusal};
use crate::aws::{Aws, Timeouts};
use crate::callback::{self, BodyError, Command, Origin, Query, Sender, Verifier};
use crate::config::WebhookSettings;
use crate::event::Event;
use crate::forward::{ForwardError, Forwarder, LOOP_HEADER};
use crate::log::{Forwarded, Record, error_chain};
use crate::queue::{Message, Pending, Queue, QueueError};
use crate::store::{Applied, Store, StoreError};

/// Chat waits 2 s; the gateway and the network need some of it. Counted from the start of the handler, the table and
/// the downstream receiver have until the first of these, or the second where nothing is kept; the queues until the last,
/// as a decision has. The answer leaves by 1.5 s.
const KEEP_BUDGET: Duration = Duration::from_millis(900);
const PASS_BUDGET: Duration = Duration::from_millis(1000);
const QUEUE_BUDGET: Duration = Duration::from_millis(1300);

/// An attempt is ended by the budget alone.
const TABLE_TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_millis(300), attempt: KEEP_BUDGET };

/// The queues have at least 0.3 s.
const QUEUE_TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_millis(200), attempt: QUEUE_BUDGET };

/// For a connection to the downstream receiver.
const FORWARD_CONNECT_TIMEOUT: Duration = QUEUE_BUDGET;

/// Receives callbacks.
#[derive(Debug)]
pub struct Webhook {
    sdk_app_id: u64,
    verifier: Verifier,
    store: Store,
    downstream: Downstream,
    is_cold: AtomicBool,
}

/// Where callbacks go beside the table, each of it optional.
#[derive(Debug, Default)]
pub struct Downstream {
    /// For what can't be stored in time; without it such an event is answered 503.
    pub retry_queue: Option<Queue>,
    /// The downstream receiver.
    pub forwarder: Option<Forwarder>,
    /// For what the downstream receiver does not take.
    pub forward_queue: Option<Queue>,
}

/// A callback whose sender is accepted.
struct Callback<'a> {
    command: Command,
    sender: Sender,
    origin: Origin<'a>,
    body: &'a [u8],
    /// The start of the handler, from which all budgets are counted.
    start: Instant,
}

impl Webhook {
    /// Puts the parts together.
    pub fn new(sdk_app_id: u64, verifier: Verifier, store: Store, downstream: Downstream) -> Self {
        Self { sdk_app_id, verifier, store, downstream, is_cold: AtomicBool::new(true) }
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
        let queue = |url| Queue::new(aws.sqs(QUEUE_TIMEOUTS), url);
        let downstream = Downstream {
            retry_queue: settings.retry_queue_url.map(queue),
            forwarder: settings.forward_url.map(|url| Forwarder::new(url, aws.http(FORWARD_CONNECT_TIMEOUT))),
            forward_queue: settings.forward_queue_url.map(queue),
        };
        Self::new(settings.sdk_app_id, settings.verifier, store, downstream)
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
        if request.headers().contains_key(LOOP_HEADER) {
            return Err(Refusal::Loop);
        }
        let command = query.command()?;
        let origin = Origin::new(query, self.sdk_app_id, now)?;
        Ok(Callback { command, sender, origin, body, start })
    }

    async fn handle(&self, callback: &Callback<'_>) -> Handled {
        match callback.command {
            Command::Roster(command) => match Event::parse(command, callback.body, &callback.origin) {
                Ok(Some(event)) => self.keep(event, callback).await,
                Ok(None) => self.pass_on(callback).await,
                Err(error) => self.refuse(error, callback).await,
            },
            Command::Other => self.pass_on(callback).await,
            Command::Decision => self.decide(callback).await,
        }
    }

    /// Brings an event to the table and to the downstream receiver at the same time, and to the queues what is owed then.
    async fn keep(&self, event: Event, callback: &Callback<'_>) -> Handled {
        let (table, forward) = tokio::join!(self.write(&event, callback), self.forward(callback));
        let mut handled = Handled { event: Some(event), ..Handled::new(Ok(Outcome::Ignored)) };
        let mut owed = handled.owed_to(forward.as_ref());
        let has_leftovers = matches!(&table, Some(Ok(applied)) if applied.has_leftovers);
        match table {
            Some(Ok(applied)) => handled.result = Ok(Outcome::Applied(applied)),
            Some(Err(error)) => {
                handled.result = Ok(Outcome::Queued);
                handled.errors.push(error_chain(&error));
                owed.push(Pending::Table);
            }
            None => {}
        }
        let sweep = async {
            if has_leftovers {
                // For `redrive`. One that is not queued is no failure: `reconcile` sweeps too.
                self.enqueue(Pending::Table, callback).await.ok();
            }
        };
        tokio::join!(self.settle(handled, &owed, callback), sweep).0
    }

    /// Passes on what is not kept. Without a downstream receiver it is answered OK.
    async fn pass_on(&self, callback: &Callback<'_>) -> Handled {
        let mut handled = Handled::new(Ok(Outcome::Ignored));
        let Some(forwarder) = &self.downstream.forwarder else { return handled };
        let deadline = callback.start + PASS_BUDGET;
        let forward = forwarder.try_post(&callback.forward_query(), callback.body, deadline).await;
        let owed = handled.owed_to(Some(&forward));
        handled.result = Ok(forward.map_or(Outcome::Queued, Outcome::Forwarded));
        let mut handled = self.settle(handled, &owed, callback).await;
        handled.lost.iter_mut().for_each(Message::drop_body);
        handled
    }

    /// Hands a decision through, which is the downstream receiver's alone. Without one, OK means that all is allowed.
    async fn decide(&self, callback: &Callback<'_>) -> Handled {
        let Some(forwarder) = &self.downstream.forwarder else {
            return Handled { is_warning: true, ..Handled::new(Ok(Outcome::Ignored)) };
        };
        let (query, deadline) = (callback.forward_query(), callback.start + QUEUE_BUDGET);
        match forwarder.try_decide(&query, callback.body, deadline).await {
            Ok(json) => {
                let forwarded = Some(Forwarded::Ok);
                Handled { forwarded, ..Handled::new(Ok(Outcome::Forwarded(Some(json)))) }
            }
            Err(error) => Handled {
                forwarded: Some(Forwarded::Failed),
                errors: vec![error_chain(&error)],
                ..Handled::new(Err(Refusal::Undecided))
            },
        }
    }

    /// Refuses a body that can't be read. A genuine one is passed on, and queued: it ends up in the dead-letter queue,
    /// where an alarm reports it.
    async fn refuse(&self, error: BodyError, callback: &Callback<'_>) -> Handled {
        let is_queued = callback.sender == Sender::Genuine && error != BodyError::OtherCommand;
        let mut handled = Handled::new(Err(Refusal::Body(error)));
        if !is_queued {
            return handled;
        }
        let forward = self.forward(callback).await;
        let mut owed = handled.owed_to(forward.as_ref());
        if self.downstream.retry_queue.is_some() {
            owed.push(Pending::Table);
        }
        self.settle(handled, &owed, callback).await
    }

    /// Writes an event; `None` where it says nothing.
    async fn write(&self, event: &Event, callback: &Callback<'_>) -> Option<Result<Applied, StoreError>> {
        if event.is_empty() {
            return None;
        }
        Some(self.store.apply(event, callback.start + KEEP_BUDGET).await)
    }

    /// Posts a callback to the downstream receiver, if there is one.
    async fn forward(&self, callback: &Callback<'_>) -> Option<Result<(), ForwardError>> {
        let (forwarder, deadline) = (self.downstream.forwarder.as_ref()?, callback.start + KEEP_BUDGET);
        Some(forwarder.try_deliver(&callback.forward_query(), callback.body, deadline).await)
    }

    /// Queues what is owed. What no queue takes is lost: it goes into the log.
    async fn settle(&self, mut handled: Handled, owed: &[Pending], callback: &Callback<'_>) -> Handled {
        let queued = join_all(owed.iter().map(|pending| self.enqueue(*pending, callback))).await;
        for (pending, queued) in owed.iter().zip(queued) {
            let Err(error) = queued else { continue };
            handled.errors.push(error_chain(&error));
            handled.lost.push(callback.message(*pending));
            if *pending == Pending::Forward {
                handled.forwarded = Some(Forwarded::Failed);
            }
            handled.result = handled.result.and(Err(Refusal::Unavailable));
        }
        handled
    }

    async fn enqueue(&self, pending: Pending, callback: &Callback<'_>) -> Result<(), QueueError> {
        let queue = match pending {
            Pending::Table => &self.downstream.retry_queue,
            Pending::Forward => &self.downstream.forward_queue,
        };
        let queue = queue.as_ref().ok_or(QueueError::Missing)?;
        queue.send(&callback.message(pending), callback.start + QUEUE_BUDGET).await
    }
}

impl Callback<'_> {
    fn message(&self, pending: Pending) -> Message {
        Message {
            pending,
            unsigned: self.sender == Sender::Anonymous,
            ..Message::new(self.origin.received_at, self.origin.query.without(&["Sign"]), self.body)
        }
    }

    /// The query as it came. What was not checked is not passed on as if it were signed.
    fn forward_query(&self) -> String {
        let unchecked: &[&str] = match self.sender {
            Sender::Genuine => &[],
            Sender::Anonymous => &["Sign", "RequestTime"],
        };
        self.origin.query.without(unchecked)
    }
}

/// What has become of a callback.
#[derive(Debug)]
struct Handled {
    result: Result<Outcome, Refusal>,
    event: Option<Event>,
    forwarded: Option<Forwarded>,
    /// What failed underneath.
    errors: Vec<String>,
    /// What no queue took.
    lost: Vec<Message>,
    /// Whether somebody should look, though it is answered OK.
    is_warning: bool,
}

impl Handled {
    fn new(result: Result<Outcome, Refusal>) -> Self {
        Self { result, event: None, forwarded: None, errors: Vec::new(), lost: Vec::new(), is_warning: false }
    }

    /// Notes what has become of forwarding, and tells what is still owed to the downstream receiver.
    fn owed_to<T>(&mut self, forward: Option<&Result<T, ForwardError>>) -> Vec<Pending> {
        let Some(Err(error)) = forward else {
            self.forwarded = forward.map(|_| Forwarded::Ok);
            return Vec::new();
        };
        self.forwarded = Some(Forwarded::Queued);
        self.errors.push(error_chain(error));
        vec![Pending::Forward]
    }

    fn response(&self) -> Response<Body> {
        match &self.result {
            Ok(Outcome::Forwarded(Some(json))) => callback::hand_through(json.clone()),
            Ok(_) => callback::ok(),
            Err(refusal) => callback::fail(refusal.codes(), &refusal.to_string()),
        }
    }

    fn record(&self, query: &Query<'_>, cold_start: bool) -> Record {
        let (level, outcome) = match &self.result {
            _ if !self.lost.is_empty() => ("ERROR", "lost"),
            Ok(Outcome::Queued) => ("WARN", "queued"),
            Ok(outcome) if self.is_warning => ("WARN", outcome.name()),
            Ok(outcome) => ("INFO", outcome.name()),
            Err(Refusal::Undecided) => ("WARN", "undecided"),
            Err(_) => ("WARN", "rejected"),
        };
        let refusal = self.result.as_ref().err();
        Record {
            level,
            outcome,
            error_code: refusal.map_or(0, |refusal| refusal.codes().1),
            error_info: refusal.map(ToString::to_string),
            cold_start,
            forward: self.forwarded,
            error: (!self.errors.is_empty()).then(|| self.errors.join("; ")),
            event: self.lost.clone(),
            ..Record::new(query).about(self.event.as_ref())
        }
    }
}
