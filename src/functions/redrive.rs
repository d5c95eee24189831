//! The function `redrive`: finishes what `webhook` could not do in time.

use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::time::Instant;

use super::Outcome;
use crate::aws::{Aws, Timeouts};
use crate::callback::{BodyError, Command, Origin, ParameterError, Query, Token};
use crate::config::RedriveSettings;
use crate::event::Event;
use crate::forward::{ForwardError, Forwarder, late_query};
use crate::log::{Forwarded, Record, error_chain};
use crate::queue::{Message, Pending};
use crate::store::{Store, StoreError};

/// Nobody waits for an answer here.
const TABLE_TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(1), attempt: Duration::from_secs(5) };

/// How long the downstream receiver may take for one callback.
const FORWARD_BUDGET: Duration = Duration::from_secs(5);

/// For a connection to it.
const FORWARD_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Finishes queued callbacks.
#[derive(Debug)]
pub struct Redrive {
    sdk_app_id: u64,
    store: Store,
    forwarder: Option<Forwarder>,
    /// Signs what is delivered late.
    token: Option<Token>,
}

impl Redrive {
    /// Puts the parts together.
    pub fn new(sdk_app_id: u64, store: Store, forwarder: Option<Forwarder>, token: Option<Token>) -> Self {
        Self { sdk_app_id, store, forwarder, token }
    }

    /// Puts the parts together that the settings name. Nothing is connected yet.
    pub fn from_settings(settings: RedriveSettings) -> Self {
        let aws = Aws::new(settings.aws);
        let store = Store::new(aws.dynamodb(TABLE_TIMEOUTS), settings.table_name);
        let http = || aws.http(FORWARD_CONNECT_TIMEOUT);
        let forwarder = settings.forward_url.map(|url| Forwarder::new(url, http()));
        Self::new(settings.sdk_app_id, store, forwarder, settings.token)
    }

    /// Finishes one message before the deadline, and tells what became of it.
    pub async fn finish(
        &self,
        message: &str,
        now: SystemTime,
        deadline: Instant,
    ) -> (Result<Outcome, RedriveError>, Record) {
        let start = Instant::now();
        let (result, record) = match serde_json::from_str::<Message>(message) {
            Ok(message) => self.process(&message, now, deadline).await,
            Err(_) => (Err(RedriveError::Message), Record::default()),
        };
        let (level, outcome) = match &result {
            Ok(outcome) => ("INFO", outcome.name()),
            Err(_) => ("WARN", "failed"),
        };
        let error = result.as_ref().err().map(|error| error_chain(error));
        let duration = start.elapsed();
        (result, Record { level, outcome, error, ..record }.timed(duration, now + duration))
    }

    async fn process(
        &self,
        message: &Message,
        now: SystemTime,
        deadline: Instant,
    ) -> (Result<Outcome, RedriveError>, Record) {
        let query = Query::parse(&message.query);
        let record = Record::new(&query);
        if message.pending == Pending::Forward {
            let result = self.forward(&query, message, now, deadline).await;
            let forward = Some(if result.is_ok() { Forwarded::Ok } else { Forwarded::Failed });
            return (result, Record { forward, ..record });
        }
        match self.read(&query, message) {
            Ok(Some(event)) if !event.is_empty() => {
                let applied = self.store.apply(&event, deadline).await;
                if applied.as_ref().is_ok_and(|applied| applied.has_leftovers) {
                    let swept = self.store.sweep(&event, deadline).await;
                    if let Err(error) = swept {
                        return (Err(error.into()), record.about(Some(&event)));
                    }
                }
                (applied.map(Outcome::Applied).map_err(RedriveError::from), record.about(Some(&event)))
            }
            Ok(event) => (Ok(Outcome::Ignored), record.about(event.as_ref())),
            Err(error) => (Err(error), record),
        }
    }

    /// Passes a callback on, late and signed anew.
    async fn forward(
        &self,
        query: &Query<'_>,
        message: &Message,
        now: SystemTime,
        deadline: Instant,
    ) -> Result<Outcome, RedriveError> {
        self.check(query)?;
        let body = message.bytes().ok_or(RedriveError::Message)?;
        let forwarder = self.forwarder.as_ref().ok_or(RedriveError::NoReceiver)?;
        let token = self.token.as_ref().filter(|_| !message.unsigned);
        let deadline = deadline.min(Instant::now() + FORWARD_BUDGET);
        forwarder.deliver(&late_query(query, token, now), &body, deadline).await?;
        Ok(Outcome::Forwarded(None))
    }

    /// Reads the event again. Its sender was checked before it was queued.
    fn read(&self, query: &Query<'_>, message: &Message) -> Result<Option<Event>, RedriveError> {
        self.check(query)?;
        let Command::Roster(command) = query.command()? else {
            return Err(RedriveError::NotOurs);
        };
        let body = message.bytes().ok_or(RedriveError::Message)?;
        let origin = Origin::new(query, self.sdk_app_id, message.received_at)?;
        Ok(Event::parse(command, &body, &origin)?)
    }

    fn check(&self, query: &Query<'_>) -> Result<(), RedriveError> {
        if query.sdk_app_id()? == self.sdk_app_id { Ok(()) } else { Err(RedriveError::NotOurs) }
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
    #[error("FORWARD_URL: expected the downstream receiver, as the message is to be passed on")]
    NoReceiver,
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
