//! Chat's REST API, as much of it as tells which groups there are and who is in them.
//!
//! Every call waits for its share of the quota. One that fails transiently is repeated, with backoff, until the
//! caller's deadline. The request's URL holds the UserSig: no error and no log line shows it.

mod answer;
mod command;
mod error;
mod pages;
mod rate;
mod settings;
mod usersig;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::http::HttpClient;
use crate::retry::Backoff;

pub use answer::{Answer, GroupInfo, GroupInfos, GroupList, Member, Roster};
use answer::{Fields, MemberPage};
pub use command::Command;
pub use error::{ChatError, Class, Reason, Refusal};
pub use pages::Paging;
use pages::{Parts, Place};
use rate::TokenBucket;
pub use settings::{ChatSettings, Limits};
pub use usersig::SecretKey;
use usersig::Signer;

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

/// The fields of a group that are asked for.
const INFO_FIELDS: [&str; 8] =
    ["Type", "Name", "Introduction", "Notification", "FaceUrl", "Owner_Account", "CreateTime", "MemberNum"];

/// A client for Chat's REST API. It may be used by many tasks at once.
#[derive(Debug)]
pub struct ChatApi {
    http: HttpClient,
    base_url: String,
    signer: Signer,
    request_timeout: Duration,
    lists: TokenBucket,
    others: TokenBucket,
    /// The size of the list's pages, once an answer was too large.
    list_limit: AtomicU32,
    calls: [AtomicU64; 4],
}

impl ChatApi {
    /// Makes a client; nothing is asked yet.
    pub fn new(settings: ChatSettings, http: HttpClient) -> Self {
        let base_url = settings.api_url.trim_end_matches('/').to_owned();
        Self {
            http,
            base_url,
            signer: Signer::new(settings.sdk_app_id, settings.admin_account, settings.secret_key),
            request_timeout: settings.limits.request_timeout,
            lists: TokenBucket::new(settings.limits.list_interval),
            others: TokenBucket::new(settings.limits.call_interval),
            list_limit: AtomicU32::new(GROUPS_MAX),
            calls: Default::default(),
        }
    }

    /// How many requests were made for a command, repeated ones included.
    pub fn calls(&self, command: Command) -> u64 {
        self.calls[command as usize].load(Ordering::Relaxed)
    }

    /// A page of the application's groups from `next` on, 0 for the first. It may be shorter than `limit`.
    pub async fn groups(
        &self,
        next: u64,
        limit: u32,
        deadline: Instant,
    ) -> Result<Answer<GroupList>, ChatError> {
        let mut limit = limit.clamp(1, self.list_limit.load(Ordering::Relaxed));
        loop {
            let question = json!({ "Limit": limit, "Next": next });
            match self.ask(Command::GroupList, &question, deadline).await {
                Err(error) if error.class() == Class::TooLarge && limit > 1 => {
                    limit /= 2;
                    self.list_limit.fetch_min(limit, Ordering::Relaxed);
                }
                answer => return answer.and_then(|answer| read_list(answer, next)),
            }
        }
    }

    /// What each of these groups is like, by its id, with those custom fields that are named. Each of the ids has a
    /// result.
    pub async fn group_infos(
        &self,
        group_ids: &[&str],
        custom_fields: &[&str],
        deadline: Instant,
    ) -> Result<Answer<GroupInfos>, ChatError> {
        let mut filter = json!({ "GroupBaseInfoFilter": INFO_FIELDS });
        if !custom_fields.is_empty() {
            filter["AppDefinedDataFilter_Group"] = json!(custom_fields);
        }
        let (mut infos, mut asked_at) = (GroupInfos::new(), None);
        let mut parts = Parts::new(group_ids, INFOS_MAX);
        while let Some(part) = parts.take() {
            let question = json!({ "GroupIdList": part, "ResponseFilter": filter });
            match self.ask(Command::GroupInfo, &question, deadline).await {
                Err(error) if error.class() == Class::TooLarge && parts.split(part) => {}
                answer => {
                    let mut answer = answer?;
                    asked_at = earliest(asked_at, answer.asked_at);
                    read_infos(&mut infos, part, &mut answer.value)?;
                }
            }
        }
        Ok(Answer { asked_at: asked_at.unwrap_or_else(SystemTime::now), value: infos })
    }

    /// The members of a group; Chat refuses to list those of an AVChatRoom.
    pub async fn members(
        &self,
        group_id: &str,
        paging: Paging,
        deadline: Instant,
    ) -> Result<Answer<Roster>, ChatError> {
        let command = Command::MemberInfo;
        let (mut roster, mut asked_at) = (Roster::default(), None);
        let mut place = Place::first(paging, MEMBERS_MAX);
        loop {
            let mut page = match self.ask(command, &place.question(group_id), deadline).await {
                Err(error) if error.class() == Class::TooLarge && place.limit > 1 => {
                    place.limit /= 2;
                    continue;
                }
                answer => answer?,
            };
            asked_at = earliest(asked_at, page.asked_at);
            let page = MemberPage::read(&mut page.value).map_err(|reason| ChatError { command, reason })?;
            let more = place.advance(&page).map_err(|reason| ChatError { command, reason })?;
            roster.member_num = page.member_num;
            roster.members.extend(page.members);
            if !more {
                return Ok(Answer { asked_at: asked_at.unwrap_or_else(SystemTime::now), value: roster });
            }
        }
    }

    /// The roles that accounts have in a group, by account: `NotMember` for those outside. Of an account without an
    /// entry Chat said nothing.
    pub async fn roles(
        &self,
        group_id: &str,
        accounts: &[&str],
        deadline: Instant,
    ) -> Result<Answer<BTreeMap<String, String>>, ChatError> {
        let command = Command::Role;
        let (mut roles, mut asked_at) = (BTreeMap::new(), None);
        let mut parts = Parts::new(accounts, ROLES_MAX);
        while let Some(part) = parts.take() {
            let question = json!({ "GroupId": group_id, "User_Account": part });
            let mut answer = match self.ask(command, &question, deadline).await {
                Err(error) if error.class() == Class::TooLarge && parts.split(part) => continue,
                answer => answer?,
            };
            asked_at = earliest(asked_at, answer.asked_at);
            let read = answer::roles(&mut answer.value).map_err(|reason| ChatError { command, reason })?;
            roles.extend(read.into_iter().filter(|(account, _)| part.contains(&account.as_str())));
        }
        Ok(Answer { asked_at: asked_at.unwrap_or_else(SystemTime::now), value: roles })
    }

    /// Asks until there is an answer, an error that no repeat can mend, or no time left.
    async fn ask(
        &self,
        command: Command,
        question: &Value,
        deadline: Instant,
    ) -> Result<Answer<Fields>, ChatError> {
        let bucket = if command == Command::GroupList { &self.lists } else { &self.others };
        let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF);
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_BACKOFF);
        let mut error = ChatError { command, reason: Reason::TimedOut };
        while bucket.take(deadline).await {
            error = match self.attempt(command, question, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(reason) => ChatError { command, reason },
            };
            match error.class() {
                Class::Again => backoff.wait(deadline).await,
                // For all tasks: the quota is one.
                Class::TooFrequent => bucket.pause(pause.next()),
                _ => break,
            }
        }
        Err(error)
    }

    async fn attempt(
        &self,
        command: Command,
        question: &Value,
        deadline: Instant,
    ) -> Result<Answer<Fields>, Reason> {
        self.calls[command as usize].fetch_add(1, Ordering::Relaxed);
        let user_sig = self.signer.user_sig(SystemTime::now());
        let deadline = deadline.min(Instant::now() + self.request_timeout);
        let answer = timeout_at(deadline, self.post(&self.url(command, &user_sig), question)).await;
        let Answer { asked_at, value: body } = answer.map_err(|_| Reason::TimedOut)??;
        Ok(Answer { asked_at, value: Fields::parse(&body, &user_sig)? })
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
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("sdkappid", &self.signer.sdk_app_id().to_string())
            .append_pair("identifier", self.signer.identifier())
            .append_pair("usersig", user_sig)
            .append_pair("random", &fastrand::u32(..).to_string())
            .append_pair("contenttype", "json")
            .finish();
        format!("{}/v4/group_open_http_svc/{command}?{query}", self.base_url)
    }
}

/// The moment of the first of several questions.
fn earliest(first: Option<SystemTime>, next: SystemTime) -> Option<SystemTime> {
    Some(first.map_or(next, |first| first.min(next)))
}

fn read_list(mut answer: Answer<Fields>, asked: u64) -> Result<Answer<GroupList>, ChatError> {
    let list =
        GroupList::read(&mut answer.value).and_then(|list| match list.next != 0 && list.next == asked {
            true => Err(Reason::unreadable("Next", "a place after the last one")),
            false => Ok(list),
        });
    let value = list.map_err(|reason| ChatError { command: Command::GroupList, reason })?;
    Ok(Answer { asked_at: answer.asked_at, value })
}

/// Adds what an answer says of a part of the groups; those that it leaves out are unreadable.
fn read_infos(infos: &mut GroupInfos, part: &[&str], answer: &mut Fields) -> Result<(), ChatError> {
    let error = |reason| ChatError { command: Command::GroupInfo, reason };
    for mut entry in answer.entries("GroupInfo").map_err(error)? {
        if let Ok(group_id) = entry.required("GroupId")
            && part.contains(&group_id.as_str())
        {
            infos.insert(group_id, GroupInfo::read(&mut entry).map_err(error));
        }
    }
    for group_id in part {
        let missing = || Err(error(Reason::unreadable("GroupInfo", "an entry for each group")));
        infos.entry((*group_id).to_owned()).or_insert_with(missing);
    }
    Ok(())
}
