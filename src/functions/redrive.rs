//! The function `redrive`: finishes the work that `webhook` could not do in time.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::aws::{Aws, Timeouts};
use crate::callback::{Application, BodyError, Callback, Command, ParameterError, Query, Token};
use crate::config::RedriveSettings;
use crate::event::Event;
use crate::forward::{ForwardError, Forwarder, late_query};
use crate::log::{Forwarded, Level, Outcome, Record, error_chain};
use crate::queue::{Message, Pending, Queue, QueueError};
use crate::store::{Applied, Effect, Store, StoreError};

/// Nobody waits for an answer here.
const AWS_TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(1), attempt: Some(Duration::from_secs(5)) };

/// The time that the downstream receiver has for one callback.
const FORWARD_BUDGET: Duration = Duration::from_secs(5);

/// For a connection to it.
const FORWARD_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of messages under way at once. One with a compressed body is alone: as an event, the largest takes over 100 MB.
const MAX_PARALLEL_MESSAGES: u32 = 4;

/// Finishes queued callbacks.
#[derive(Debug)]
pub struct Redrive {
    application: Application,
    store: Store,
    forwarder: Option<Forwarder>,
    /// Signs late deliveries.
    token: Option<Token>,
    dead_letter_queue: Option<Queue>,
    /// One for each message under way.
    slots: Semaphore,
}

/// The end of one message.
#[derive(Debug)]
pub struct Finished {
    /// An error returns the message to its queue.
    pub result: Result<Outcome, RedriveError>,
    /// The log line.
    pub record: Record,
    /// Whether items of an ended life are left.
    has_leftovers: bool,
}

impl Redrive {
    /// Puts the parts together that the settings name. Nothing is connected yet.
    pub fn from_settings(settings: RedriveSettings) -> Self {
        let aws = Aws::new(settings.aws);
        let forwarder = |url| Forwarder::new(url, aws.http(FORWARD_CONNECT_TIMEOUT));
        let queue = |url| {
            let aws = aws.clone();
            Queue::new(move || aws.sqs(AWS_TIMEOUTS), url)
        };
        Self {
            application: settings.application,
            store: Store::new(aws.dynamodb(AWS_TIMEOUTS), settings.table_name),
            forwarder: settings.forward_url.map(forwarder),
            token: settings.token,
            dead_letter_queue: settings.dead_letter_queue_url.map(queue),
            slots: Semaphore::new(MAX_PARALLEL_MESSAGES as usize),
        }
    }

    /// Finishes the messages of a batch before the deadline; sweeps give way to all other work. Calls `report` once for each
    /// message, with its index, as soon as it has ended.
    pub async fn finish(
        &self,
        batch: &[String],
        now: SystemTime,
        deadline: Instant,
        mut report: impl FnMut(usize, Finished),
    ) {
        let start = Instant::now();
        let work = batch.iter().enumerate().map(|(index, text)| async move {
            let started_after = start.elapsed();
            (index, started_after, self.process(text, now + started_after, deadline).await)
        });
        let mut ended =
            stream::iter(work.collect::<Vec<_>>()).buffer_unordered(MAX_PARALLEL_MESSAGES as usize);
        let mut unswept = Vec::new();
        while let Some((index, started_after, finished)) = ended.next().await {
            if finished.has_leftovers {
                unswept.push((index, started_after, finished));
            } else {
                report(index, finished.timed(start.elapsed() - started_after, now + start.elapsed()));
            }
        }
        for (index, started_after, finished) in unswept {
            // Read once more, as the memory is not enough for all events of a batch.
            let swept = self.sweep(&batch[index], deadline).await;
            let finished = Finished { result: swept.and(finished.result), ..finished };
            report(index, finished.timed(start.elapsed() - started_after, now + start.elapsed()));
        }
    }

    /// Does everything but the sweep.
    async fn process(&self, text: &str, now: SystemTime, deadline: Instant) -> Finished {
        let Ok(message) = serde_json::from_str::<Message>(text) else {
            return Finished::new(Err(RedriveError::Message), Record::default());
        };
        // A compressed body takes all slots: it may be very large.
        let slots = if message.body_zlib.is_some() { MAX_PARALLEL_MESSAGES } else { 1 };
        // The semaphore is never closed.
        let _slots = self.slots.acquire_many(slots).await.ok();
        let record = Record::new(&Query::parse(&message.query));
        if Instant::now() >= deadline {
            return Finished::new(Err(RedriveError::OutOfTime), record);
        }
        if message.pending == Pending::Forward {
            let result = self.forward(&message, now, deadline).await;
            let forward = Some(if result.is_ok() { Forwarded::Ok } else { Forwarded::Failed });
            return Finished::new(result, Record { forward, ..record });
        }
        match self.event(&message) {
            Ok(Some(event)) if !event.is_empty() => {
                let applied = match message.pending {
                    Pending::Sweep => Ok(Applied { effect: Effect::Duplicate, has_leftovers: true }),
                    _ => self.store.apply(&event, deadline).await,
                };
                let has_leftovers = applied.as_ref().is_ok_and(|applied| applied.has_leftovers);
                let result = applied.map(|applied| applied.effect.into()).map_err(RedriveError::from);
                Finished { result, record: record.about(Some(&event)), has_leftovers }
            }
            Ok(event) => Finished::new(Ok(Outcome::Ignored), record.about(event.as_ref())),
            Err(RedriveError::Body(error)) => {
                let record = Record { error: Some(error.to_string()), ..record };
                Finished::new(self.quarantine(error, &message, deadline).await, record)
            }
            Err(error) => Finished::new(Err(error), record),
        }
    }

    /// Forwards a callback, late and signed anew.
    async fn forward(
        &self,
        message: &Message,
        now: SystemTime,
        deadline: Instant,
    ) -> Result<Outcome, RedriveError> {
        let query = Query::parse(&message.query);
        self.check(&query)?;
        let body = message.bytes().ok_or(RedriveError::Message)?;
        let forwarder = self.forwarder.as_ref().ok_or(RedriveError::NoReceiver)?;
        let token = self.token.as_ref().filter(|_| !message.unsigned);
        let deadline = deadline.min(Instant::now() + FORWARD_BUDGET);
        forwarder.post(&late_query(&query, token, now), &body, deadline).await?;
        Ok(Outcome::Forwarded)
    }

    /// Reads the event again. Its sender was checked before it was queued.
    fn event(&self, message: &Message) -> Result<Option<Event>, RedriveError> {
        let query = Query::parse(&message.query);
        self.check(&query)?;
        let Command::Roster(command) = query.command()? else {
            return Err(RedriveError::NotOurs);
        };
        let body = &message.bytes().ok_or(RedriveError::Message)?;
        let (received_at, sender) = (message.received_at, message.sender());
        Ok(Callback { query: &query, body, received_at, sender }.event(command, &self.application)?)
    }

    fn check(&self, query: &Query<'_>) -> Result<(), RedriveError> {
        let is_ours = query.sdk_app_id()? == self.application.sdk_app_id;
        if is_ours { Ok(()) } else { Err(RedriveError::NotOurs) }
    }

    /// Removes the items of ended lives. If time runs out, the message comes again: readers don't see those items, so that
    /// it is no failure.
    async fn sweep(&self, text: &str, deadline: Instant) -> Result<(), RedriveError> {
        if Instant::now() >= deadline {
            return Err(RedriveError::Unswept);
        }
        let message = serde_json::from_str(text).map_err(|_| RedriveError::Message)?;
        let Some(event) = self.event(&message)? else { return Ok(()) };
        // Boxed, as the compiler gives up on the layout of a future that is nested so deeply.
        let is_finished = Box::pin(self.store.sweep(&event, deadline)).await?;
        if is_finished { Ok(()) } else { Err(RedriveError::Unswept) }
    }

    /// Moves a message whose body can't be read to the dead-letter queue: no retry can mend it.
    async fn quarantine(
        &self,
        error: BodyError,
        message: &Message,
        deadline: Instant,
    ) -> Result<Outcome, RedriveError> {
        let queue = self.dead_letter_queue.as_ref().ok_or(error)?;
        queue.send(message, deadline).await?;
        Ok(Outcome::Rejected)
    }
}

impl Finished {
    fn new(result: Result<Outcome, RedriveError>, record: Record) -> Self {
        Self { result, record, has_leftovers: false }
    }

    fn timed(self, duration: Duration, now: SystemTime) -> Self {
        let (level, outcome) = match &self.result {
            Ok(Outcome::Rejected) => (Level::Warn, Outcome::Rejected),
            Ok(outcome) => (Level::Info, *outcome),
            Err(RedriveError::Unswept) => (Level::Info, Outcome::Queued),
            Err(_) => (Level::Warn, Outcome::Failed),
        };
        let error = self.result.as_ref().err().map(|error| error_chain(error)).or(self.record.error);
        let record = Record { level, outcome, error, ..self.record }.timed(duration, now);
        Self { record, ..self }
    }
}

/// Why a message stays in the queue.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RedriveError {
    #[error("message: expected JSON with received_at, query and body")]
    Message,
    #[error("the time of the batch is over")]
    OutOfTime,
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    #[error("query: expected this receiver's SdkAppid and a command that it keeps")]
    NotOurs,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("FORWARD_URL: expected the downstream receiver, as the message is to be forwarded")]
    NoReceiver,
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the dead-letter queue did not take a body that can't be read")]
    Quarantine(#[from] QueueError),
    /// The event is in the table; items of an ended life are left.
    #[error("the sweep is not finished")]
    Unswept,
}
