//! Chat's REST API, as much of it as tells which groups there are and who is in them.
//!
//! Every call waits for its share of the quota. One that fails transiently is repeated, with backoff, until its budget or
//! the caller's time is over. The request's URL holds the UserSig: no error and no log line shows it.

mod answer;
mod command;
mod error;
mod pacer;
mod pages;
mod usersig;

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::callback::{Body, Fields};
use crate::http::HttpClient;
use crate::retry::Backoff;
use crate::time::to_seconds;

pub use answer::{Answer, GroupInfo, GroupList, Member, Results, Roster};
use answer::{MemberPage, each, parse, redact, required};
pub use command::Command;
pub use error::{ChatError, Class, Reason};
use pacer::Pacer;
pub use pages::Paging;
use pages::{Place, in_parts};
pub use usersig::SecretKey;

/// The most groups in one page of the list.
pub const GROUPS_MAX: u32 = 10_000;
/// The most groups in one question for their info.
const INFOS_MAX: usize = 50;
/// The most members in one page.
const MEMBERS_MAX: u32 = 200;
/// The most accounts in one question for their roles.
const ROLES_MAX: usize = 500;

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

/// Who asks, where, and how fast.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// The base URL of the data centre.
    pub api_url: String,
    /// The application.
    pub sdk_app_id: u64,
    /// The UserID of an App admin.
    pub admin_account: String,
    /// How fast, and how long.
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
    /// What one request may take with all of its attempts. Waiting for its turn costs it nothing.
    pub request_budget: Duration,
}

impl Limits {
    /// The vendor's limits, and a share of the quota that the application uses for its own calls too.
    pub fn new(requests_per_second: NonZeroU32) -> Self {
        Self {
            // One a second is allowed; the rest is for requests that are not equally long on their way.
            list_interval: Duration::from_millis(1100),
            call_interval: Duration::from_secs(1) / requests_per_second.get(),
            // The vendor asks for more than three seconds.
            attempt_timeout: Duration::from_secs(10),
            request_budget: Duration::from_secs(40),
        }
    }
}

/// A client for Chat's REST API. It may be used by many tasks at once; each call ends by the `end` that it is given.
pub struct ChatApi {
    settings: ChatSettings,
    secret_key: SecretKey,
    /// The UserSig in use, and since when.
    user_sig: Mutex<Option<(SystemTime, String)>>,
    http: HttpClient,
    lists: Pacer,
    others: Pacer,
    /// The size of the list's pages, once an answer was too large.
    list_limit: AtomicU32,
    calls: [AtomicU64; 4],
}

/// Does not show the UserSig.
impl fmt::Debug for ChatApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatApi").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ChatApi {
    /// Makes a client; nothing is asked yet.
    pub fn new(settings: ChatSettings, secret_key: SecretKey, http: HttpClient) -> Self {
        Self {
            lists: Pacer::new(settings.limits.list_interval),
            others: Pacer::new(settings.limits.call_interval),
            settings,
            secret_key,
            user_sig: Mutex::default(),
            http,
            list_limit: AtomicU32::new(GROUPS_MAX),
            calls: Default::default(),
        }
    }

    /// How many requests were made for a command, repeated ones included.
    pub fn calls(&self, command: Command) -> u64 {
        self.calls[command as usize].load(Ordering::Relaxed)
    }

    /// A page of the application's groups from `next` on, 0 for the first. It may be shorter than `limit`.
    pub async fn groups(&self, next: u64, limit: u32, end: Instant) -> Result<Answer<GroupList>, ChatError> {
        let mut limit = limit.clamp(1, self.list_limit.load(Ordering::Relaxed));
        loop {
            let question = json!({ "Limit": limit, "Next": next });
            let read = |fields: &mut Fields<'_>| GroupList::read(fields, next);
            match self.ask(Command::GroupList, &question, end, read).await {
                Err(error) if error.class() == Class::TooLarge && limit > 1 => {
                    limit /= 2;
                    self.list_limit.fetch_min(limit, Ordering::Relaxed);
                }
                answer => return answer,
            }
        }
    }

    /// What each of these groups is like, by its id, with those custom fields that are named, else with all of them.
    /// Each of the ids has a result. One whose own error is transient was asked about twice.
    pub async fn group_infos(
        &self,
        group_ids: &[&str],
        custom_fields: Option<&BTreeSet<String>>,
        end: Instant,
    ) -> Result<Answer<Results<GroupInfo>>, ChatError> {
        let ask_for = async |part: &[&str], custom_fields: Option<&BTreeSet<String>>| {
            let mut filter = json!({ "GroupBaseInfoFilter": GroupInfo::fields() });
            if let Some(custom_fields) = custom_fields {
                filter["AppDefinedDataFilter_Group"] = json!(custom_fields);
            }
            let question = json!({ "GroupIdList": part, "ResponseFilter": filter });
            let list = (Command::GroupInfo, "GroupInfo", "GroupId");
            let read = |fields: &mut Fields<'_>| each(fields, list, part, GroupInfo::read);
            self.ask(Command::GroupInfo, &question, end, read).await
        };
        let ask = async |part: &[&str]| match ask_for(part, custom_fields).await {
            // Perhaps a custom field was taken away from the application.
            Err(error) if error.class() == Class::Other && custom_fields.is_some() => {
                ask_for(part, None).await
            }
            answer => answer,
        };
        let mut infos = in_parts(group_ids, INFOS_MAX, ask).await?;
        let is_transient = |id: &&str| matches!(&infos.value[*id], Err(error) if error.is_transient());
        let again: Vec<&str> = group_ids.iter().copied().filter(is_transient).collect();
        if !again.is_empty() {
            sleep_until(end.min(Instant::now() + FIRST_PAUSE)).await;
            infos.value.extend(in_parts(&again, INFOS_MAX, ask).await?.value);
        }
        Ok(infos)
    }

    /// The members of a group; Chat refuses to list those of an AVChatRoom.
    pub async fn members(
        &self,
        group_id: &str,
        paging: Paging,
        end: Instant,
    ) -> Result<Answer<Roster>, ChatError> {
        let command = Command::MemberInfo;
        let (mut roster, mut asked_at) = (Roster { is_steady: true, ..Roster::default() }, None);
        let mut place = Place::first(paging, MEMBERS_MAX);
        loop {
            let page = match self.ask(command, &place.question(group_id), end, MemberPage::read).await {
                Err(error) if error.class() == Class::TooLarge && place.limit > 1 => {
                    place.limit /= 2;
                    continue;
                }
                answer => answer?,
            };
            let asked_at = *asked_at.get_or_insert(page.asked_at);
            let more = place.advance(&page.value).map_err(|reason| ChatError { command, reason })?;
            roster.member_num = roster.member_num.max(page.value.member_num);
            roster.members.extend(page.value.members);
            if !more {
                return Ok(Answer { asked_at, value: roster });
            }
            roster.is_steady = false;
        }
    }

    /// The roles that accounts have in a group, by account: `NotMember` for those outside. Each account has a result.
    pub async fn roles(
        &self,
        group_id: &str,
        accounts: &[&str],
        end: Instant,
    ) -> Result<Answer<Results<String>>, ChatError> {
        let ask = async |part: &[&str]| {
            let question = json!({ "GroupId": group_id, "User_Account": part });
            let list = (Command::Role, "UserIdList", "Member_Account");
            let read = |fields: &mut Fields<'_>| each(fields, list, part, |entry| required(entry, "Role"));
            self.ask(Command::Role, &question, end, read).await
        };
        in_parts(accounts, ROLES_MAX, ask).await
    }

    /// Asks until there is an answer, an error that no repeat can mend, or no time left.
    async fn ask<T>(
        &self,
        command: Command,
        question: &Value,
        end: Instant,
        read: impl Fn(&mut Fields<'_>) -> Result<T, Reason>,
    ) -> Result<Answer<T>, ChatError> {
        let bucket = if command == Command::GroupList { &self.lists } else { &self.others };
        let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF);
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_BACKOFF);
        let (mut left, mut reason) = (self.settings.limits.request_budget, Reason::TimedOut);
        while !left.is_zero() && bucket.take(end).await {
            let start = Instant::now();
            let deadline = end.min(start + left);
            reason = match self.attempt(command, question, deadline, &read).await {
                Ok(answer) => return Ok(answer),
                Err(reason) => reason,
            };
            let wait = match reason.class() {
                Class::Again => backoff.next(),
                Class::TooFrequent => pause.next(),
                _ => break,
            };
            if reason.class() == Class::TooFrequent {
                // For all tasks: the quota is one.
                bucket.pause(wait);
            }
            sleep_until(deadline.min(Instant::now() + wait)).await;
            left = left.saturating_sub(start.elapsed());
        }
        Err(ChatError { command, reason })
    }

    async fn attempt<T>(
        &self,
        command: Command,
        question: &Value,
        deadline: Instant,
        read: impl Fn(&mut Fields<'_>) -> Result<T, Reason>,
    ) -> Result<Answer<T>, Reason> {
        self.calls[command as usize].fetch_add(1, Ordering::Relaxed);
        let user_sig = self.user_sig(SystemTime::now());
        let deadline = deadline.min(Instant::now() + self.settings.limits.attempt_timeout);
        let answer = timeout_at(deadline, self.post(&self.url(command, &user_sig), question)).await;
        let Answer { asked_at, value: body } = answer.map_err(|_| Reason::TimedOut)??;
        let body = redact(&body, &user_sig);
        Ok(Answer { asked_at, value: read(&mut parse(&mut Body::new(&body))?)? })
    }

    async fn post(&self, url: &str, question: &Value) -> Result<Answer<Vec<u8>>, Reason> {
        let (clock, start) = (SystemTime::now(), Instant::now());
        let headers = [("content-type", "application/json")];
        let response = self.http.post(url, &headers, question.to_string().as_bytes()).await?;
        if response.status() != 200 {
            return Err(Reason::Status(response.status()));
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
        let mut current = self.user_sig.lock().unwrap_or_else(PoisonError::into_inner);
        // Not if the clock was set back: Chat may refuse a time that lies ahead.
        let is_fresh = |signed_at| {
            now.duration_since(signed_at).is_ok_and(|age| age < USER_SIG_VALIDITY - USER_SIG_MARGIN)
        };
        if let Some((signed_at, user_sig)) = &*current
            && is_fresh(*signed_at)
        {
            return user_sig.clone();
        }
        let ChatSettings { sdk_app_id, admin_account, .. } = &self.settings;
        let times = (to_seconds(now), USER_SIG_VALIDITY.as_secs());
        let user_sig = self.secret_key.user_sig(*sdk_app_id, admin_account, times);
        current.insert((now, user_sig)).1.clone()
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
