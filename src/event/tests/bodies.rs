//! Bodies that are not as they should be.

use super::*;

#[test]
fn custom_data_never_costs_an_event() {
    let one = json!({ "Key": "k", "Value": "v" });
    for (data, is_custom, extra) in [
        (json!(null), false, json!(null)),
        (json!([]), false, json!(null)),
        (json!({}), false, json!(null)),
        (json!([one]), true, json!(null)),
        (json!({ "k1": "v1" }), false, json!({ "k1": "v1" })),
        (json!("x"), false, json!("x")),
        (json!([one, { "Key": "n", "Value": 1 }, one]), true, json!([{ "Key": "n", "Value": 1 }])),
        (json!([{ "Value": "v" }, one]), true, json!([{ "Value": "v" }])),
        (
            json!([{ "Key": 1, "Value": "v" }, 7, [one], null]),
            false,
            json!([{ "Key": 1, "Value": "v" }, 7, [one], null]),
        ),
        (
            json!([{ "Key": "k" }, { "Key": "k", "Value": null }]),
            false,
            json!([{ "Key": "k" }, { "Key": "k", "Value": null }]),
        ),
    ] {
        let fields = json!({ "UserDefinedDataList": data });
        let created = event(RosterCommand::AfterCreateGroup, fields.clone());
        let custom = if is_custom { vec![("user_defined.k", Some("v"))] } else { Vec::new() };
        assert_eq!(values(&created.group), custom, "{fields}");
        let mut expected = Attributes::new();
        if !extra.is_null() {
            let raw = serde_json::value::to_raw_value(&extra).unwrap();
            extra::add(&mut expected, [("UserDefinedDataList".to_owned(), &*raw)].into_iter());
        }
        assert_eq!(created.group.details.unwrap().get("extra"), expected.get("extra"), "{fields}");
        let changed = event(RosterCommand::AfterGroupInfoChanged, fields);
        assert_eq!((values(&changed.group), &changed.group.details), (custom, &None));
    }
}

#[test]
fn broken_bytes_cost_an_event_in_an_id_alone() {
    let read = |command: RosterCommand, fields: Value| {
        let text = body(command, fields).to_string();
        let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
        Event::parse(command, &bytes, &origin()).map_err(|error| error.to_string())
    };
    use RosterCommand::*;
    let account = json!([{ "Member_Account": "a" }, { "Member_Account": "?" }]);
    for (command, fields, field) in [
        (AfterCreateGroup, json!({ "GroupId": "g?" }), "GroupId"),
        (AfterCreateGroup, json!({ "Operator_Account": "?" }), "Operator_Account"),
        (AfterCreateGroup, json!({ "Owner_Account": "?" }), "Owner_Account"),
        (AfterCreateGroup, json!({ "MemberList": account }), "MemberList[1].Member_Account"),
        (AfterNewMemberJoin, json!({ "NewMemberList": account }), "NewMemberList[1].Member_Account"),
        (AfterMemberExit, json!({ "ExitMemberList": account }), "ExitMemberList[1].Member_Account"),
        (AfterChangeGroupOwner, json!({ "NewOwner_Account": "?" }), "NewOwner_Account"),
        (AfterMemberFieldChanged, json!({ "Modified_Account": "?" }), "Modified_Account"),
    ] {
        let error = read(command, fields).unwrap_err();
        assert_eq!(error, format!("{field}: expected a string of UTF-8"));
    }
    let fields = json!({
        "GroupId": "\u{fffd}", "Name": "?", "Type": "?", "UserDefinedDataList": [{ "Key": "?", "Value": "?\u{1}?" }],
        "MemberList": [{ "Member_Account": "\u{fffd}", "?": "?" }], "Unknown": ["?"],
    });
    let event = read(AfterCreateGroup, fields).unwrap().unwrap();
    assert_eq!(event.key.group_id, "\u{fffd}");
    assert!(event.members.keys().eq(["\u{fffd}"]));
    let broken = Some("\u{fffd}");
    let custom = ("user_defined.\u{fffd}", Some("\u{fffd}\u{1}\u{fffd}"));
    assert_eq!(values(&event.group), [("name", broken), ("type", broken), custom]);
    let extra = event.group.details.unwrap()["extra"].clone();
    assert_eq!(extra.as_m().unwrap()["Unknown"], AttributeValue::L(vec![text("\u{fffd}")]));
}

#[test]
fn forty_thousand_members_are_read_at_once() {
    let list: Vec<Value> =
        (0..40_000).map(|n| json!({ "Member_Account": format!("account-{n:028}") })).collect();
    let created = event(RosterCommand::AfterCreateGroup, json!({ "MemberList": list }));
    assert_eq!(created.members.len(), 40_000);
    let shared = created.members.values().next().map(Arc::strong_count);
    assert_eq!(shared, Some(40_000), "members of one event share their facts");
}

#[test]
fn what_says_nothing_is_empty() {
    for (command, fields) in [
        (RosterCommand::AfterNewMemberJoin, json!({ "NewMemberList": [] })),
        (RosterCommand::AfterMemberExit, json!({})),
        (RosterCommand::AfterGroupInfoChanged, json!({ "Owner_Account": "a" })),
        (RosterCommand::AfterChangeGroupOwner, json!({})),
        (RosterCommand::AfterMemberFieldChanged, json!({ "Member_Account": "a", "Role": null })),
    ] {
        assert!(event(command, fields).is_empty(), "{command:?}");
    }
    assert!(!event(RosterCommand::AfterCreateGroup, json!({})).is_empty());
}

#[test]
fn a_body_that_is_really_wrong_is_refused_with_the_fields_name() {
    use RosterCommand::*;
    let list = |list: &str| json!({ list: [{ "Member_Account": "a" }, {}] });
    let long = "a".repeat(ACCOUNT_MAX_BYTES + 1);
    for (command, fields, expected) in [
        (AfterCreateGroup, json!({ "GroupId": null }), "GroupId: expected a string"),
        (AfterCreateGroup, json!({ "GroupId": "" }), "GroupId: expected a string that is not empty"),
        (AfterCreateGroup, json!({ "GroupId": 42 }), "GroupId: expected a string"),
        (AfterCreateGroup, json!({ "GroupId": "g".repeat(1004) }), "GroupId: expected at most 1003 bytes"),
        (AfterCreateGroup, json!({ "Owner_Account": long }), "Owner_Account: expected at most 1017 bytes"),
        (AfterCreateGroup, json!({ "Owner_Account": {} }), "Owner_Account: expected a string"),
        (AfterCreateGroup, json!({ "Operator_Account": 1 }), "Operator_Account: expected a string"),
        (AfterCreateGroup, json!({ "Type": [] }), "Type: expected a string"),
        (AfterCreateGroup, json!({ "Name": 5 }), "Name: expected a string"),
        (AfterCreateGroup, json!({ "MemberList": { "a": 1 } }), "MemberList: expected an array of objects"),
        (AfterCreateGroup, json!({ "MemberList": "[]" }), "MemberList: expected an array of objects"),
        (AfterCreateGroup, json!({ "MemberList": ["m"] }), "MemberList[0]: expected an object"),
        (AfterCreateGroup, list("MemberList"), "MemberList[1].Member_Account: expected a string"),
        (
            AfterCreateGroup,
            json!({ "MemberList": [{ "Member_Account": long }] }),
            "MemberList[0].Member_Account:",
        ),
        (AfterCreateGroup, json!({ "CallbackCommand": null }), "CallbackCommand: expected a string"),
        (AfterCreateGroup, json!({ "CallbackCommand": "x" }), "CallbackCommand: expected the same command"),
        (AfterNewMemberJoin, list("NewMemberList"), "NewMemberList[1].Member_Account: expected a string"),
        (AfterNewMemberJoin, json!({ "JoinType": 1 }), "JoinType: expected a string"),
        (AfterMemberExit, list("ExitMemberList"), "ExitMemberList[1].Member_Account: expected a string"),
        (AfterGroupInfoChanged, json!({ "FaceUrl": 1 }), "FaceUrl: expected a string"),
        (AfterChangeGroupOwner, json!({ "NewOwner_Account": 1 }), "NewOwner_Account: expected a string"),
        (AfterMemberFieldChanged, json!({}), "Member_Account: expected a string that is not empty"),
        (AfterMemberFieldChanged, json!({ "Member_Account": "a", "Role": 1 }), "Role: expected a string"),
        (AfterGroupDestroyed, json!({ "TopicId": 1 }), "TopicId: expected a string"),
        (AfterGroupDestroyed, json!({ "EventTime": -1 }), "EventTime: expected a whole number"),
        (AfterGroupDestroyed, json!({ "EventTime": 1.5 }), "EventTime: expected a whole number"),
        (AfterGroupDestroyed, json!({ "EventTime": "" }), "EventTime: expected a whole number"),
        (AfterGroupDestroyed, json!({ "EventTime": "+5" }), "EventTime: expected a whole number"),
        (AfterGroupDestroyed, json!({ "EventTime": [] }), "EventTime: expected a whole number"),
        (
            AfterGroupDestroyed,
            json!({ "EventTime": "99999999999999999999" }),
            "EventTime: expected a whole number",
        ),
        (
            AfterGroupDestroyed,
            json!({ "EventTime": NOW + 300_001 }),
            "EventTime: expected a time at most five",
        ),
    ] {
        let error = parse(command, fields.clone()).unwrap_err();
        assert!(error.starts_with(expected), "{fields}: {error}");
    }
}

#[test]
fn real_bodies_are_read() {
    for (command, body) in [
        (
            RosterCommand::AfterCreateGroup,
            r#"{"CallbackCommand":"Group.CallbackAfterCreateGroup","EventTime":1682914763569,"GroupId":"@TGS#2Z4CLQE5CM","InviteOption":"NeedPermission","MemberList":[{"Member_Account":"PLNJEE0k"}],"Name":"test8888","Operator_Account":"PLNJEE0k","Owner_Account":"PLNJEE0k","Type":"Public"}"#,
        ),
        (
            RosterCommand::AfterNewMemberJoin,
            r#"{"CallbackCommand":"Group.CallbackAfterNewMemberJoin","GroupId":"1001555","JoinType":"Invited","NewMemberList":[{"Member_Account":"hxtest-q118"}],"Operator_Account":"hxtest-q110","Type":"Public"}"#,
        ),
        (
            RosterCommand::AfterGroupInfoChanged,
            r#"{"CallbackCommand":"Group.CallbackAfterGroupInfoChanged","EventTime":1657389765743,"GroupId":"e6a954aa-2419-4743-b968-a971f8077bf1","Introduction":"test update group","Name":"test update","Operator_Account":"administrator","Type":"AVChatRoom"}"#,
        ),
        (
            RosterCommand::AfterChangeGroupOwner,
            r#"{"CallbackCommand":"Group.CallbackAfterChangeGroupOwner","GroupId":"@TGS#2TTV7VSII","Type":"Public","Operator_Account":"admin","OldOwner_Account":"user1","NewOwner_Account":"user2","EventTime":"1670574414123"}"#,
        ),
    ] {
        let event = Event::parse(command, body.as_bytes(), &origin()).unwrap().unwrap();
        assert!(!event.is_empty(), "{command:?}");
    }
}
