//! The commands of Chat's REST API that are used.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use serde_json::json;

use super::BoundedChat;
use super::answer::{
    Answer, GroupInfo, GroupList, MemberPage, ResultList, Results, Roster, required, results_by_name,
};
use super::batch::batched;
use super::error::{ChatError, Class};
use super::pages::{PageCursor, Paging};
use crate::callback::Fields;

/// The most groups in one page of the list.
pub const GROUPS_MAX: u32 = 10_000;
/// The most groups in one question for their info.
const INFOS_MAX: usize = 50;
/// The most members in one page.
const MEMBERS_MAX: u32 = 200;
/// The most accounts in one question for their roles.
const ROLES_MAX: usize = 500;

/// Chat's role of an account that is no member.
pub const NOT_MEMBER: &str = "NotMember";
/// ErrorCode: there is no such account.
const NO_SUCH_ACCOUNT: u64 = 10019;

/// A command of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Which groups there are.
    GroupList,
    /// The fields of groups.
    GroupInfo,
    /// Who is in a group.
    MemberInfo,
    /// The roles of accounts in a group.
    Role,
}

/// Its name in the URL.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GroupList => "get_appid_group_list",
            Self::GroupInfo => "get_group_info",
            Self::MemberInfo => "get_group_member_info",
            Self::Role => "get_role_in_group",
        })
    }
}

impl BoundedChat<'_> {
    /// A page of the application's groups from `next` on, 0 for the first. It may be shorter than `limit`.
    pub async fn groups(&self, next: u64, limit: u32) -> Result<Answer<GroupList>, ChatError> {
        let list_limit = &self.api.list_limit;
        let mut limit = limit.clamp(1, list_limit.load(Ordering::Relaxed));
        loop {
            let question = json!({ "Limit": limit, "Next": next });
            match self.ask(Command::GroupList, &question, |fields| GroupList::read(fields, next)).await {
                Err(error) if error.class() == Class::TooLarge && limit > 1 => {
                    limit /= 2;
                    list_limit.fetch_min(limit, Ordering::Relaxed);
                }
                answer => return answer,
            }
        }
    }

    /// The fields of each of these groups, by its id, with the named custom fields, else with all of them. Each of the ids
    /// has a result of its own, which may be a transient error.
    pub async fn group_infos(
        &self,
        group_ids: &[&str],
        custom_fields: Option<&BTreeSet<String>>,
    ) -> Result<Answer<Results<GroupInfo>>, ChatError> {
        let ask_for = async |part: &[&str], custom_fields: Option<&BTreeSet<String>>| {
            let mut filter = json!({ "GroupBaseInfoFilter": GroupInfo::fields() });
            if let Some(custom_fields) = custom_fields {
                filter["AppDefinedDataFilter_Group"] = json!(custom_fields);
            }
            let question = json!({ "GroupIdList": part, "ResponseFilter": filter });
            let list = ResultList { command: Command::GroupInfo, list: "GroupInfo", name: "GroupId" };
            let read = |fields: &mut Fields<'_>| results_by_name(fields, list, part, GroupInfo::read);
            self.ask(Command::GroupInfo, &question, read).await
        };
        let known_fields = Cell::new(custom_fields);
        let ask = async |part: &[&str]| {
            let custom_fields = known_fields.get();
            match ask_for(part, custom_fields).await {
                // Perhaps a custom field was taken away from the application.
                Err(error) if error.class() == Class::Permanent && custom_fields.is_some() => {
                    known_fields.set(None);
                    ask_for(part, None).await
                }
                answer => answer,
            }
        };
        batched(group_ids, INFOS_MAX, ask).await
    }

    /// The members of a group; Chat refuses to list those of an AVChatRoom.
    pub async fn members(&self, group_id: &str, paging: Paging) -> Result<Answer<Roster>, ChatError> {
        let (mut roster, mut asked_at) = (Roster { is_snapshot: true, ..Roster::default() }, None);
        let mut cursor = PageCursor::first(paging, MEMBERS_MAX);
        loop {
            let question = cursor.question(group_id);
            let page = match self.ask(Command::MemberInfo, &question, MemberPage::read).await {
                Err(error) if error.class() == Class::TooLarge && cursor.limit > 1 => {
                    cursor.limit /= 2;
                    continue;
                }
                answer => answer?,
            };
            let asked_at = *asked_at.get_or_insert(page.asked_at);
            let more = cursor.advance(&page.value)?;
            roster.member_num = roster.member_num.max(page.value.member_num);
            roster.members.extend(page.value.members);
            if !more {
                return Ok(Answer { asked_at, value: roster });
            }
            roster.is_snapshot = false;
        }
    }

    /// The roles of accounts in a group, by account: [`NOT_MEMBER`] for those outside, and for those that do not exist.
    /// Each account has a result.
    pub async fn roles(
        &self,
        group_id: &str,
        accounts: &[&str],
    ) -> Result<Answer<Results<String>>, ChatError> {
        let no_such_account =
            |error: &ChatError| matches!(error, ChatError::Refused { code: NO_SUCH_ACCOUNT, .. });
        let ask = async |part: &[&str]| {
            let question = json!({ "GroupId": group_id, "User_Account": part });
            let list = ResultList { command: Command::Role, list: "UserIdList", name: "Member_Account" };
            let read = |fields: &mut Fields<'_>| {
                let roles = results_by_name(fields, list, part, |entry| required(entry, "Role"))?;
                let not_member = |role: Result<String, ChatError>| match role {
                    Err(error) if no_such_account(&error) => Ok(NOT_MEMBER.to_owned()),
                    role => role,
                };
                Ok(roles.into_iter().map(|(account, role)| (account, not_member(role))).collect())
            };
            let asked_at = SystemTime::now();
            match (self.ask(Command::Role, &question, read).await, part) {
                (Err(error), [account]) if no_such_account(&error) => {
                    let value = Results::from([((*account).to_owned(), Ok(NOT_MEMBER.to_owned()))]);
                    Ok(Answer { asked_at, value })
                }
                (answer, _) => answer,
            }
        };
        let mut roles = batched(accounts, ROLES_MAX, &ask).await?;
        // Only a question about one account tells that this is the one that does not exist.
        let is_open = |account: &&str| roles.value[*account].as_ref().is_err_and(no_such_account);
        let open: Vec<&str> = accounts.iter().copied().filter(is_open).collect();
        roles.value.extend(batched(&open, 1, &ask).await?.value);
        Ok(roles)
    }
}
