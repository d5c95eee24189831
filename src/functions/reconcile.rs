//! The function `reconcile`: brings in the groups that were never announced, and corrects what was lost.
//!
//! A pass compares first the groups of the table with what Chat says of each, then adds those that Chat lists and the
//! table lacks, and last destroys those that Chat calls gone twice. What differs is written as an event of the moment
//! before the question, so that every newer callback wins.

mod difference;
mod group;
mod pass;
mod place;
mod report;
mod request;

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

pub use report::{Change, Correction, Note, Reconciled, Report};
pub use request::{ReconcileRequest, RequestError};

use crate::aws::{Aws, SecretError, Timeouts};
use crate::chat::{ChatApi, ChatError, ChatSettings, Limits};
use crate::config::{KeySource, ReconcileSettings};
use crate::http::HttpClient;
use crate::store::{Lease, Store, StoreError};
use pass::Pass;

/// Nobody waits for an answer here.
pub const TABLE_TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(1), attempt: Duration::from_secs(10) };

/// Chat may be on the other side of the world.
const CHAT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long before its time limit a call stops: what is under way comes to its end.
pub const MARGIN: Duration = Duration::from_secs(120);

/// Brings the table to what Chat's REST API says.
#[derive(Debug)]
pub struct Reconcile {
    sdk_app_id: u64,
    store: Store,
    chat: ChatApi,
    pace: Pace,
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

/// Who is told what a pass finds.
pub type Observer<'a> = &'a (dyn Fn(&Note<'_>) + Send + Sync);

impl Reconcile {
    /// Puts the parts together.
    pub fn new(sdk_app_id: u64, store: Store, chat: ChatApi) -> Self {
        Self { sdk_app_id, store, chat, pace: Pace::default() }
    }

    /// Puts the parts together that the settings name, and reads the secret key.
    pub async fn from_settings(settings: ReconcileSettings) -> Result<Self, SecretError> {
        let http = HttpClient::new(settings.aws.trust.clone(), CHAT_CONNECT_TIMEOUT);
        let aws = Aws::new(settings.aws);
        let secret_key = match settings.chat_secret_key {
            KeySource::Key(key) => key,
            KeySource::Secret(id) => aws.secret_key(&id, TABLE_TIMEOUTS).await?,
        };
        let chat = ChatSettings {
            api_url: settings.chat_api_url,
            sdk_app_id: settings.sdk_app_id,
            admin_account: settings.chat_admin_account,
            secret_key,
            limits: Limits::new(settings.chat_requests_per_second),
        };
        let store = Store::new(aws.dynamodb(TABLE_TIMEOUTS), settings.table_name);
        Ok(Self::new(settings.sdk_app_id, store, ChatApi::new(chat, http)))
    }

    /// The same at another pace.
    #[must_use]
    pub fn at(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The client for Chat's REST API, with the numbers of its calls.
    pub fn chat(&self) -> &ChatApi {
        &self.chat
    }

    /// Does as much as it can until `stop_at`: begins nothing after that.
    pub async fn run(
        &self,
        request: &ReconcileRequest,
        stop_at: Instant,
        observer: Observer<'_>,
    ) -> Reconciled<ReconcileError> {
        let start = Instant::now();
        let pass = Pass::new(self, request, stop_at, observer);
        let result = match &request.group_ids {
            Some(group_ids) => pass.named(group_ids).await,
            None => self.go_on(&pass, request.dry_run).await,
        };
        let (finished, error) = match result {
            Ok(finished) => (finished, None),
            Err(error) => (false, Some(error)),
        };
        let report = Report { finished, ..pass.report() };
        Reconciled { report, error, duration: start.elapsed() }
    }

    /// Goes on where the last call stopped; `true` once the pass has come to its end.
    async fn go_on(&self, pass: &Pass<'_>, dry_run: bool) -> Result<bool, ReconcileError> {
        let lease = Lease::new(self.sdk_app_id, if dry_run { "DRY_RUN" } else { "PLACE" });
        let place = self.store.take_place(&lease).await?.ok_or(ReconcileError::Busy)?;
        pass.resume(place.as_deref());
        let result = tokio::select! {
            result = pass.walk() => result,
            error = self.keep(pass, &lease) => Err(error),
        };
        let left = self.store.leave_place(&lease, &pass.place_after(&result).to_text()).await;
        let finished = result?;
        left?;
        Ok(finished)
    }

    /// Keeps the place, and the lease, until that fails.
    async fn keep(&self, pass: &Pass<'_>, lease: &Lease) -> ReconcileError {
        loop {
            tokio::time::sleep(self.pace.save_every).await;
            match self.store.keep_place(lease, &pass.place().to_text()).await {
                Ok(true) => {}
                Ok(false) => return ReconcileError::TakenOver,
                Err(error) => return error.into(),
            }
        }
    }
}

/// Why a pass failed. What it has corrected stays, and the next call goes on.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// Chat gave no answer.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The table did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
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
