//! The answers of Chat's REST API, read as leniently as callbacks are: a number may come as a string, null counts as
//! absent, an absent list as empty, and unknown fields are ignored.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::value::RawValue;

use super::command::Command;
use super::error::ChatError;
use crate::callback::{Body, BodyError, Fields, string};
use crate::event::{FactName, TEXTS, fact, is_nobody, map_name};

/// An answer of Chat's, and its moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// When the (first) question was asked: the earlier of our clock and Chat's. Nothing in the answer is older, save for
    /// the differences between the clocks of Chat's own servers.
    pub asked_at: SystemTime,
    /// Its content.
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

/// A group's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupInfo {
    /// The fields and the custom fields, under the names of the table. A field that Chat leaves out is empty.
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
    /// Whether it came in one page. Several are no snapshot: while accounts come and go, a member may be missed.
    pub is_snapshot: bool,
}

impl Roster {
    /// How many of the members that Chat counts it lacks. An empty one without a count lacks somebody.
    pub fn missing(&self) -> u64 {
        let none_expected = u64::from(self.members.is_empty());
        self.member_num.unwrap_or(none_expected).saturating_sub(self.members.len() as u64)
    }
}

/// A member of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Role: Owner, Admin, Member or an unknown one.
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
    pub(super) fn read(fields: &mut Fields<'_>, asked: u64) -> Result<Self, ChatError> {
        let mut ids = Vec::new();
        for entry in fields.entries("GroupIdList")? {
            // Nobody can ask about an id with broken bytes: it must not hold up the others.
            ids.extend(id(&mut entry?, "GroupId").ok());
        }
        let list = Self {
            ids,
            next: fields.number("Next")?.unwrap_or_default(),
            total: fields.number("TotalCount")?,
        };
        if list.next != 0 && list.next == asked {
            return Err(ChatError::unreadable("Next", "a page after the last one"));
        }
        Ok(list)
    }
}

impl GroupInfo {
    /// The names of the fields to ask for.
    pub(super) fn fields() -> impl Serialize {
        let texts = TEXTS.map(|(field, _)| field);
        [&["Type", "Owner_Account", "CreateTime", "MemberNum"], &texts[..]].concat()
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, ChatError> {
        // Every group has a type: an entry without one is incomplete, and its missing fields are not empty.
        let mut values = BTreeMap::from([(fact::TYPE.into(), required(fields, "Type")?)]);
        for (field, name) in TEXTS.into_iter().chain([("Owner_Account", fact::OWNER_ACCOUNT)]) {
            values.insert(name.into(), text(fields, field)?.unwrap_or_default());
        }
        if values.get(fact::OWNER_ACCOUNT).is_some_and(|owner| is_nobody(owner)) {
            values.insert(fact::OWNER_ACCOUNT.into(), String::new());
        }
        // A custom field of another shape is not compared.
        for mut entry in fields.entries("AppDefinedData").into_iter().flatten().flatten() {
            if let (Ok(key), Ok(value)) = (required(&mut entry, "Key"), text(&mut entry, "Value")) {
                values.insert(fact::user_defined(&map_name(key)), value.unwrap_or_default());
            }
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
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, ChatError> {
        let entries = fields.entries("MemberList")?;
        let member = |entry: Result<Fields<'_>, BodyError>| {
            let mut entry = entry?;
            let name_card = text(&mut entry, "NameCard")?.unwrap_or_default();
            let member = Member { role: text(&mut entry, "Role")?, name_card };
            Ok((id(&mut entry, "Member_Account")?, member))
        };
        let is_somebody = |member: &Result<(String, Member), ChatError>| {
            member.as_ref().map_or(true, |(account, _)| !is_nobody(account))
        };
        Ok(Self {
            members: entries.map(member).filter(is_somebody).collect::<Result<_, ChatError>>()?,
            member_num: fields.number("MemberNum")?,
            next: text(fields, "Next")?.unwrap_or_default(),
        })
    }
}

/// The list of an answer, which has an entry for each name.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResultList {
    pub command: Command,
    /// The list's field.
    pub list: &'static str,
    /// The field of an entry that holds its name.
    pub name: &'static str,
}

/// Reads the result for each of these names. A name missing from the answer gets an error, never a default.
pub(super) fn results_by_name<T>(
    fields: &mut Fields<'_>,
    of: ResultList,
    names: &[&str],
    read: impl Fn(&mut Fields<'_>) -> Result<T, ChatError>,
) -> Result<Results<T>, ChatError> {
    let mut results = Results::new();
    for entry in fields.entries(of.list)? {
        let mut entry = entry?;
        if let Ok(name) = id(&mut entry, of.name)
            && names.contains(&name.as_str())
        {
            let result = check(&mut entry, of.command, Some(0)).and_then(|()| read(&mut entry));
            results.insert(name, result);
        }
    }
    for name in names {
        let missing = || Err(ChatError::unreadable(of.list, "an entry for each name"));
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

/// Reads an answer, unless Chat refuses to give one.
pub(super) fn parse<'a>(body: &'a mut Body<'_>, command: Command) -> Result<Fields<'a>, ChatError> {
    let mut fields = body.fields().map_err(|_| ChatError::NotChat)?;
    check(&mut fields, command, None)?;
    Ok(fields)
}

/// Checks the ErrorCode of an answer or, with a default, of an entry.
fn check(fields: &mut Fields<'_>, command: Command, default: Option<u64>) -> Result<(), ChatError> {
    let code = fields.number("ErrorCode")?.or(default).ok_or(ChatError::NotChat)?;
    let failed = fields.take("ActionStatus").and_then(string).is_some_and(|status| status == "FAIL");
    let info = fields.take("ErrorInfo").and_then(string).unwrap_or_default();
    if code == 0 && !failed { Ok(()) } else { Err(ChatError::refused(command, code, &info)) }
}

/// A string, or a number as its digits.
fn text(fields: &mut Fields<'_>, name: &str) -> Result<Option<String>, ChatError> {
    let Some(raw) = fields.take(name) else { return Ok(None) };
    text_of(raw).map(Some).ok_or_else(|| fields.error(name, "a string").into())
}

fn text_of(raw: &RawValue) -> Option<String> {
    let is_number = raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
    if is_number { Some(raw.get().to_owned()) } else { string(raw) }
}

/// A text that must be there.
pub(super) fn required(fields: &mut Fields<'_>, name: &str) -> Result<String, ChatError> {
    let text = text(fields, name)?.filter(|text| !text.is_empty());
    text.ok_or_else(|| fields.error(name, "a string that is not empty").into())
}

/// A GroupId or an account, which must be there as Chat knows it: one with broken bytes would be another's.
fn id(fields: &mut Fields<'_>, name: &str) -> Result<String, ChatError> {
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
    fn read<T>(
        mut body: Value,
        read: impl Fn(&mut Fields<'_>) -> Result<T, ChatError>,
    ) -> Result<T, ChatError> {
        body["ErrorCode"] = json!(0);
        read(&mut parse(&mut Body::new(body.to_string().as_bytes()), Command::Role).unwrap())
    }

    fn error(body: &str) -> String {
        parse(&mut Body::new(&redact(body.as_bytes(), "secret")), Command::Role).unwrap_err().to_string()
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
            assert_eq!(error.to_string(), "Chat's REST API: Type: expected a string that is not empty");
        }
    }

    #[test]
    fn a_field_that_is_not_what_it_should_be_is_named() {
        let member = |entry: Value| {
            let page = read(json!({ "MemberList": [{ "Member_Account": "a" }, entry] }), MemberPage::read);
            let error = page.err().map(|error| error.to_string()).unwrap_or_default();
            error.strip_prefix("Chat's REST API: ").unwrap_or_default().to_owned()
        };
        let account = "MemberList[1].Member_Account: expected a string of UTF-8 that is not empty";
        assert_eq!(member(json!({})), account);
        assert_eq!(member(json!({ "Member_Account": "" })), account);
        assert_eq!(member(json!([])), "MemberList[1]: expected an object");
        let role = "MemberList[1].Role: expected a string";
        assert_eq!(member(json!({ "Member_Account": "b", "Role": {} })), role);
        for number in [json!(-1), json!(1.5), json!("one"), json!([])] {
            let error = read(json!({ "MemberNum": number }), MemberPage::read).err().unwrap();
            assert_eq!(
                error.to_string(),
                "Chat's REST API: MemberNum: expected a whole number that is not negative"
            );
        }
    }

    #[test]
    fn what_chat_did_not_write_is_no_answer() {
        let expected = "Chat's REST API: body: expected a JSON object with ErrorCode";
        for body in
            ["", "{", "[]", "<html>", "null", "{}", r#"{"ActionStatus":"OK"}"#, r#"{"ErrorCode":null}"#]
        {
            assert_eq!(error(body), expected, "{body}");
        }
    }

    #[test]
    fn a_refusal_is_never_taken_for_an_answer_nor_shows_the_secret() {
        for (body, code) in [
            (
                r#"{"ActionStatus":"FAIL","ErrorCode":"70003","ErrorInfo":"bad secret, secret"}"#,
                r#"ErrorCode 70003, "bad [UserSig], [UserSig]"; check "#,
            ),
            (r#"{"ActionStatus":"FAIL","ErrorCode":0}"#, r#"ErrorCode 0, """#),
            (r#"{"ActionStatus":"OK","ErrorCode":10004,"ErrorInfo":7}"#, r#"ErrorCode 10004, """#),
        ] {
            assert!(
                error(body).starts_with(&format!("Chat's REST API, get_role_in_group: {code}")),
                "{body}"
            );
        }
    }

    #[test]
    fn one_bad_character_costs_neither_its_text_nor_the_others() {
        let body = b"\xef\xbb\xbf{\"ErrorCode\":0,\"GroupInfo\":[\
            {\"GroupId\":\"a\",\"ErrorCode\":0,\"Type\":\"Public\",\"Name\":\"caf\xc3\",\"Notification\":\"1\n2\x00\"},\
            {\"GroupId\":\"b\",\"ErrorCode\":0,\"Type\":\"Public\",\"Name\":\"\xef\xbf\xbd\",\"Owner_Account\":\"\\ud800\"}]}";
        let of = ResultList { command: Command::GroupInfo, list: "GroupInfo", name: "GroupId" };
        let mut body = Body::new(body);
        let groups = results_by_name(
            &mut parse(&mut body, Command::GroupInfo).unwrap(),
            of,
            &["a", "b"],
            GroupInfo::read,
        )
        .unwrap();
        let value = |id: &str, name: &str| groups[id].as_ref().unwrap().values[name].clone();
        assert_eq!([value("a", "name"), value("a", "notification")], ["caf\u{fffd}", "1\n2\0"]);
        assert_eq!([value("b", "name"), value("b", "owner_account")], ["\u{fffd}", r#""\ud800""#]);
    }

    #[test]
    fn an_id_with_broken_bytes_is_not_taken_for_one() {
        let mut body = Body::new(b"{\"ErrorCode\":0,\"MemberList\":[{\"Member_Account\":\"a\xff\"}]}");
        let error = MemberPage::read(&mut parse(&mut body, Command::MemberInfo).unwrap()).err().unwrap();
        let expected =
            "Chat's REST API: MemberList[0].Member_Account: expected a string of UTF-8 that is not empty";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_roster_lacks_the_members_that_chat_counts_beyond_it() {
        let missing = |members: usize, member_num| {
            let members = (0..members).map(|account| (account.to_string(), Member::default())).collect();
            Roster { members, member_num, ..Roster::default() }.missing()
        };
        assert_eq!([missing(2, Some(2)), missing(3, Some(2)), missing(0, Some(0)), missing(1, None)], [0; 4]);
        assert_eq!((missing(1, Some(3)), missing(0, None)), (2, 1));
    }

    #[test]
    fn a_name_of_which_nothing_is_said_has_an_error() {
        let list = json!([
            { "Member_Account": "a", "Role": "Owner" }, { "Member_Account": "b", "Role": null },
            { "Member_Account": "c", "Role": "" }, { "Member_Account": "d", "Role": "NotMember" },
            { "Member_Account": "nobody asked", "Role": "Member" }, { "Role": "Member" },
        ]);
        let names = ["a", "b", "c", "d", "e"];
        let of = ResultList { command: Command::Role, list: "UserIdList", name: "Member_Account" };
        let roles = read(json!({ "UserIdList": list }), |fields| {
            results_by_name(fields, of, &names, |entry| required(entry, "Role"))
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

    const OF: ResultList = ResultList { command: Command::GroupInfo, list: "GroupInfo", name: "GroupId" };

    fn read_all(bytes: &[u8]) {
        let mut body = Body::new(bytes);
        let Ok(mut fields) = parse(&mut body, Command::GroupInfo) else { return };
        results_by_name(&mut fields, OF, &["a", "b"], GroupInfo::read).ok();
        GroupList::read(&mut fields, 0).ok();
        MemberPage::read(&mut fields).ok();
    }

    proptest! {
        #[test]
        fn no_text_of_one_group_costs_another(name in literal(), custom in literal()) {
            let bytes = groups(&name, &custom);
            let mut body = Body::new(&bytes);
            let groups = results_by_name(&mut parse(&mut body, Command::GroupInfo).unwrap(), OF, &["a", "b"], GroupInfo::read).unwrap();
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
