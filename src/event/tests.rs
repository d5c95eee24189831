//! Bodies as they occur on the wire, and bodies that are really wrong.

mod bodies;

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
