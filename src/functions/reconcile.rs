//! The function `reconcile`: brings in the groups that were never announced, and corrects lost changes.
//!
//! A pass first compares the groups of the table with Chat's answers, then adds those that Chat lists and the table lacks,
//! and last destroys those that Chat calls gone twice. Differences are written as an event of the moment before the
//! question, so that every newer callback wins.

mod checkpoint;
mod compare;
mod diff;
mod gone;
mod pass;
mod report;
mod request;

use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::time::Instant;

pub use diff::Unusable;
pub use report::{Change, Correction, Note, Report, Run, Waiting};
pub use request::{Members, ReconcileRequest, RequestError};

use crate::aws::{Aws, Timeouts};
use crate::chat::{ChatApi, ChatError, Class, SecretKey};
use crate::config::{KeySource, ReconcileSettings};
use crate::retry::{RetryError, retry_until};
use crate::store::{Acquired, Lease, PassKind, Store, StoreError};
use checkpoint::Checkpoint;
use pass::{Pass, State};

/// Nobody waits for an answer here.
const TABLE_TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(1), attempt: Duration::from_secs(10) };

/// Chat may be on the other side of the world.
const CHAT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long reading the secret key may take, repeated attempts included.
const SECRET_BUDGET: Duration = Duration::from_secs(8);

/// How long before its time limit a call stops, to store how far it has come.
const MARGIN: Duration = Duration::from_secs(60);

/// Brings the table to the state that Chat's REST API shows.
#[derive(Debug)]
pub struct Reconcile {
    sdk_app_id: u64,
    store: Store,
    leases: [Lease; 2],
    secret: Option<Secret>,
    /// The client for Chat's REST API, with the numbers of its calls.
    pub chat: ChatApi,
    /// The least time between the two answers that call a group gone.
    pub confirm_after: Duration,
    /// How long after the start of the last finished pass a scheduled call begins the next.
    pub every: Duration,
}

/// Receives the news of a pass.
pub type Observer<'a> = &'a (dyn Fn(&Note<'_>) + Send + Sync);

/// When a call with so much time left has to stop: a minute before; of a short time, half is left.
pub fn end_within(time_left: Duration) -> Instant {
    Instant::now() + (time_left - MARGIN.min(time_left / 2))
}

impl Reconcile {
    /// Puts the parts together, with the defaults of everything else.
    pub fn new(sdk_app_id: u64, store: Store, chat: ChatApi) -> Self {
        Self {
            sdk_app_id,
            store,
            leases: [PassKind::Real, PassKind::DryRun].map(|kind| Lease::new(sdk_app_id, kind)),
            secret: None,
            chat,
            confirm_after: Duration::from_secs(10),
            every: Duration::from_secs(86_400),
        }
    }

    /// Puts the parts together that the settings name, and reads the secret key.
    pub async fn from_settings(settings: ReconcileSettings) -> Result<Self, SecretError> {
        let aws = Aws::new(settings.aws);
        let http = aws.http(CHAT_CONNECT_TIMEOUT);
        let (secret_key, secret) = match settings.secret_key {
            KeySource::Key(key) => (key, None),
            KeySource::Secret(id) => {
                let secret = Secret { client: aws.secrets_manager(TABLE_TIMEOUTS), id };
                (secret.read().await?, Some(secret))
            }
        };
        let store = Store::new(aws.dynamodb(TABLE_TIMEOUTS), settings.table_name);
        let sdk_app_id = settings.chat.sdk_app_id;
        let chat = ChatApi::new(settings.chat, secret_key, http);
        Ok(Self { secret, every: settings.every, ..Self::new(sdk_app_id, store, chat) })
    }

    /// Does as much as it can until `end`.
    pub async fn run(&self, request: &ReconcileRequest, end: Instant, observer: Observer<'_>) -> Run {
        let start = Instant::now();
        let pass = Pass::new(self, request, end, observer);
        let mut state = State::default();
        let mut result = self.run_pass(&pass, &mut state).await;
        if result.as_ref().is_err_and(ReconcileError::is_unauthorized) && self.renew_secret_key().await {
            result = self.run_pass(&pass, &mut state).await;
        }
        let waiting = result.as_ref().ok().copied().flatten();
        let report = Report {
            dry_run: request.dry_run,
            finished: result.is_ok() && waiting != Some(Waiting::Busy),
            ..state.report
        };
        let error = result.err().filter(|error| !error.is_out_of_time(end));
        let named = request.group_ids.is_some();
        Run { report, named, first_pass: state.is_first_pass, waiting, error, duration: start.elapsed() }
    }

    /// Gives the lease back that a call of this process holds, if it was broken off: the next call need not wait for its
    /// end.
    pub async fn release(&self, request: &ReconcileRequest) -> Result<(), ReconcileError> {
        Ok(self.store.release(self.lease(request)).await?)
    }

    async fn run_pass(&self, pass: &Pass<'_>, state: &mut State) -> Result<Option<Waiting>, ReconcileError> {
        let request = pass.request;
        if let Some(group_ids) = &request.group_ids {
            return pass.run_named(state, group_ids).await.map(|()| None);
        }
        let lease = self.lease(request);
        let stored = match self.store.acquire(lease).await? {
            Acquired::Free(stored) => stored,
            Acquired::Busy if request.now => return Err(ReconcileError::Busy),
            Acquired::Busy => return Ok(Some(Waiting::Busy)),
        };
        let checkpoint = Checkpoint::resume(stored.as_deref(), request, self.every, SystemTime::now().into());
        let Some(checkpoint) = checkpoint else {
            self.store.release(lease).await?;
            return Ok(Some(Waiting::NotDue));
        };
        state.is_first_pass = checkpoint.last_begun_at.is_none();
        state.checkpoint = checkpoint;
        let result = pass.run(state, lease).await;
        state.checkpoint = std::mem::take(&mut state.checkpoint).after(&result);
        let saved = self.store.save(lease, &state.checkpoint.to_text()).await;
        self.store.release(lease).await?;
        result?;
        saved?;
        Ok(None)
    }

    fn lease(&self, request: &ReconcileRequest) -> &Lease {
        let [real, dry_run] = &self.leases;
        if request.dry_run { dry_run } else { real }
    }

    /// Reads the secret key again, in case it was changed since the start.
    async fn renew_secret_key(&self) -> bool {
        let Some(secret) = &self.secret else { return false };
        match secret.read().await {
            Ok(secret_key) => {
                self.chat.set_secret_key(secret_key);
                true
            }
            Err(error) => {
                tracing::warn!(error = crate::log::error_chain(&error), "the secret key was not read again");
                false
            }
        }
    }
}

/// A secret of Secrets Manager.
#[derive(Debug)]
struct Secret {
    client: aws_sdk_secretsmanager::Client,
    /// Its name or ARN.
    id: String,
}

impl Secret {
    async fn read(&self) -> Result<SecretKey, SecretError> {
        let request = self.client.get_secret_value().secret_id(&self.id);
        let answer = retry_until(Instant::now() + SECRET_BUDGET, || request.clone().send()).await?;
        answer.secret_string.and_then(|text| SecretKey::new(text.trim())).ok_or(SecretError::NoText)
    }
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

/// Why a call failed. Its corrections stay, and the next call goes on.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// The event can't be read.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Chat gave no answer.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// Chat's answer about a group can't be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The call's time is over before something could begin.
    #[error("the call's time is over")]
    OutOfTime,
    /// Another pass holds the lease.
    #[error("another pass is under way, or was killed within the last 15 minutes")]
    Busy,
    /// Chat's list names too few groups, twice.
    #[error("Chat lists {listed} groups and counts {total}")]
    ShortList {
        /// The groups in the list.
        listed: u64,
        /// TotalCount.
        total: u64,
    },
    /// So many destructions are not plausible.
    #[error(
        "{gone} of {groups} groups are gone: none is destroyed; if that is right, call with {{\"allow_destroy\": true}}"
    )]
    TooManyGone {
        /// The groups that Chat calls gone.
        gone: u64,
        /// The groups that the table shows.
        groups: u64,
    },
    /// So many groups could not be compared that the pass is worth little.
    #[error("{skipped} of {groups} groups could not be compared; a line of outcome skipped names each")]
    TooManySkipped {
        /// The groups that were skipped.
        skipped: u64,
        /// The groups that were to be compared.
        groups: u64,
    },
}

impl ReconcileError {
    /// Whether it concerns one group alone, if it came up with one.
    fn is_of_one_group(&self) -> bool {
        match self {
            Self::Chat(error) => matches!(
                error.class(),
                Class::Transient | Class::RateLimited | Class::NotFound | Class::TooLarge | Class::Permanent
            ),
            Self::Unusable(_) => true,
            _ => false,
        }
    }

    /// Whether it only tells that the call's time is over.
    fn is_out_of_time(&self, end: Instant) -> bool {
        match self {
            Self::OutOfTime => true,
            Self::Chat(error) => error.class() == Class::OutOfTime,
            Self::Store(StoreError::Failed(RetryError::TimedOut | RetryError::Transient(_))) => {
                Instant::now() >= end
            }
            _ => false,
        }
    }

    /// Whether Chat may answer the same question later.
    fn is_transient(&self) -> bool {
        matches!(self, Self::Chat(error) if error.is_transient())
    }

    fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Chat(error) if error.class() == Class::Unauthorized)
    }
}
