//! The four commands over the groups.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::{Map, Value, json};

use super::model::{Group, Member};
use super::{Refusal, State};

const GROUPS_MAX: u64 = 10_000;
const INFOS_MAX: usize = 50;
const MEMBERS_MAX: u64 = 200;
const ROLES_MAX: usize = 500;

/// Where the list's marks begin: beyond what fits into 63 bits.
const FIRST_MARK: u64 = 1 << 63;

const GONE: Refusal = (10010, "group not exist");

/// The body of a request.
pub(super) struct Question<'a>(pub &'a Value);

impl<'a> Question<'a> {
    fn number(&self, name: &str) -> Result<u64, Refusal> {
        self.0[name].as_u64().ok_or((10004, "a number is missing"))
    }

    fn limit(&self, max: u64) -> Result<usize, Refusal> {
        let limit = self.number("Limit")?;
        if limit == 0 || limit > max {
            return Err((10004, "Limit is out of range"));
        }
        usize::try_from(limit).map_err(|_| (10004, "Limit is out of range"))
    }

    fn text(&self, name: &str) -> Result<&'a str, Refusal> {
        self.0[name].as_str().ok_or((10004, "a string is missing"))
    }

    fn texts(&self, name: &str, max: usize) -> Result<Vec<&'a str>, Refusal> {
        let texts = self.0[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        let texts: Vec<_> = texts.collect();
        match (1..=max).contains(&texts.len()) {
            true => Ok(texts),
            false => Err((10004, "a list is empty or too long")),
        }
    }
}

impl State {
    pub(super) fn answer(&mut self, command: &str, question: Question<'_>) -> Result<Value, Refusal> {
        let mut answer = match command {
            "get_appid_group_list" => self.list(&question)?,
            "get_group_info" => self.infos(&question)?,
            "get_group_member_info" => self.members(&question)?,
            "get_role_in_group" => self.roles(&question)?,
            _ => return Err((10003, "request command is invalid")),
        };
        answer["ActionStatus"] = json!("OK");
        answer["ErrorCode"] = json!(0);
        answer["ErrorInfo"] = json!("");
        Ok(answer)
    }

    fn list(&mut self, question: &Question<'_>) -> Result<Value, Refusal> {
        let limit = question.limit(GROUPS_MAX)?;
        let next = question.0["Next"].as_u64().unwrap_or_default();
        let after = match next {
            0 => Bound::Unbounded,
            mark => {
                let mark = usize::try_from(mark.wrapping_sub(FIRST_MARK)).ok();
                let last = mark.and_then(|mark| self.marks.get(mark)).ok_or((10004, "Next is invalid"))?;
                Bound::Excluded(last.as_str())
            }
        };
        let wanted = question.0["GroupType"].as_str();
        let is_wanted = |group: &Group| wanted.is_none_or(|group_type| group.group_type == group_type);
        let rest = self.model.groups.range::<str, _>((after, Bound::Unbounded));
        let mut rest = rest.filter(|(_, group)| is_wanted(group)).map(|(id, _)| id);
        let page: Vec<&String> = rest.by_ref().take(limit).collect();
        let mark = rest.next().and_then(|_| page.last()).map(|last| (*last).clone());
        let total = self.model.groups.values().filter(|group| is_wanted(group)).count();
        let list: Vec<_> = page.into_iter().map(|id| json!({ "GroupId": id })).collect();
        let next = mark.map_or(0, |last| {
            self.marks.push(last);
            FIRST_MARK + self.marks.len() as u64 - 1
        });
        Ok(json!({ "TotalCount": total, "GroupIdList": list, "Next": next }))
    }

    fn infos(&self, question: &Question<'_>) -> Result<Value, Refusal> {
        let filter = &question.0["ResponseFilter"];
        let info = |id: &str| match (self.model.errors.get(id), self.model.groups.get(id)) {
            (Some(code), _) => json!({ "GroupId": id, "ErrorCode": code, "ErrorInfo": "made up" }),
            (None, None) => json!({ "GroupId": id, "ErrorCode": GONE.0, "ErrorInfo": GONE.1 }),
            (None, Some(group)) => info(id, group, filter),
        };
        let ids = question.texts("GroupIdList", INFOS_MAX)?;
        if let Some(code) = ids.iter().find_map(|id| self.model.refused.get(*id)) {
            return Err((*code, "made up"));
        }
        Ok(json!({ "GroupInfo": ids.into_iter().map(info).collect::<Vec<_>>() }))
    }

    fn group(&self, question: &Question<'_>) -> Result<&Group, Refusal> {
        self.model.groups.get(question.text("GroupId")?).ok_or(GONE)
    }

    fn members(&self, question: &Question<'_>) -> Result<Value, Refusal> {
        let group = self.group(question)?;
        let limit = question.limit(MEMBERS_MAX)?;
        let count = group.members.len();
        let entry = |(account, member): (&String, &Member)| {
            json!({
                "Member_Account": account, "Role": group.role(account), "JoinTime": member.join_time,
                "NameCard": member.name_card, "MsgSeq": 1,
            })
        };
        match group.group_type.as_str() {
            "AVChatRoom" => Err((10007, "the group type does not support this operation")),
            "Community" => {
                let (page, next) = page(&group.members, question.text("Next")?, limit);
                let page: Vec<_> = page.into_iter().map(entry).collect();
                Ok(json!({ "MemberNum": count, "MemberList": page, "Next": next }))
            }
            _ => {
                let offset = usize::try_from(question.number("Offset")?).unwrap_or(usize::MAX);
                let page: Vec<_> = group.members.iter().skip(offset).take(limit).map(entry).collect();
                Ok(json!({ "MemberNum": count, "MemberList": page }))
            }
        }
    }

    fn roles(&self, question: &Question<'_>) -> Result<Value, Refusal> {
        let accounts = question.texts("User_Account", ROLES_MAX)?;
        let group = self.group(question)?;
        let role = |account: &str| group.role(account).unwrap_or("NotMember");
        let list = accounts.into_iter().map(|id| json!({ "Member_Account": id, "Role": role(id) }));
        Ok(json!({ "UserIdList": list.collect::<Vec<_>>() }))
    }
}

/// The members after those of the last page, and the mark of this one: its last account, if there are more.
fn page<'a>(
    members: &'a BTreeMap<String, Member>,
    after: &str,
    limit: usize,
) -> (Vec<(&'a String, &'a Member)>, String) {
    let after = after.strip_prefix("after:").map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = members.range::<str, _>((after, Bound::Unbounded));
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let last = rest.next().and_then(|_| page.last());
    let next = last.map(|(account, _)| format!("after:{account}")).unwrap_or_default();
    (page, next)
}

/// What is known of a group, as much of it as was asked for.
fn info(id: &str, group: &Group, filter: &Value) -> Value {
    let base = json!({
        "Type": group.group_type, "Name": group.name, "Introduction": group.introduction,
        "Notification": group.notification, "FaceUrl": group.face_url,
        "Owner_Account": group.owner.as_deref().unwrap_or_default(), "CreateTime": group.create_time,
        "MemberNum": group.members.len(), "MaxMemberNum": 2000, "ApplyJoinOption": "FreeAccess",
    });
    let mut fields = Map::new();
    for (name, value) in base.as_object().into_iter().flatten() {
        if is_asked_for(&filter["GroupBaseInfoFilter"], name) {
            fields.insert(name.clone(), value.clone());
        }
    }
    let keys = &filter["AppDefinedDataFilter_Group"];
    let custom = group.app_defined.iter().filter(|(key, _)| is_asked_for(keys, key));
    let custom: Vec<_> = custom.map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    fields.insert("AppDefinedData".to_owned(), json!(custom));
    fields.insert("GroupId".to_owned(), json!(id));
    fields.insert("ErrorCode".to_owned(), json!(0));
    fields.insert("ErrorInfo".to_owned(), json!(""));
    fields.into()
}

/// Everything is asked for where there is no filter.
fn is_asked_for(filter: &Value, name: &str) -> bool {
    filter.as_array().is_none_or(|names| names.iter().any(|asked| asked == name))
}
