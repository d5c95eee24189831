//! The way of a queued callback: from the retry queue into the table.

use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::app::milliseconds;
use crate::aws::{Aws, Patience};
use crate::callback::{AFTER_CREATE_GROUP, Delivery, ParameterError, Query};
use crate::config::{Application, ConfigError, Environment};
use crate::group::{BodyError, GroupCreated};
use crate::queue::Message;
use crate::reply::Record;
use crate::store::{Store, StoreError, Stored};

/// Nobody waits for an answer here.
const TABLE_PATIENCE: Patience = Patience {
    connect: Duration::from_secs(1),
    attempt: Duration::from_secs(5),
    attempts: 5,
    backoff: Duration::from_millis(100),
};

/// The function `redrive`: finishes what `webhook` could not store in time.
#[derive(Debug)]
pub struct Redrive {
    sdk_app_id: u64,
    store: Store,
}

impl Redrive {
    /// Reads the settings and builds the client; nothing is connected yet.
    pub fn from_env(env: Environment<'_>) -> Result<Self, ConfigError> {
        let Application { sdk_app_id, table_name } = Application::from_env(env)?;
        let store = Store::new(Aws::from_env(env)?.dynamodb(TABLE_PATIENCE), table_name);
        Ok(Self { sdk_app_id, store })
    }

    /// Stores one message before the deadline, and tells what became of it.
    pub async fn finish(
        &self,
        message: &str,
        now: SystemTime,
        deadline: Instant,
    ) -> (Result<Stored, RedriveError>, Record) {
        let start = Instant::now();
        let mut record = Record::default();
        let stored = self.store(message, deadline, &mut record).await;
        let duration = start.elapsed();
        record.finish_redrive(&stored, duration, milliseconds(now + duration));
        (stored, record)
    }

    async fn store(
        &self,
        message: &str,
        deadline: Instant,
        record: &mut Record,
    ) -> Result<Stored, RedriveError> {
        let message: Message = serde_json::from_str(message).map_err(|_| RedriveError::Message)?;
        let query = Query::parse(&message.query);
        record.describe(&query);
        if query.sdk_app_id()? != self.sdk_app_id || query.callback_command()? != AFTER_CREATE_GROUP {
            return Err(RedriveError::NotOurs);
        }
        let delivery = Delivery::new(&query, self.sdk_app_id, message.received_at)?;
        let event = GroupCreated::parse(&message.bytes(), delivery)?;
        record.describe_group(&event);
        // Looks before it writes: a part may be in the table, from the attempt that failed.
        Ok(self.store.finish(&event, deadline).await?)
    }
}

/// Why a message stays in the queue.
#[derive(Debug)]
pub enum RedriveError {
    /// It is not what `webhook` puts into the queue.
    Message,
    /// Its URL parameters are not what Chat sends.
    Parameter(ParameterError),
    /// It is meant for another application, or of a command that is not handled here.
    NotOurs,
    /// Its body can't be read.
    Body(BodyError),
    /// The table did not take it.
    Store(StoreError),
}

impl fmt::Display for RedriveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message => f.write_str("message: expected JSON with received_at, query and body"),
            Self::Parameter(error) => error.fmt(f),
            Self::NotOurs => f.write_str("query: expected this receiver's SdkAppid and command"),
            Self::Body(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Error for RedriveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            Self::Message | Self::Parameter(_) | Self::NotOurs | Self::Body(_) => None,
        }
    }
}

impl From<ParameterError> for RedriveError {
    fn from(error: ParameterError) -> Self {
        Self::Parameter(error)
    }
}

impl From<BodyError> for RedriveError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<StoreError> for RedriveError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
