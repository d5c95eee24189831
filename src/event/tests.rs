//! Bodies as they occur on the wire, and bodies that are really wrong.

use std::sync::LazyLock;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use super::*;
use crate::callback::{Query, Sender};
use crate::time::from_millis;

const NOW: u64 = 1_700_000_000_000;

static QUERY: LazyLock<Query<'static>> = LazyLock::new(|| Query::parse("ClientIP=203.0.113.7"));

fn origin() -> Origin<'static> {
    let callback =
        Callback { query: &QUERY, body: b"", received_at: from_millis(NOW), sender: Sender::Genuine };
    Origin::new(&callback, &Application { sdk_app_id: 1_400_000_001, keep_client_ip: true })
}

/// A body of this command, with these fields.
fn body(command: RosterCommand, fields: Value) -> Value {
    let mut body = json!({ "CallbackCommand": command.name(), "GroupId": "g", "EventTime": 5 });
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn parse(command: RosterCommand, fields: Value) -> Result<Option<Event>, String> {
    Event::parse(command, body(command, fields).to_string().as_bytes(), &origin())
        .map_err(|error| error.to_string())
}

fn event(command: RosterCommand, fields: Value) -> Event {
    parse(command, fields).unwrap().unwrap()
}

fn values(facts: &Facts) -> Vec<(&str, Option<&str>)> {
    facts.values.iter().map(|(name, fact)| (name.as_ref(), fact.value.as_deref())).collect()
}

fn at(millis: u64) -> EventTime {
    EventTime::from_millis(millis)
}

#[test]
fn a_creation_says_life_fields_owner_and_members() {
    let event = event(
        RosterCommand::AfterCreateGroup,
        json!({
            "Type": "Public", "Name": "n", "Owner_Account": "own", "Operator_Account": "op",
            "MemberList": [{ "Member_Account": "b", "Level": 3 }, { "Member_Account": "a" }, { "Member_Account": "b", "": 1 }],
            "UserDefinedDataList": [{ "Key": "k", "Value": "v", "x": 1 }, { "Key": "", "Value": "e" }],
            "InviteOption": "FreeAccess",
        }),
    );
    assert_eq!((event.group.event_time(), event.group.ended_at()), (Some(at(5)), None));
    assert_eq!(
        values(&event.group),
        [
            ("name", Some("n")),
            ("owner_account", Some("own")),
            ("type", Some("Public")),
            ("user_defined.\"\"", Some("e")),
            ("user_defined.k", Some("v")),
        ]
    );
    let details = event.group.details.unwrap();
    assert_eq!(event.group.began.unwrap().by.as_deref(), Some("op"));
    assert_eq!(details["initial_member_count"], number(2));
    assert_eq!(details["client_ip"], text("203.0.113.7"));
    assert_eq!(details["received_at"], number(NOW));
    assert_eq!(details["extra"].as_m().unwrap()["InviteOption"], text("FreeAccess"));
    assert!(!details.contains_key("opt_platform"), "what was not sent is absent");
    let accounts: Vec<&String> = event.members.keys().collect();
    assert_eq!(accounts, ["a", "b"]);
    let b = &event.members["b"];
    let began = b.began.as_ref().unwrap();
    assert_eq!((began.value.as_deref(), began.by.as_deref()), (Some("Created"), Some("op")));
    assert_eq!((b.event_time(), values(b)), (Some(at(5)), vec![("role", Some("Member"))]));
    let extra = b.details.as_ref().unwrap()["extra"].as_m().unwrap();
    assert_eq!((extra["Level"].as_n().unwrap().as_str(), extra["\"\""].as_n().unwrap().as_str()), ("3", "1"));
}

#[test]
fn a_group_can_have_no_owner_and_no_members() {
    for owner in [json!(null), json!(""), json!("@TLS#NOT_FOUND")] {
        for list in [json!(null), json!([]), json!({}), json!([{ "Member_Account": "@TLS#NOT_FOUND" }])] {
            let event =
                event(RosterCommand::AfterCreateGroup, json!({ "Owner_Account": owner, "MemberList": list }));
            assert!(event.group.values.is_empty() && event.members.is_empty());
            assert_eq!(event.group.details.unwrap()["initial_member_count"], number(0));
        }
    }
    assert!(event(RosterCommand::AfterCreateGroup, json!({})).members.is_empty());
}

#[test]
fn event_time_is_a_number_or_a_string_of_one_and_replaced_if_absent() {
    let time = |value: Value, origin: &Origin<'_>| {
        let body = body(RosterCommand::AfterGroupDestroyed, json!({ "EventTime": value })).to_string();
        Event::parse(RosterCommand::AfterGroupDestroyed, body.as_bytes(), origin)
            .unwrap()
            .unwrap()
            .group
            .ended_at()
    };
    assert_eq!(time(json!(1_682_914_763_569_u64), &origin()), Some(at(1_682_914_763_569)));
    assert_eq!(time(json!("1670574414123"), &origin()), Some(at(1_670_574_414_123)));
    assert_eq!(time(json!(1.5e12), &origin()), Some(at(1_500_000_000_000)));
    assert_eq!(time(json!("1.716E11"), &origin()), Some(at(171_600_000_000)));
    for absent in [json!(null), json!(0), json!("0"), json!(0.0)] {
        assert_eq!(time(absent, &origin()), Some(at(NOW)));
    }
    let sent = Origin { request_time: Some(from_millis(7000)), ..origin() };
    assert_eq!(time(json!(null), &sent), Some(at(7000)));
    // Where no Sign is asked for, RequestTime may be anything.
    let ahead = Origin { request_time: Some(from_millis(NOW + 300_001)), ..origin() };
    assert_eq!(time(json!(null), &ahead), Some(at(NOW)));
    assert_eq!(time(json!(NOW + 300_000), &origin()), Some(at(NOW + 300_000)));
}

#[test]
fn joins_and_exits_say_who_is_there_and_who_is_not() {
    let joined = event(
        RosterCommand::AfterNewMemberJoin,
        json!({ "JoinType": "Invited", "NewMemberList": [{ "Member_Account": "a" }, { "Member_Account": "a", "x": 1 }] }),
    );
    let a = &joined.members["a"];
    assert!(joined.group.is_empty() && joined.members.len() == 1);
    assert_eq!(
        (a.event_time(), a.ended_at(), values(a)),
        (Some(at(5)), None, vec![("role", Some("Member"))])
    );
    assert_eq!(a.began.as_ref().unwrap().value.as_deref(), Some("Invited"));
    let left = event(
        RosterCommand::AfterMemberExit,
        json!({ "ExitType": "Kicked", "ExitMemberList": [{ "Member_Account": "a" }, { "Member_Account": "b" }] }),
    );
    assert_eq!(*left.members["b"], Facts::departed(at(5), Some("Kicked".to_owned())));
    assert_eq!(left.members.len(), 2);
}

#[test]
fn a_destroyed_group_is_gone_whatever_list_it_carries() {
    let event = event(
        RosterCommand::AfterGroupDestroyed,
        json!({ "Owner_Account": "o", "Name": "n", "MemberList": [{ "Member_Account": "a" }, 7] }),
    );
    assert_eq!(event.group, Facts::destroyed(at(5)));
    assert!(event.members.is_empty());
}

#[test]
fn a_change_says_only_what_was_sent_and_empty_is_a_value() {
    let fields = json!({
        "Type": "Public", "Name": "", "Introduction": null, "FaceUrl": "f", "Operator_Account": "op",
        "UserDefinedDataList": [{ "Key": "k", "Value": "" }],
    });
    let event = event(RosterCommand::AfterGroupInfoChanged, fields);
    assert_eq!(
        values(&event.group),
        [("face_url", Some("f")), ("name", Some("")), ("user_defined.k", Some(""))]
    );
    assert_eq!((event.group.event_time(), event.group.details), (None, None));
}

#[test]
fn a_new_owner_stands_in_the_group_and_both_are_ordinary_members() {
    let changed = event(
        RosterCommand::AfterChangeGroupOwner,
        json!({ "OldOwner_Account": "a", "NewOwner_Account": "b" }),
    );
    assert_eq!(values(&changed.group), [("owner_account", Some("b"))]);
    for account in ["a", "b"] {
        assert_eq!(values(&changed.members[account]), [("role", Some("Member"))]);
    }
    let first = event(
        RosterCommand::AfterChangeGroupOwner,
        json!({ "OldOwner_Account": "", "NewOwner_Account": "b" }),
    );
    assert_eq!(first.members.len(), 1);
    let nobody = event(
        RosterCommand::AfterChangeGroupOwner,
        json!({ "OldOwner_Account": "a", "NewOwner_Account": "@TLS#NOT_FOUND" }),
    );
    assert_eq!(values(&nobody.group), [("owner_account", None)]);
    assert!(nobody.members.keys().eq(["a"]));
    let live = json!({ "Type": "avchatroom", "OldOwner_Account": "a", "NewOwner_Account": "b" });
    let live = event(RosterCommand::AfterChangeGroupOwner, live);
    assert!(!live.group.is_empty() && live.members.is_empty());
}

#[test]
fn a_role_or_a_name_card_is_of_one_account() {
    for account in ["Modified_Account", "Member_Account"] {
        let fields = json!({ account: "a", "Role": "Admin", "NameCard": "" });
        let event = event(RosterCommand::AfterMemberFieldChanged, fields);
        assert_eq!(values(&event.members["a"]), [("name_card", Some("")), ("role", Some("Admin"))]);
        assert_eq!(event.members["a"].event_time(), None);
    }
    let owner =
        event(RosterCommand::AfterMemberFieldChanged, json!({ "Member_Account": "a", "Role": "Owner" }));
    assert_eq!(values(&owner.members["a"]), [("role", Some("Member"))]);
}

#[test]
fn what_speaks_of_a_topic_or_of_an_av_chat_rooms_members_is_not_kept() {
    for command in RosterCommand::ALL {
        assert_eq!(parse(command, json!({ "TopicId": "t", "MemberList": 7 })), Ok(None), "{command:?}");
        assert_ne!(parse(command, json!({ "TopicId": "", "Member_Account": "a" })), Ok(None), "{command:?}");
        let is_of_members = matches!(
            command,
            RosterCommand::AfterNewMemberJoin
                | RosterCommand::AfterMemberExit
                | RosterCommand::AfterMemberFieldChanged
        );
        for live in ["AVChatRoom", "AVCHATROOM", "AvChatroom"] {
            let live = parse(command, json!({ "Type": live, "Member_Account": "a" })).unwrap();
            assert_eq!(live.is_none(), is_of_members, "{command:?}");
        }
    }
    let live = json!({ "Type": "avChatRoom", "MemberList": [{ "Member_Account": "a" }] });
    let live = event(RosterCommand::AfterCreateGroup, live);
    assert!(live.members.is_empty());
    assert_eq!(live.group.value(fact::TYPE), Some("avChatRoom"));
    assert_eq!(live.group.details.unwrap()["initial_member_count"], number(0));
}

#[test]
fn the_placeholder_is_never_a_member_and_still_says_things() {
    let nobody = json!([{ "Member_Account": "@TLS#NOT_FOUND", "x": 1 }, { "Member_Account": "a" }]);
    for (command, list) in [
        (RosterCommand::AfterCreateGroup, "MemberList"),
        (RosterCommand::AfterNewMemberJoin, "NewMemberList"),
        (RosterCommand::AfterMemberExit, "ExitMemberList"),
    ] {
        let event = event(command, json!({ list: nobody, "Operator_Account": "@TLS#NOT_FOUND" }));
        assert!(event.members.keys().eq(["a"]));
        let fact = event.members["a"].ended.clone().or(event.members["a"].began.clone());
        assert_eq!(fact.unwrap().by.as_deref(), Some("@TLS#NOT_FOUND"));
    }
    let fields = json!({ "Member_Account": "@TLS#NOT_FOUND", "Role": "Admin" });
    assert!(event(RosterCommand::AfterMemberFieldChanged, fields).is_empty());
}

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
