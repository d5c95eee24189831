//! The answers of Chat's REST API, read as leniently as callbacks are: a number may come as a string, null counts as
//! absent, an absent list as empty, and fields that are not known are ignored.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::value::RawValue;

use super::command::Command;
use super::error::{ChatError, Reason};
use crate::callback::{Body, BodyError, Fields, string};
use crate::event::{FactName, TEXTS, fact, map_name};

/// What Chat says, and as of when.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// When the question was asked (the first, if it took several), by our clock or by Chat's, whichever is downstream.
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

/// What Chat knows of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupInfo {
    /// The fields and the custom fields, under the names of the table. Those that are asked for by name are all there:
    /// Chat may leave out an empty one.
    pub values: BTreeMap<FactName, String>,
    /// CreateTime, in seconds since the Unix epoch.
    pub create_time: Option<u64>,
    /// MemberNum.
    pub member_num: Option<u64>,
}

/// The result for each name that was asked about.
pub type Results<T> = BTreeMap<String, Result<T, ChatError>>;

/// The members of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The members by their account.
    pub members: BTreeMap<String, Member>,
    /// The greatest MemberNum of its pages, if Chat says so.
    pub member_num: Option<u64>,
    /// Whether it is one page. Several are no snapshot: while some come and go, another may be missed.
    pub is_steady: bool,
}

impl Roster {
    /// Whether it names as many members as there are.
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
    /// NameCard; empty if Chat leaves it out.
    pub name_card: String,
}

/// A page of a group's members.
pub(super) struct MemberPage {
    pub members: Vec<(String, Member)>,
    pub member_num: Option<u64>,
    pub next: String,
}

impl GroupList {
    /// Reads the page that begins at `asked`.
    pub(super) fn read(fields: &mut Fields<'_>, asked: u64) -> Result<Self, Reason> {
        let entries = fields.entries("GroupIdList")?;
        let list = Self {
            ids: entries.map(|entry| id(&mut entry?, "GroupId")).collect::<Result<_, _>>()?,
            next: fields.number("Next")?.unwrap_or_default(),
            total: fields.number("TotalCount")?,
        };
        match list.next != 0 && list.next == asked {
            true => Err(Reason::unreadable("Next", "a place after the last one")),
            false => Ok(list),
        }
    }
}

impl GroupInfo {
    /// The fields that are asked for by name.
    pub(super) fn fields() -> impl Serialize {
        let texts = TEXTS.map(|(field, _)| field);
        [&["Type", "Owner_Account", "CreateTime", "MemberNum"], &texts[..]].concat()
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Reason> {
        // Every group has a type: an entry without it is not the whole answer, and what it lacks is not empty.
        let mut values = BTreeMap::from([(fact::TYPE.into(), required(fields, "Type")?)]);
        for (field, name) in TEXTS.into_iter().chain([("Owner_Account", fact::OWNER_ACCOUNT)]) {
            values.insert(name.into(), text(fields, field)?.unwrap_or_default());
        }
        for entry in fields.entries("AppDefinedData")? {
            let mut entry = entry?;
            let name = fact::user_defined(&map_name(required(&mut entry, "Key")?));
            values.insert(name, text(&mut entry, "Value")?.unwrap_or_default());
        }
        Ok(Self {
            values,
            create_time: fields.number("CreateTime")?,
            member_num: fields.number("MemberNum")?,
        })
    }

    /// Its type.
    pub fn group_type(&self) -> &str {
        self.values.get(fact::TYPE).map(String::as_str).unwrap_or_default()
    }
}

impl MemberPage {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Reason> {
        let entries = fields.entries("MemberList")?;
        let member = |entry: Result<Fields<'_>, BodyError>| {
            let mut entry = entry?;
            let name_card = text(&mut entry, "NameCard")?.unwrap_or_default();
            let member = Member { role: text(&mut entry, "Role")?, name_card };
            Ok((id(&mut entry, "Member_Account")?, member))
        };
        Ok(Self {
            members: entries.map(member).collect::<Result<_, Reason>>()?,
            member_num: fields.number("MemberNum")?,
            next: text(fields, "Next")?.unwrap_or_default(),
        })
    }
}

/// What a list of the answer says of each of these names. One that it leaves out has an error: nothing is guessed.
pub(super) fn each<T>(
    fields: &mut Fields<'_>,
    (command, list, named): (Command, &'static str, &'static str),
    names: &[&str],
    read: impl Fn(&mut Fields<'_>) -> Result<T, Reason>,
) -> Result<Results<T>, Reason> {
    let error = |reason| ChatError { command, reason };
    let mut results = Results::new();
    for entry in fields.entries(list)? {
        let mut entry = entry?;
        if let Ok(name) = id(&mut entry, named)
            && names.contains(&name.as_str())
        {
            let result = check(&mut entry, Some(0)).and_then(|()| read(&mut entry));
            results.insert(name, result.map_err(error));
        }
    }
    for name in names {
        let missing = || Err(error(Reason::unreadable(list, "an entry for each")));
        results.entry((*name).to_owned()).or_insert_with(missing);
    }
    Ok(results)
}

/// A body with the secret cut out, should Chat repeat it.
pub(super) fn redact(body: &[u8], secret: &str) -> Vec<u8> {
    let (mut redacted, mut rest) = (Vec::with_capacity(body.len()), body);
    while let Some(at) = rest.windows(secret.len()).position(|window| window == secret.as_bytes()) {
        redacted.extend([&rest[..at], b"[UserSig]"].concat());
        rest = &rest[at + secret.len()..];
    }
    redacted.extend(rest);
    redacted
}

/// Reads an answer, if Chat did not refuse to give one.
pub(super) fn parse<'a>(body: &'a mut Body<'_>) -> Result<Fields<'a>, Reason> {
    let mut fields = body.fields().map_err(|_| Reason::NotChat)?;
    check(&mut fields, None)?;
    Ok(fields)
}

/// Checks what the answer, or an entry of it, says of its own failure.
fn check(fields: &mut Fields<'_>, default: Option<u64>) -> Result<(), Reason> {
    let code = fields.number("ErrorCode")?.or(default).ok_or(Reason::NotChat)?;
    let failed = fields.take("ActionStatus").and_then(string).is_some_and(|status| status == "FAIL");
    let info = fields.take("ErrorInfo").and_then(string).unwrap_or_default();
    if code == 0 && !failed { Ok(()) } else { Err(Reason::refused(code, &info)) }
}

/// A string or, as its digits, a number.
fn text(fields: &mut Fields<'_>, name: &str) -> Result<Option<String>, Reason> {
    let Some(raw) = fields.take(name) else { return Ok(None) };
    text_of(raw).map(Some).ok_or_else(|| fields.error(name, "a string").into())
}

fn text_of(raw: &RawValue) -> Option<String> {
    let is_number = raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
    if is_number { Some(raw.get().to_owned()) } else { string(raw) }
}

/// A text that must be there.
pub(super) fn required(fields: &mut Fields<'_>, name: &str) -> Result<String, Reason> {
    let text = text(fields, name)?.filter(|text| !text.is_empty());
    text.ok_or_else(|| fields.error(name, "a string that is not empty").into())
}

/// A GroupId or an account, which must be there as Chat knows it: one with broken bytes would be another's.
fn id(fields: &mut Fields<'_>, name: &str) -> Result<String, Reason> {
    let raw = fields.take(name).filter(|raw| !fields.is_broken(raw));
    let id = raw.and_then(text_of).filter(|id| !id.is_empty());
    id.ok_or_else(|| fields.error(name, "a string of UTF-8 that is not empty").into())
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Reads an answer with these fields.
    fn read<T>(mut body: Value, read: impl Fn(&mut Fields<'_>) -> Result<T, Reason>) -> Result<T, Reason> {
        body["ErrorCode"] = json!(0);
        read(&mut parse(&mut Body::new(body.to_string().as_bytes())).unwrap())
    }

    fn error(body: &str) -> String {
        parse(&mut Body::new(&redact(body.as_bytes(), "secret"))).unwrap_err().to_string()
    }

    #[test]
    fn numbers_may_be_strings_and_null_is_absent() {
        let list = |body| read(body, |fields| GroupList::read(fields, 0));
        let page = list(json!({
            "ActionStatus": "OK", "ErrorInfo": null, "More": [{}], "Next": "18446744073709551615",
            "TotalCount": null, "GroupIdList": [{ "GroupId": "a", "Type": 1 }, { "GroupId": 7 }],
        }));
        assert_eq!(
            page.unwrap(),
            GroupList { ids: vec!["a".into(), "7".into()], next: u64::MAX, total: None }
        );
        assert_eq!(
            list(json!({ "GroupIdList": null })).unwrap(),
            GroupList { ids: Vec::new(), next: 0, total: None }
        );
    }

    #[test]
    fn a_group_is_read_field_by_field() {
        let body = json!({
            "ErrorCode": "0", "GroupId": "a", "Type": "Public", "Name": "", "Introduction": null,
            "FaceUrl": "https://example.com/", "Owner_Account": "", "CreateTime": "1700000000", "MemberNum": 2,
            "AppDefinedData": [{ "Key": "k", "Value": "v\u{0}" }, { "Key": "empty", "Value": null }],
        });
        let values = [
            ("type", "Public"),
            ("name", ""),
            ("introduction", ""),
            ("notification", ""),
            ("face_url", "https://example.com/"),
            ("owner_account", ""),
            ("user_defined.k", "v\u{0}"),
            ("user_defined.empty", ""),
        ];
        let expected = GroupInfo {
            values: values.map(|(name, value)| (name.into(), value.to_owned())).into(),
            create_time: Some(1_700_000_000),
            member_num: Some(2),
        };
        assert_eq!(read(body, GroupInfo::read).unwrap(), expected);
    }

    #[test]
    fn an_entry_without_a_type_is_not_the_whole_answer() {
        for entry in [json!({ "GroupId": "a", "Name": "n" }), json!({ "GroupId": "a", "Type": "" })] {
            let error = read(entry, GroupInfo::read).unwrap_err();
            assert_eq!(error.to_string(), "Type: expected a string that is not empty");
        }
    }

    #[test]
    fn a_field_that_is_not_what_it_should_be_is_named() {
        let member = |entry: Value| {
            let page = read(json!({ "MemberList": [{ "Member_Account": "a" }, entry] }), MemberPage::read);
            page.err().map(|reason| reason.to_string()).unwrap_or_default()
        };
        let account = "MemberList[1].Member_Account: expected a string of UTF-8 that is not empty";
        assert_eq!(member(json!({})), account);
        assert_eq!(member(json!({ "Member_Account": "" })), account);
        assert_eq!(member(json!([])), "MemberList[1]: expected an object");
        let role = "MemberList[1].Role: expected a string";
        assert_eq!(member(json!({ "Member_Account": "b", "Role": {} })), role);
        for number in [json!(-1), json!(1.5), json!("one"), json!([])] {
            let error = read(json!({ "MemberNum": number }), MemberPage::read).err().unwrap();
            assert_eq!(error.to_string(), "MemberNum: expected a whole number that is not negative");
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
    fn one_bad_character_costs_neither_its_text_nor_the_others() {
        let body = b"\xef\xbb\xbf{\"ErrorCode\":0,\"GroupInfo\":[\
            {\"GroupId\":\"a\",\"ErrorCode\":0,\"Type\":\"Public\",\"Name\":\"caf\xc3\",\"Notification\":\"1\n2\x00\"},\
            {\"GroupId\":\"b\",\"ErrorCode\":0,\"Type\":\"Public\",\"Name\":\"\xef\xbf\xbd\",\"Owner_Account\":\"\\ud800\"}]}";
        let of = (Command::GroupInfo, "GroupInfo", "GroupId");
        let mut body = Body::new(body);
        let groups = each(&mut parse(&mut body).unwrap(), of, &["a", "b"], GroupInfo::read).unwrap();
        let value = |id: &str, name: &str| groups[id].as_ref().unwrap().values[name].clone();
        assert_eq!([value("a", "name"), value("a", "notification")], ["caf\u{fffd}", "1\n2\0"]);
        assert_eq!([value("b", "name"), value("b", "owner_account")], ["\u{fffd}", r#""\ud800""#]);
    }

    #[test]
    fn an_id_with_broken_bytes_is_not_taken_for_one() {
        let mut body = Body::new(b"{\"ErrorCode\":0,\"MemberList\":[{\"Member_Account\":\"a\xff\"}]}");
        let error = MemberPage::read(&mut parse(&mut body).unwrap()).err().unwrap();
        let expected = "MemberList[0].Member_Account: expected a string of UTF-8 that is not empty";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_roster_is_complete_with_as_many_members_as_chat_counts() {
        let complete = |members: usize, member_num| {
            let members = (0..members).map(|account| (account.to_string(), Member::default())).collect();
            Roster { members, member_num, ..Roster::default() }.is_complete()
        };
        assert!(complete(2, Some(2)) && complete(3, Some(2)) && complete(0, Some(0)) && complete(1, None));
        assert!(!complete(1, Some(2)) && !complete(0, None));
    }

    #[test]
    fn a_name_of_which_nothing_is_said_has_an_error() {
        let list = json!([
            { "Member_Account": "a", "Role": "Owner" }, { "Member_Account": "b", "Role": null },
            { "Member_Account": "c", "Role": "" }, { "Member_Account": "d", "Role": "NotMember" },
            { "Member_Account": "nobody asked", "Role": "Member" }, { "Role": "Member" },
        ]);
        let names = ["a", "b", "c", "d", "e"];
        let of = (Command::Role, "UserIdList", "Member_Account");
        let roles = read(json!({ "UserIdList": list }), |fields| {
            each(fields, of, &names, |entry| required(entry, "Role"))
        });
        let roles: Vec<_> = roles.unwrap().into_iter().map(|(account, role)| (account, role.ok())).collect();
        let expected = [Some("Owner"), None, None, Some("NotMember"), None];
        let expected = names.iter().zip(expected);
        let expected = expected.map(|(account, role)| ((*account).to_owned(), role.map(str::to_owned)));
        assert_eq!(roles, expected.collect::<Vec<_>>());
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod fuzz {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::callback::fuzz::{Literal, literal};

    /// An answer about two groups, the texts of the first as they are sent.
    fn groups(name: &Literal, custom: &Literal) -> Vec<u8> {
        [
            br#"{"ErrorCode":0,"GroupInfo":[{"GroupId":"a","ErrorCode":0,"Type":"Public","Name":""#,
            &name.bytes[..],
            br#"","AppDefinedData":[{"Key":"k","Value":""#,
            &custom.bytes,
            br#""}]},{"GroupId":"b","ErrorCode":0,"Type":"Public","Name":"b"}],"MemberList":[{"Member_Account":"a"}]}"#,
        ]
        .concat()
    }

    const OF: (Command, &str, &str) = (Command::GroupInfo, "GroupInfo", "GroupId");

    fn read_all(bytes: &[u8]) {
        let mut body = Body::new(bytes);
        let Ok(mut fields) = parse(&mut body) else { return };
        each(&mut fields, OF, &["a", "b"], GroupInfo::read).ok();
        GroupList::read(&mut fields, 0).ok();
        MemberPage::read(&mut fields).ok();
    }

    proptest! {
        #[test]
        fn no_text_of_one_group_costs_another(name in literal(), custom in literal()) {
            let bytes = groups(&name, &custom);
            let mut body = Body::new(&bytes);
            let groups = each(&mut parse(&mut body).unwrap(), OF, &["a", "b"], GroupInfo::read).unwrap();
            let value = |id: &str, name: &str| groups[id].as_ref().unwrap().values[name].clone();
            prop_assert_eq!((value("a", "name"), value("a", "user_defined.k")), (name.text, custom.text));
            prop_assert_eq!(value("b", "name"), "b");
        }

        #[test]
        fn no_change_of_an_answer_panics(
            name in literal(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            end in any::<prop::sample::Index>(),
        ) {
            let mut bytes = groups(&name, &name);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            read_all(&bytes);
            bytes.truncate(end.index(bytes.len()));
            read_all(&bytes);
        }
    }
}
