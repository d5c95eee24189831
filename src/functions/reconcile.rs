//! The function `reconcile`: brings in the groups that were never announced, and corrects what was lost.
//!
//! A pass compares first the groups of the table with what Chat says of each, then adds those that Chat lists and the
//! table lacks, and last destroys those that Chat calls gone twice. What differs is written as an event of the moment
//! before the question, so that every newer callback wins.

mod checkpoint;
mod compare;
mod diff;
mod gone;
mod pass;
mod report;
mod request;

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

pub use report::{Change, Correction, Note, Reconciled, Report};
pub use request::{ReconcileRequest, RequestError};

use crate::aws::{Aws, Timeouts};
use crate::chat::{ChatApi, ChatError, Class, Reason, SecretKey};
use crate::config::{KeySource, ReconcileSettings};
use crate::retry::{RetryError, retry_until};
use crate::store::{Lease, Store, StoreError};
use diff::Unusable;
use pass::Pass;

/// Nobody waits for an answer here.
const TABLE_TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(1), attempt: Duration::from_secs(10) };

/// Chat may be on the other side of the world.
const CHAT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long reading the secret key may take, repeated attempts included.
const SECRET_BUDGET: Duration = Duration::from_secs(8);

/// How long before its time limit a call stops: what is under way comes to its end.
const MARGIN: Duration = Duration::from_secs(120);

/// Brings the table to what Chat's REST API says.
#[derive(Debug)]
pub struct Reconcile {
    sdk_app_id: u64,
    store: Store,
    /// The client for Chat's REST API, with the numbers of its calls.
    pub chat: ChatApi,
    /// What a pass waits for.
    pub pace: Pace,
}

/// What a pass waits for.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The least time between the two answers that call a group gone.
    pub confirm_after: Duration,
    /// How often the place is kept.
    pub save_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { confirm_after: Duration::from_secs(10), save_every: Duration::from_secs(20) }
    }
}

/// How long one call may take.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimit {
    /// No group is begun after this.
    pub stop_at: Instant,
    /// What is under way ends by this; then the place is kept.
    pub end: Instant,
}

impl TimeLimit {
    /// Stops well before the time is over; of a short one, half is left.
    pub fn within(time_left: Duration) -> Self {
        let margin = if time_left > MARGIN { MARGIN } else { time_left / 2 };
        let start = Instant::now();
        Self { stop_at: start + (time_left - margin), end: start + (time_left - margin / 4) }
    }
}

/// Who is told what a pass finds.
pub type Observer<'a> = &'a (dyn Fn(&Note<'_>) + Send + Sync);

impl Reconcile {
    /// Puts the parts together.
    pub fn new(sdk_app_id: u64, store: Store, chat: ChatApi) -> Self {
        Self { sdk_app_id, store, chat, pace: Pace::default() }
    }

    /// Puts the parts together that the settings name, and reads the secret key.
    pub async fn from_settings(settings: ReconcileSettings) -> Result<Self, SecretError> {
        let aws = Aws::new(settings.aws);
        let http = aws.http(CHAT_CONNECT_TIMEOUT);
        let secret_key = match settings.secret_key {
            KeySource::Key(key) => key,
            KeySource::Secret(id) => read_secret_key(&aws, &id).await?,
        };
        let store = Store::new(aws.dynamodb(TABLE_TIMEOUTS), settings.table_name);
        Ok(Self::new(settings.chat.sdk_app_id, store, ChatApi::new(settings.chat, secret_key, http)))
    }

    /// Does as much as it can in its time.
    pub async fn run(
        &self,
        request: &ReconcileRequest,
        time: TimeLimit,
        observer: Observer<'_>,
    ) -> Reconciled {
        let start = Instant::now();
        let pass = Pass::new(self, request, time, observer);
        let result = match &request.group_ids {
            Some(group_ids) => pass.named(group_ids).await,
            None => self.go_on(&pass, request.dry_run).await,
        };
        let (finished, error) = match result {
            Ok(()) => (true, None),
            Err(error) if pass.is_cut_off(&error) => (false, None),
            Err(error) => (false, Some(error)),
        };
        let report = Report { finished, ..pass.report() };
        Reconciled { report, named: request.group_ids.is_some(), error, duration: start.elapsed() }
    }

    /// Goes on where the last call stopped.
    async fn go_on(&self, pass: &Pass<'_>, dry_run: bool) -> Result<(), ReconcileError> {
        let lease = Lease::new(self.sdk_app_id, if dry_run { "DRY_RUN" } else { "PLACE" });
        let place = self.store.take_place(&lease).await?.ok_or(ReconcileError::Busy)?;
        pass.resume(place.as_deref());
        let result = tokio::select! {
            result = pass.walk() => result,
            error = self.keep(pass, &lease) => Err(error),
        };
        let left = self.store.keep_place(&lease, &pass.place_after(&result).to_text(), false).await;
        result.and(left.map(drop).map_err(ReconcileError::from))
    }

    /// Keeps the place, and the lease, until that fails.
    async fn keep(&self, pass: &Pass<'_>, lease: &Lease) -> ReconcileError {
        loop {
            tokio::time::sleep(self.pace.save_every).await;
            match self.store.keep_place(lease, &pass.place().to_text(), true).await {
                Ok(true) => {}
                Ok(false) => return ReconcileError::TakenOver,
                Err(error) => return error.into(),
            }
        }
    }
}

/// Reads Chat's secret key from Secrets Manager, by the secret's name or ARN.
async fn read_secret_key(aws: &Aws, id: &str) -> Result<SecretKey, SecretError> {
    let (client, deadline) = (aws.secrets_manager(TABLE_TIMEOUTS), Instant::now() + SECRET_BUDGET);
    let answer = retry_until(deadline, || client.get_secret_value().secret_id(id).send()).await?;
    answer.secret_string.and_then(|text| SecretKey::new(text.trim())).ok_or(SecretError::NoText)
}

/// Why a secret could not be read. No text of it holds the secret.
#[derive(Debug, Error)]
pub enum SecretError {
    /// Secrets Manager, or the way to it, failed.
    #[error("the secret that CHAT_SECRET_KEY_ID names could not be read")]
    Failed(#[from] RetryError),
    /// The secret is binary, or empty.
    #[error("the secret that CHAT_SECRET_KEY_ID names: expected the application's secret key as text")]
    NoText,
}

/// Why a pass failed. What it has corrected stays, and the next call goes on.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// The call asks for something else than there is.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Chat gave no answer.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// Chat's answer about a group can't be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The table did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The call's time is over: the next one goes on.
    #[error("the time is over")]
    OutOfTime,
    /// Another pass holds the lease.
    #[error("another pass is under way, or was killed within the last two minutes")]
    Busy,
    /// Another pass has taken the lease.
    #[error("another pass has taken over")]
    TakenOver,
    /// So much can't be right.
    #[error(
        "{gone} of {groups} groups are gone: none is destroyed; if that is right, call with {{\"allow_destroy\": true}}"
    )]
    TooManyGone {
        /// The groups that Chat calls gone.
        gone: u64,
        /// The groups that the table shows.
        groups: u64,
    },
}

impl ReconcileError {
    /// Whether it concerns one group alone, if it came up with one.
    fn is_of_group(&self) -> bool {
        match self {
            // 10007, asked about a group, may say that its type has no list of members.
            Self::Chat(ChatError { reason: Reason::Refused { code: 10007, .. }, .. }) => true,
            Self::Chat(error) => error.class() != Class::Settings,
            Self::Unusable(_) => true,
            _ => false,
        }
    }

    /// Whether more time might have helped.
    fn is_transient(&self) -> bool {
        match self {
            Self::OutOfTime => true,
            Self::Chat(error) => error.is_transient(),
            Self::Store(StoreError::Failed(error)) => !matches!(error, RetryError::Failed(_)),
            _ => false,
        }
    }
}
