//! Chat's REST API, as much of it as tells the groups and their members.
//!
//! Every call waits for its share of the quota. One that fails transiently is repeated, with backoff, until its budget or
//! the caller's time is over. The request's URL holds the UserSig: no error and no log line shows it.

mod answer;
mod batch;
mod command;
mod error;
mod pacer;
mod pages;
mod usersig;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::callback::{Body, Fields};
use crate::http::HttpClient;
use crate::retry::Backoff;
use crate::time::to_seconds;

pub use answer::{Answer, GroupInfo, GroupList, Member, Results, Roster};
use answer::{parse, redact};
pub use command::{Command, GROUPS_MAX, NOT_MEMBER};
pub use error::{ChatError, Class};
use pacer::Pacer;
pub use pages::Paging;
pub use usersig::SecretKey;

/// The largest answer that is read; Chat itself refuses to send more than 1 MB.
const ANSWER_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The first wait after a transient error, and after one over the quota; it doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest wait between two attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(20);

/// How long a UserSig is valid (the vendor's advice), and how long before its end it is replaced.
const USER_SIG_VALIDITY: Duration = Duration::from_secs(24 * 3600);
const USER_SIG_MARGIN: Duration = Duration::from_secs(600);

/// An application's REST API, and the account to call it as.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// The base URL of the data centre.
    pub api_url: String,
    /// The application.
    pub sdk_app_id: u64,
    /// The UserID of an App admin.
    pub admin_account: String,
    /// The rates and time limits.
    pub limits: Limits,
}

/// How fast Chat may be asked, and how long an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The time between two pages of the list of groups.
    pub list_interval: Duration,
    /// The time between two other calls.
    pub call_interval: Duration,
    /// The time limit of one attempt.
    pub attempt_timeout: Duration,
    /// The time limit of one request with all of its attempts. Waiting for its turn does not count.
    pub request_budget: Duration,
}

impl Limits {
    /// The vendor's limits, and a share of the quota that the application uses for its own calls too.
    pub fn new(requests_per_second: NonZeroU32) -> Self {
        Self {
            // One a second is allowed, but from 80 % of that on Chat raises an alert.
            list_interval: Duration::from_secs(2),
            call_interval: Duration::from_secs(1) / requests_per_second.get(),
            // The vendor asks for more than three seconds.
            attempt_timeout: Duration::from_secs(10),
            request_budget: Duration::from_secs(40),
        }
    }
}

/// A client for Chat's REST API. Many tasks may use it at once; they share the quota.
pub struct ChatApi {
    settings: ChatSettings,
    signer: Mutex<Signer>,
    http: HttpClient,
    lists: Pacer,
    others: Pacer,
    /// The size of the list's pages, once an answer was too large.
    list_limit: AtomicU32,
    calls: [AtomicU64; 4],
}

/// The secret key, and the UserSig in use.
struct Signer {
    secret_key: SecretKey,
    signed_at: SystemTime,
    user_sig: Option<String>,
}

/// Shows neither key nor UserSig.
impl fmt::Debug for ChatApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatApi").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ChatApi {
    /// Makes a client; it sends nothing yet.
    pub fn new(settings: ChatSettings, secret_key: SecretKey, http: HttpClient) -> Self {
        Self {
            lists: Pacer::new(settings.limits.list_interval),
            others: Pacer::new(settings.limits.call_interval),
            settings,
            signer: Mutex::new(Signer { secret_key, signed_at: SystemTime::UNIX_EPOCH, user_sig: None }),
            http,
            list_limit: AtomicU32::new(GROUPS_MAX),
            calls: Default::default(),
        }
    }

    /// The number of requests for a command so far, repeated ones included.
    pub fn calls(&self, command: Command) -> u64 {
        self.calls[command as usize].load(Ordering::Relaxed)
    }

    /// The same client, whose calls fail with [`ChatError::OutOfTime`] once `end` has come.
    pub fn until(&self, end: Instant) -> BoundedChat<'_> {
        BoundedChat { api: self, end }
    }

    /// Signs with another secret key from now on.
    pub fn set_secret_key(&self, secret_key: SecretKey) {
        let mut signer = self.signer();
        (signer.secret_key, signer.user_sig) = (secret_key, None);
    }

    async fn attempt<T>(
        &self,
        command: Command,
        question: &Value,
        read: impl Fn(&mut Fields<'_>) -> Result<T, ChatError>,
    ) -> Result<Answer<T>, ChatError> {
        self.calls[command as usize].fetch_add(1, Ordering::Relaxed);
        let user_sig = self.user_sig(SystemTime::now());
        let Answer { asked_at, value: body } = self.post(&self.url(command, &user_sig), question).await?;
        // Should Chat repeat the UserSig, no error may.
        let body = redact(&body, &user_sig);
        Ok(Answer { asked_at, value: read(&mut parse(&mut Body::new(&body), command)?)? })
    }

    async fn post(&self, url: &str, question: &Value) -> Result<Answer<Vec<u8>>, ChatError> {
        let (clock, start) = (SystemTime::now(), Instant::now());
        let headers = [("content-type", "application/json")];
        let response = self.http.post(url, &headers, question.to_string().as_bytes()).await?;
        if response.status() != 200 {
            return Err(ChatError::Status(response.status()));
        }
        // Chat's clock when it answered, less the whole time since the question was sent.
        let date = response.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
        let by_chat = date.and_then(|date| date.checked_sub(start.elapsed()));
        let asked_at = by_chat.map_or(clock, |by_chat| by_chat.min(clock));
        Ok(Answer { asked_at, value: response.body(ANSWER_MAX_BYTES).await? })
    }

    fn url(&self, command: Command, user_sig: &str) -> String {
        let ChatSettings { api_url, sdk_app_id, admin_account, .. } = &self.settings;
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("sdkappid", &sdk_app_id.to_string())
            .append_pair("identifier", admin_account)
            .append_pair("usersig", user_sig)
            .append_pair("random", &fastrand::u32(..).to_string())
            .append_pair("contenttype", "json")
            .finish();
        format!("{}/v4/group_open_http_svc/{command}?{query}", api_url.trim_end_matches('/'))
    }

    /// The UserSig to use at this time: one serves until shortly before it expires.
    fn user_sig(&self, now: SystemTime) -> String {
        let mut signer = self.signer();
        // A clock that was set back counts as an age too: Chat may refuse a time that lies ahead.
        let is_fresh =
            now.duration_since(signer.signed_at).is_ok_and(|age| age < USER_SIG_VALIDITY - USER_SIG_MARGIN);
        if let Some(user_sig) = signer.user_sig.as_ref().filter(|_| is_fresh) {
            return user_sig.clone();
        }
        let ChatSettings { sdk_app_id, admin_account, .. } = &self.settings;
        let (time, expire) = (to_seconds(now), USER_SIG_VALIDITY.as_secs());
        let user_sig = signer.secret_key.user_sig(*sdk_app_id, admin_account, time, expire);
        signer.signed_at = now;
        signer.user_sig.insert(user_sig).clone()
    }

    fn signer(&self) -> MutexGuard<'_, Signer> {
        self.signer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A [`ChatApi`] whose calls fail with [`ChatError::OutOfTime`] once its time is over.
#[derive(Debug, Clone, Copy)]
pub struct BoundedChat<'a> {
    api: &'a ChatApi,
    end: Instant,
}

impl BoundedChat<'_> {
    /// Asks until there is an answer, an error that no repeat can mend, or no time left.
    async fn ask<T>(
        &self,
        command: Command,
        question: &Value,
        read: impl Fn(&mut Fields<'_>) -> Result<T, ChatError>,
    ) -> Result<Answer<T>, ChatError> {
        let Self { api, end } = *self;
        let limits = &api.settings.limits;
        let pacer = if command == Command::GroupList { &api.lists } else { &api.others };
        let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF);
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_BACKOFF);
        let (mut left, mut last) = (limits.request_budget, ChatError::TimedOut);
        while !left.is_zero() {
            if !pacer.wait_turn(end).await {
                return Err(ChatError::OutOfTime);
            }
            let start = Instant::now();
            let deadline = end.min(start + left.min(limits.attempt_timeout));
            let answer = timeout_at(deadline, api.attempt(command, question, &read)).await;
            last = match answer.unwrap_or(Err(ChatError::TimedOut)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = match last.class() {
                Class::Transient => backoff.next(),
                Class::RateLimited => pause.next(),
                _ => return Err(last),
            };
            if last.class() == Class::RateLimited {
                // For all tasks: the quota is one.
                pacer.pause(wait);
            }
            sleep_until(end.min(start + left).min(Instant::now() + wait)).await;
            left = left.saturating_sub(start.elapsed());
            if Instant::now() >= end {
                return Err(ChatError::OutOfTime);
            }
        }
        Err(last)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::Trust;

    #[test]
    fn a_user_sig_is_used_until_shortly_before_it_expires() {
        let settings = ChatSettings {
            api_url: String::new(),
            sdk_app_id: 1_400_000_000,
            admin_account: "admin".to_owned(),
            limits: Limits::new(NonZeroU32::MIN),
        };
        let http = HttpClient::new(Trust::none(), Duration::from_secs(5));
        let api = ChatApi::new(settings, SecretKey::new("key").unwrap(), http);
        let signed_at = |seconds: u64| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
            let claims = usersig::inflated(&api.user_sig(now));
            assert_eq!(claims["TLS.expire"], 86_400);
            claims["TLS.time"].as_u64().unwrap() - 1_700_000_000
        };
        assert_eq!([signed_at(0), signed_at(85_799), signed_at(85_800)], [0, 0, 85_800]);
        // The clock was set back.
        assert_eq!(signed_at(100), 100);
    }
}
