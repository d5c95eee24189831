//! Answers, whole and broken.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::*;

/// Reads an answer with these fields.
fn read<T>(mut body: Value, read: impl Fn(&mut Fields<'_>) -> Result<T, ChatError>) -> Result<T, ChatError> {
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
    assert_eq!(page.unwrap(), GroupList { ids: vec!["a".into(), "7".into()], next: u64::MAX, total: None });
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
    for body in ["", "{", "[]", "<html>", "null", "{}", r#"{"ActionStatus":"OK"}"#, r#"{"ErrorCode":null}"#] {
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
        assert!(error(body).starts_with(&format!("Chat's REST API, get_role_in_group: {code}")), "{body}");
    }
}

#[test]
fn one_bad_character_costs_neither_its_text_nor_the_others() {
    let body = b"\xef\xbb\xbf{\"ErrorCode\":0,\"GroupInfo\":[\
        {\"GroupId\":\"a\",\"ErrorCode\":0,\"Type\":\"Public\",\"Name\":\"caf\xc3\",\"Notification\":\"1\n2\x00\"},\
        {\"GroupId\":\"b\",\"ErrorCode\":0,\"Type\":\"Public\",\"Name\":\"\xef\xbf\xbd\",\"Owner_Account\":\"\\ud800\"}]}";
    let of = ResultList { command: Command::GroupInfo, list: "GroupInfo", name: "GroupId" };
    let mut body = Body::new(body);
    let groups =
        results_by_name(&mut parse(&mut body, Command::GroupInfo).unwrap(), of, &["a", "b"], GroupInfo::read)
            .unwrap();
    let value = |id: &str, name: &str| groups[id].as_ref().unwrap().values[name].clone();
    assert_eq!([value("a", "name"), value("a", "notification")], ["caf\u{fffd}", "1\n2\0"]);
    assert_eq!([value("b", "name"), value("b", "owner_account")], ["\u{fffd}", r#""\ud800""#]);
}

#[test]
fn each_genuine_body_of_the_field_is_read_as_an_answer_too_and_costs_no_other_group() {
    let of = ResultList { command: Command::GroupInfo, list: "GroupInfo", name: "GroupId" };
    let cases = include_str!("../../../tests/field-cases.jsonl").lines();
    let cases = cases.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut compared = 0;
    for case in cases.filter(|case| case["expect_status"] == 200) {
        let body = case["body"].as_str().map(|text| text.as_bytes().to_vec());
        let body =
            body.unwrap_or_else(|| BASE64_STANDARD.decode(case["body_base64"].as_str().unwrap()).unwrap());
        let (mark, body) = body.split_at(if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 });
        let other = br#",{"GroupId":"other","Type":"Public","Name":"other"}]}"#;
        let answer = [mark, br#"{"ErrorCode":0,"GroupInfo":["#, body.trim_ascii(), other].concat();
        let mut answer = Body::new(&answer);
        let id =
            case["expect_item"]["pk"].as_str().and_then(|pk| pk.split_once('#')).map_or("none", |pk| pk.1);
        let groups = results_by_name(
            &mut parse(&mut answer, Command::GroupInfo).unwrap(),
            of,
            &[id, "other"],
            GroupInfo::read,
        );
        let groups = groups.unwrap();
        assert_eq!(groups["other"].as_ref().unwrap().values["name"], "other", "{case}");
        // A callback need not name the type, an answer has to.
        let (Ok(group), Some(expected)) = (&groups[id], case["expect_item"].as_object()) else { continue };
        for (name, value) in group.values.iter().filter(|(name, _)| expected.contains_key(&***name)) {
            assert_eq!(expected[&**name], **value, "{case}");
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared}");
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
