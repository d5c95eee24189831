//! The function `redrive`: finishes what `webhook` could not do in time.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use thiserror::Error;
use tokio::time::Instant;

use crate::aws::{Aws, Timeouts};
use crate::callback::{Application, BodyError, Callback, Command, ParameterError, Query, Sender, Token};
use crate::config::RedriveSettings;
use crate::event::Event;
use crate::forward::{ForwardError, Forwarder, late_query};
use crate::log::{Forwarded, Level, Outcome, Record, error_chain};
use crate::queue::{Message, Pending, Queue, QueueError};
use crate::store::{Store, StoreError};

/// Nobody waits for an answer here.
const AWS_TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(1), attempt: Duration::from_secs(5) };

/// The time that the downstream receiver has for one callback.
const FORWARD_BUDGET: Duration = Duration::from_secs(5);

/// For a connection to it.
const FORWARD_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of messages under way at once. The function has memory for so many events of the largest size.
const MAX_PARALLEL: usize = 4;

/// Finishes queued callbacks.
#[derive(Debug)]
pub struct Redrive {
    application: Application,
    store: Store,
    forwarder: Option<Forwarder>,
    /// Signs what is delivered late.
    token: Option<Token>,
    dead_letter_queue: Option<Queue>,
}

/// The end of one message.
#[derive(Debug)]
pub struct Finished {
    /// An error returns the message to its queue.
    pub result: Result<Outcome, RedriveError>,
    /// The log line.
    pub record: Record,
    /// The event that ended a life of its group, as long as items of that are left.
    unswept: Option<Event>,
}

impl Redrive {
    /// Puts the parts together that the settings name. Nothing is connected yet.
    pub fn from_settings(settings: RedriveSettings) -> Self {
        let aws = Aws::new(settings.aws);
        let forwarder = |url| Forwarder::new(url, aws.http(FORWARD_CONNECT_TIMEOUT));
        let queue = |url| Queue::new(aws.sqs(AWS_TIMEOUTS), url);
        Self {
            application: settings.application,
            store: Store::new(aws.dynamodb(AWS_TIMEOUTS), settings.table_name),
            forwarder: settings.forward_url.map(forwarder),
            token: settings.token,
            dead_letter_queue: settings.dead_letter_queue_url.map(queue),
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
        let work = batch.iter().enumerate().map(|(index, message)| async move {
            let begun = start.elapsed();
            (index, begun, self.process(message, now + begun, deadline).await)
        });
        let mut ended = stream::iter(work.collect::<Vec<_>>()).buffer_unordered(MAX_PARALLEL);
        let mut unswept = Vec::new();
        while let Some((index, begun, finished)) = ended.next().await {
            match finished.unswept {
                Some(_) => unswept.push((index, begun, finished)),
                None => report(index, finished.timed(start.elapsed() - begun, now + start.elapsed())),
            }
        }
        for (index, begun, finished) in unswept {
            let finished = self.sweep(finished, deadline).await;
            report(index, finished.timed(start.elapsed() - begun, now + start.elapsed()));
        }
    }

    /// Does everything but the sweep.
    async fn process(&self, message: &str, now: SystemTime, deadline: Instant) -> Finished {
        let Ok(message) = serde_json::from_str::<Message>(message) else {
            return Finished::new(Err(RedriveError::Message), Record::default());
        };
        let query = Query::parse(&message.query);
        let record = Record::new(&query);
        let Some(body) = message.bytes() else {
            return Finished::new(Err(RedriveError::Message), record);
        };
        let (received_at, sender) = (message.received_at, message.sender());
        let callback = Callback { query: &query, body: &body, received_at, sender };
        if message.pending == Pending::Forward {
            let result = self.forward(&callback, now, deadline).await;
            let forward = Some(if result.is_ok() { Forwarded::Ok } else { Forwarded::Failed });
            return Finished::new(result, Record { forward, ..record });
        }
        match self.read(&callback) {
            Ok(Some(event)) if !event.is_empty() => {
                let record = record.about(Some(&event));
                self.store(event, message.pending, record, deadline).await
            }
            Ok(event) => Finished::new(Ok(Outcome::Ignored), record.about(event.as_ref())),
            Err(RedriveError::Body(error)) => self.bury(error, &message, record, deadline).await,
            Err(error) => Finished::new(Err(error), record),
        }
    }

    /// Forwards a callback, late and signed anew.
    async fn forward(
        &self,
        callback: &Callback<'_>,
        now: SystemTime,
        deadline: Instant,
    ) -> Result<Outcome, RedriveError> {
        self.check(callback.query)?;
        let forwarder = self.forwarder.as_ref().ok_or(RedriveError::NoReceiver)?;
        let token = self.token.as_ref().filter(|_| callback.sender == Sender::Genuine);
        let deadline = deadline.min(Instant::now() + FORWARD_BUDGET);
        forwarder.post(&late_query(callback.query, token, now), callback.body, deadline).await?;
        Ok(Outcome::Forwarded)
    }

    /// Reads the event again. Its sender was checked before it was queued.
    fn read(&self, callback: &Callback<'_>) -> Result<Option<Event>, RedriveError> {
        self.check(callback.query)?;
        let Command::Roster(command) = callback.query.command()? else {
            return Err(RedriveError::NotOurs);
        };
        Ok(callback.event(command, &self.application)?)
    }

    fn check(&self, query: &Query<'_>) -> Result<(), RedriveError> {
        let is_ours = query.sdk_app_id()? == self.application.sdk_app_id;
        if is_ours { Ok(()) } else { Err(RedriveError::NotOurs) }
    }

    /// Writes an event that is not in the table yet.
    async fn store(&self, event: Event, pending: Pending, record: Record, deadline: Instant) -> Finished {
        if pending == Pending::Sweep {
            return Finished { unswept: Some(event), ..Finished::new(Ok(Outcome::Duplicate), record) };
        }
        match self.store.apply(&event, deadline).await {
            Ok(applied) => {
                let unswept = applied.has_leftovers.then_some(event);
                Finished { unswept, ..Finished::new(Ok(applied.effect.into()), record) }
            }
            Err(error) => Finished::new(Err(error.into()), record),
        }
    }

    /// Removes the items of ended lives. Out of sight already, they are no failure if time runs out: the message comes again.
    async fn sweep(&self, mut finished: Finished, deadline: Instant) -> Finished {
        let Some(event) = finished.unswept.take() else { return finished };
        // Boxed, as the compiler gives up on the layout of a future that is nested so deeply.
        match Box::pin(self.store.sweep(&event, deadline)).await {
            Ok(true) => {}
            Ok(false) => finished.result = Err(RedriveError::Unswept(None)),
            Err(error) => finished.result = Err(RedriveError::Unswept(Some(error))),
        }
        finished
    }

    /// Moves a message whose body can't be read to the dead-letter queue: no retry can mend it.
    async fn bury(&self, error: BodyError, message: &Message, record: Record, deadline: Instant) -> Finished {
        let Some(queue) = &self.dead_letter_queue else {
            return Finished::new(Err(error.into()), record);
        };
        let record = Record { error: Some(error.to_string()), ..record };
        match queue.send(message, deadline).await {
            Ok(()) => Finished::new(Ok(Outcome::Rejected), record),
            Err(error) => Finished::new(Err(error.into()), record),
        }
    }
}

impl Finished {
    fn new(result: Result<Outcome, RedriveError>, record: Record) -> Self {
        Self { result, record, unswept: None }
    }

    fn timed(self, duration: Duration, now: SystemTime) -> Self {
        let (level, outcome) = match &self.result {
            Ok(Outcome::Rejected) => (Level::Warn, Outcome::Rejected),
            Ok(outcome) => (Level::Info, *outcome),
            Err(RedriveError::Unswept(_)) => (Level::Info, Outcome::Queued),
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
    Bury(#[from] QueueError),
    /// The event is in the table; items of an ended life are left.
    #[error("the sweep is not finished")]
    Unswept(#[source] Option<StoreError>),
}
