//! The function `reconcile`: brings in the groups that were never announced, and corrects lost changes.
//!
//! A pass first compares the groups of the table with Chat's answers, then adds those that Chat lists and the table lacks,
//! and last destroys those that Chat calls gone twice. Differences are written as an event of the moment before the
//! question, so that every newer callback wins.

mod checkpoint;
mod compare;
mod diff;
mod pass;
mod piece;
mod report;
mod request;

use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::time::Instant;

pub use diff::Unusable;
pub use report::{Change, Correction, Ended, Note, Report, Waiting};
pub use request::{Members, ReconcileRequest, RequestError};

use crate::aws::{Aws, Secret, SecretError, Timeouts};
use crate::chat::{ChatApi, ChatError, Class, SecretKey};
use crate::config::{KeySource, ReconcileSettings};
use crate::log::error_chain;
use crate::retry::RetryError;
use crate::store::{Lease, PassKind, Store, StoreError};
use checkpoint::Checkpoint;
use compare::Comparer;
use pass::Pass;

/// Nobody waits for an answer here.
const AWS_TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(1), attempt: Some(Duration::from_secs(10)) };

/// Chat may be on the other side of the world.
const CHAT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

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

/// Receives the news of a call.
pub type Observer<'a> = &'a dyn Fn(&Note<'_>);

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
                let secret = aws.secret(id, AWS_TIMEOUTS);
                (read_key(&secret).await?, Some(secret))
            }
        };
        let store = Store::new(aws.dynamodb(AWS_TIMEOUTS), settings.table_name);
        let sdk_app_id = settings.chat.sdk_app_id;
        let chat = ChatApi::new(settings.chat, secret_key, http);
        Ok(Self { secret, every: settings.every, ..Self::new(sdk_app_id, store, chat) })
    }

    /// Does as much as it can until `end`.
    pub async fn run(
        &self,
        request: &ReconcileRequest,
        end: Instant,
        observer: Observer<'_>,
    ) -> Result<Report, ReconcileError> {
        let start = Instant::now();
        let comparer = &Comparer::new(self, request, end);
        let (lease, checkpoint, report, custom_fields) = Default::default();
        let mut pass = Pass { comparer, observer, lease, checkpoint, report, custom_fields };
        let mut result = self.run_pass(&mut pass).await;
        let is_unauthorized = |error: &ReconcileError| error.class() == Some(Class::Unauthorized);
        if result.as_ref().is_err_and(is_unauthorized) && self.renew_secret_key().await {
            result = self.run_pass(&mut pass).await;
        }
        let finished = matches!(result, Ok(None | Some(Waiting::NotDue)));
        let report = Report { dry_run: request.dry_run, finished, ..pass.report };
        let waiting = result.as_ref().ok().copied().flatten();
        let error = result.err().filter(|error| !error.is_out_of_time(end));
        let ended = Ended {
            report: report.clone(),
            named: request.group_ids.is_some(),
            first_pass: pass.lease.is_some() && pass.checkpoint.last_begun_at.is_none(),
            duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            waiting,
            error: error.as_ref().map(|error| error_chain(error)),
        };
        observer(&ended.into());
        error.map_or(Ok(report), Err)
    }

    /// Gives the lease back that a call of this process holds, if it was broken off: the next call need not wait for its
    /// end.
    pub async fn release(&self, request: &ReconcileRequest) -> Result<(), ReconcileError> {
        Ok(self.store.release(self.lease(request)).await?)
    }

    async fn run_pass<'a>(&'a self, pass: &mut Pass<'a>) -> Result<Option<Waiting>, ReconcileError> {
        let request = pass.comparer.request;
        if let Some(group_ids) = &request.group_ids {
            return pass.run_named(group_ids).await.map(|()| None);
        }
        let lease = self.lease(request);
        let Some(stored) = self.store.acquire::<Checkpoint>(lease).await? else {
            return if request.now { Err(ReconcileError::Busy) } else { Ok(Some(Waiting::Busy)) };
        };
        let Some(checkpoint) = stored.resume(request, self.every, SystemTime::now().into()) else {
            self.store.release(lease).await?;
            return Ok(Some(Waiting::NotDue));
        };
        (pass.lease, pass.checkpoint) = (Some(lease), checkpoint);
        let result = pass.run().await;
        let saved = self.store.save(lease, &pass.checkpoint.clone().after(&result)).await;
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
        let secret_key = read_key(secret).await.inspect_err(|error| {
            tracing::warn!(error = error_chain(error), "the secret key was not read again");
        });
        secret_key.map(|secret_key| self.chat.set_secret_key(secret_key)).is_ok()
    }
}

async fn read_key(secret: &Secret) -> Result<SecretKey, SecretError> {
    SecretKey::new(&secret.read().await?).ok_or(SecretError::NoText)
}

/// Why a call failed. Its corrections stay, and the next call goes on.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ReconcileError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was over before something could begin.
    #[error("the call's time is over")]
    OutOfTime,
    #[error("two calls were killed while they compared it")]
    Killed,
    #[error("another pass is under way, or was killed within the last 15 minutes")]
    Busy,
    /// Twice.
    #[error("Chat lists {listed} groups and counts {total}")]
    ShortList { listed: u64, total: u64 },
    #[error(
        "{gone} of {groups} groups are gone: none is destroyed; if that is right, call with {{\"allow_destroy\": true}}"
    )]
    TooManyGone { gone: u64, groups: u64 },
    #[error("{skipped} of {groups} groups could not be compared; a line of outcome skipped names each")]
    TooManySkipped { skipped: u64, groups: u64 },
}

impl ReconcileError {
    /// The next step; none if the call fails.
    fn class(&self) -> Option<Class> {
        match self {
            Self::Chat(error) => Some(error.class()),
            Self::Unusable(_) => Some(Class::Permanent),
            Self::Store(StoreError::Failed(RetryError::TimedOut | RetryError::Transient(_))) => {
                Some(Class::Transient)
            }
            Self::OutOfTime => Some(Class::OutOfTime),
            _ => None,
        }
    }

    /// Whether it only tells that the call's time is over.
    fn is_out_of_time(&self, end: Instant) -> bool {
        let class = self.class();
        class == Some(Class::OutOfTime) || (class == Some(Class::Transient) && Instant::now() >= end)
    }
}
