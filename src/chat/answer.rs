//! The answers of Chat's REST API, read as leniently as callbacks are: a number may come as a string, null counts as
//! absent, an absent list as empty, and fields that are not known are ignored.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::error::{ChatError, Reason, Refusal};

/// What Chat says, and as of when.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// When the question was asked (the first, if it took several), by our clock or by Chat's, whichever is behind.
    /// Nothing that Chat says is older than this, save for what the clocks of its own servers differ.
    pub asked_at: SystemTime,
    /// What it says.
    pub value: T,
}

/// A page of the application's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupList {
    /// The groups' ids.
    pub ids: Vec<String>,
    /// Where the next page begins; 0 after the last one.
    pub next: u64,
    /// How many groups there are, if Chat says so.
    pub total: Option<u64>,
}

/// What Chat knows of a group. A field that it did not send is `None`; an empty one is a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupInfo {
    /// Type: Work, Public, Meeting, AVChatRoom, Community or one to come.
    pub group_type: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Introduction.
    pub introduction: Option<String>,
    /// Notification.
    pub notification: Option<String>,
    /// FaceUrl.
    pub face_url: Option<String>,
    /// Owner_Account; empty where a group is without an owner.
    pub owner_account: Option<String>,
    /// CreateTime, in seconds since the Unix epoch.
    pub create_time: Option<u64>,
    /// MemberNum.
    pub member_num: Option<u64>,
    /// The custom fields of AppDefinedData.
    pub user_defined: BTreeMap<String, String>,
}

/// What Chat knows of each group that it was asked about.
pub type GroupInfos = BTreeMap<String, Result<GroupInfo, ChatError>>;

/// The members of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The members by their account.
    pub members: BTreeMap<String, Member>,
    /// MemberNum: how many members there were with the last page, if Chat says so.
    pub member_num: Option<u64>,
}

impl Roster {
    /// Whether it names as many members as there are. One that does may still miss a member, because pages are no
    /// snapshot: another may have left meanwhile.
    pub fn is_complete(&self) -> bool {
        match self.member_num {
            Some(member_num) => self.members.len() as u64 >= member_num,
            None => !self.members.is_empty(),
        }
    }
}

/// A member of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Role: Owner, Admin, Member or one to come.
    pub role: Option<String>,
    /// NameCard.
    pub name_card: Option<String>,
}

/// A page of a group's members.
pub(super) struct MemberPage {
    pub members: Vec<(String, Member)>,
    pub member_num: Option<u64>,
    pub next: String,
}

impl GroupList {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, Reason> {
        let entries = fields.entries("GroupIdList")?;
        Ok(Self {
            ids: entries.into_iter().map(|mut entry| entry.required("GroupId")).collect::<Result<_, _>>()?,
            next: fields.number("Next")?.unwrap_or_default(),
            total: fields.number("TotalCount")?,
        })
    }
}

impl GroupInfo {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, Reason> {
        fields.check()?;
        Ok(Self {
            group_type: fields.text("Type")?,
            name: fields.text("Name")?,
            introduction: fields.text("Introduction")?,
            notification: fields.text("Notification")?,
            face_url: fields.text("FaceUrl")?,
            owner_account: fields.text("Owner_Account")?,
            create_time: fields.number("CreateTime")?,
            member_num: fields.number("MemberNum")?,
            user_defined: fields
                .entries("AppDefinedData")?
                .into_iter()
                .map(|mut entry| Ok((entry.required("Key")?, entry.text("Value")?.unwrap_or_default())))
                .collect::<Result<_, Reason>>()?,
        })
    }
}

impl MemberPage {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, Reason> {
        let entries = fields.entries("MemberList")?.into_iter();
        let member = |mut entry: Fields| {
            let member = Member { role: entry.text("Role")?, name_card: entry.text("NameCard")? };
            Ok((entry.required("Member_Account")?, member))
        };
        Ok(Self {
            members: entries.map(member).collect::<Result<_, Reason>>()?,
            member_num: fields.number("MemberNum")?,
            next: fields.text("Next")?.unwrap_or_default(),
        })
    }
}

/// Reads the roles in a group by account, `NotMember` included. An account without a role is left out.
pub(super) fn roles(fields: &mut Fields) -> Result<BTreeMap<String, String>, Reason> {
    let mut roles = BTreeMap::new();
    for mut entry in fields.entries("UserIdList")? {
        let account = entry.required("Member_Account")?;
        if let Some(role) = entry.text("Role")?.filter(|role| !role.is_empty()) {
            roles.insert(account, role);
        }
    }
    Ok(roles)
}

/// The fields of one JSON object, taken out one by one.
#[derive(Debug)]
pub(super) struct Fields {
    /// Where the object stands: empty for the body, `MemberList[3].` for an entry of a list.
    path: String,
    fields: Map<String, Value>,
    /// The body was not UTF-8 (a text that was cut within a character): broken places are replaced, and must not be
    /// taken for what Chat says.
    damaged: bool,
}

impl Fields {
    /// Reads the body of an answer. The secret is cut out, should Chat repeat it.
    pub fn parse(body: &[u8], secret: &str) -> Result<Self, Reason> {
        let text = String::from_utf8_lossy(body);
        let damaged = matches!(text, Cow::Owned(_));
        let fields = serde_json::from_str(&text.replace(secret, "[UserSig]")).map_err(|_| Reason::NotChat)?;
        let mut fields = Self { path: String::new(), fields, damaged };
        if fields.fields.get("ErrorCode").is_none_or(Value::is_null) {
            return Err(Reason::NotChat);
        }
        fields.check()?;
        Ok(fields)
    }

    /// Checks what the answer, or an entry of it, says of its own failure.
    fn check(&mut self) -> Result<(), Reason> {
        let code = self.number("ErrorCode")?.unwrap_or_default();
        let failed = self.take("ActionStatus").is_some_and(|status| status == "FAIL");
        let info = self.take("ErrorInfo").unwrap_or_default();
        if code == 0 && !failed {
            return Ok(());
        }
        Err(Reason::Refused(Refusal::new(code, info.as_str().unwrap_or_default())))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Reason> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if !(self.damaged && text.contains('\u{fffd}')) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.unreadable(name, "a string of UTF-8")),
        }
    }

    /// A text that must be there.
    pub fn required(&mut self, name: &str) -> Result<String, Reason> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| self.unreadable(name, "a string that is not empty"))
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, Reason> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = match &value {
            Value::String(digits) => digits.parse().ok(),
            value => value.as_u64(),
        };
        number.map(Some).ok_or_else(|| self.unreadable(name, "a whole number that is not negative"))
    }

    /// The objects of a list.
    pub fn entries(&mut self, name: &str) -> Result<Vec<Self>, Reason> {
        let list = match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(self.unreadable(name, "an array of objects")),
        };
        let entry = |(index, value)| match value {
            Value::Object(fields) => {
                Ok(Self { path: format!("{}{name}[{index}].", self.path), fields, damaged: self.damaged })
            }
            _ => Err(self.unreadable(&format!("{name}[{index}]"), "an object")),
        };
        list.into_iter().enumerate().map(entry).collect()
    }

    fn unreadable(&self, name: &str, expected: &'static str) -> Reason {
        Reason::unreadable(format!("{}{name}", self.path), expected)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(mut body: Value) -> Fields {
        body["ErrorCode"] = json!(0);
        Fields::parse(body.to_string().as_bytes(), "secret").unwrap()
    }

    fn error(body: &str) -> String {
        Fields::parse(body.as_bytes(), "secret").unwrap_err().to_string()
    }

    #[test]
    fn numbers_may_be_strings_and_null_is_absent() {
        let list = GroupList::read(&mut fields(json!({
            "ActionStatus": "OK", "ErrorInfo": null, "More": [{}], "Next": "18446744073709551615",
            "TotalCount": null, "GroupIdList": [{ "GroupId": "a", "Type": 1 }, { "GroupId": 7 }],
        })));
        assert_eq!(
            list.unwrap(),
            GroupList { ids: vec!["a".into(), "7".into()], next: u64::MAX, total: None }
        );
        let list = GroupList::read(&mut fields(json!({ "GroupIdList": null })));
        assert_eq!(list.unwrap(), GroupList { ids: Vec::new(), next: 0, total: None });
    }

    #[test]
    fn a_group_is_read_field_by_field() {
        let info = GroupInfo::read(&mut fields(json!({
            "ErrorCode": "0", "GroupId": "a", "Type": "Public", "Name": "", "Introduction": null,
            "FaceUrl": "https://example.com/", "Owner_Account": "", "CreateTime": "1700000000", "MemberNum": 2,
            "AppDefinedData": [{ "Key": "k", "Value": "v\u{0}" }, { "Key": "empty", "Value": null }],
        })));
        let expected = GroupInfo {
            group_type: Some("Public".into()),
            name: Some(String::new()),
            face_url: Some("https://example.com/".into()),
            owner_account: Some(String::new()),
            create_time: Some(1_700_000_000),
            member_num: Some(2),
            user_defined: [("k".into(), "v\u{0}".into()), ("empty".into(), String::new())].into(),
            ..GroupInfo::default()
        };
        assert_eq!(info.unwrap(), expected);
    }

    #[test]
    fn a_field_that_is_not_what_it_should_be_is_named() {
        let member = |entry: Value| {
            let page =
                MemberPage::read(&mut fields(json!({ "MemberList": [{ "Member_Account": "a" }, entry] })));
            page.err().map(|reason| reason.to_string()).unwrap_or_default()
        };
        let account = "MemberList[1].Member_Account: expected a string that is not empty";
        assert_eq!(member(json!({})), account);
        assert_eq!(member(json!({ "Member_Account": "" })), account);
        assert_eq!(member(json!([])), "MemberList[1]: expected an object");
        let role = "MemberList[1].Role: expected a string of UTF-8";
        assert_eq!(member(json!({ "Member_Account": "b", "Role": {} })), role);
        for number in [json!(-1), json!(1.5), json!("one"), json!([])] {
            let error = GroupList::read(&mut fields(json!({ "Next": number }))).unwrap_err();
            assert_eq!(error.to_string(), "Next: expected a whole number that is not negative");
        }
    }

    #[test]
    fn what_chat_did_not_write_is_no_answer() {
        let expected = "body: expected a JSON object with ErrorCode";
        for body in
            ["", "{", "[]", "<html>", "null", "{}", r#"{"ActionStatus":"OK"}"#, r#"{"ErrorCode":null}"#]
        {
            assert_eq!(error(body), expected, "{body}");
        }
    }

    #[test]
    fn a_refusal_is_never_taken_for_an_answer_nor_shows_the_secret() {
        let refused = r#"{"ActionStatus":"FAIL","ErrorCode":"70003","ErrorInfo":"bad secret, secret"}"#;
        assert!(error(refused).starts_with(r#"ErrorCode 70003, "bad [UserSig], [UserSig]"; check "#));
        assert_eq!(error(r#"{"ActionStatus":"FAIL","ErrorCode":0}"#), r#"ErrorCode 0, """#);
        assert_eq!(
            error(r#"{"ActionStatus":"OK","ErrorCode":10004,"ErrorInfo":7}"#),
            r#"ErrorCode 10004, """#
        );
    }

    #[test]
    fn a_text_that_was_cut_within_a_character_is_not_taken_for_what_chat_says() {
        let body = b"{\"ErrorCode\":0,\"Name\":\"caf\xc3\",\"Type\":\"Public\"}";
        let error = GroupInfo::read(&mut Fields::parse(body, "secret").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "Name: expected a string of UTF-8");
        // Sent as such it is a character like any other.
        let info = GroupInfo::read(&mut fields(json!({ "Name": "\u{fffd}" })));
        assert_eq!(info.unwrap().name.as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn a_roster_is_complete_with_as_many_members_as_chat_counts() {
        let complete = |members: usize, member_num| {
            let members = (0..members).map(|account| (account.to_string(), Member::default())).collect();
            Roster { members, member_num }.is_complete()
        };
        assert!(complete(2, Some(2)) && complete(3, Some(2)) && complete(0, Some(0)) && complete(1, None));
        assert!(!complete(1, Some(2)) && !complete(0, None));
    }

    #[test]
    fn a_role_that_was_not_sent_says_nothing() {
        let list = json!([
            { "Member_Account": "a", "Role": "Owner" }, { "Member_Account": "b", "Role": null },
            { "Member_Account": "c", "Role": "" }, { "Member_Account": "d", "Role": "NotMember" },
        ]);
        let roles = roles(&mut fields(json!({ "UserIdList": list }))).unwrap();
        assert_eq!(roles, [("a".into(), "Owner".into()), ("d".into(), "NotMember".into())].into());
    }
}
