//! Differences that are found and corrected.

use super::*;

#[tokio::test]
async fn what_was_lost_is_corrected_and_told_in_one_line_for_each_group() {
    let world = World::start().await;
    world.group("g", group(&["owner", "stays", "left", "raised", "card"]));
    world.announce("g").await;
    world.group("same", group(&["owner"]));
    world.announce("same").await;
    world.change("g", |g| {
        g.name = "another".to_owned();
        g.owner = Some("stays".to_owned());
        g.members.remove("left");
        g.members.insert("joined".to_owned(), Member::joined(ago(1800)));
        g.members.get_mut("raised").unwrap().role = "Admin".to_owned();
        g.members.get_mut("card").unwrap().name_card = "a card".to_owned();
    });
    let outcome = world.call(json!({})).await;
    let drift =
        json!({ "groups_changed": 1, "members_added": 1, "members_removed": 1, "members_changed": 2 });
    assert_eq!(outcome.drift(), drift);
    assert_eq!(world.shown(&["g".into(), "same".into()]).await, expected(&world.chat));
    assert_eq!(outcome.lines.len(), 2);
    let line = &outcome.lines[0];
    assert_eq!(
        (&line["outcome"], &line["group_id"], &line["change"]),
        (&json!("corrected"), &json!("g"), &json!("changed"))
    );
    assert_eq!(line["fields"], json!(["name", "owner_account"]));
    assert_eq!((&line["members_added"], &line["members_removed"]), (&json!(1), &json!(1)));
    let line = &outcome.lines[1];
    assert_eq!(
        (&line["outcome"], &line["level"], &line["members_changed"]),
        (&json!("reconciled"), &json!("INFO"), &json!(2))
    );
    assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
}

#[tokio::test]
async fn a_left_member_comes_back_and_a_name_card_is_taken_away() {
    let world = World::start().await;
    world.group("g", group(&["a", "b"]));
    world.announce("g").await;
    world.set("g", Facts::default(), &[("a", Facts::departed(at(ago(1800) * 1000), None))]).await;
    world.set("g", Facts::default(), &[("b", says(fact::NAME_CARD, "old", ago(1700) * 1000))]).await;
    let outcome = world.call(json!({ "members": "all" })).await;
    assert_eq!(outcome.drift(), json!({ "members_added": 1, "members_changed": 1 }));
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
}

#[tokio::test]
async fn custom_fields_are_asked_for_by_the_names_that_the_table_knows() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.change("g", |g| {
        g.app_defined = [("level".to_owned(), "8".to_owned()), ("other".to_owned(), "x".to_owned())].into();
    });
    world.announce("g").await;
    let mut facts = Facts::default();
    for (key, value) in [("level", "7"), ("unknown to chat", "stays")] {
        facts.set(fact::user_defined(key), Some(value.to_owned()), at(ago(1800) * 1000));
    }
    world.set("g", facts, &[]).await;
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_changed": 1 }));
    let items = world.items().await;
    let custom = &items[&(format!("{SDK_APP_ID}#g"), "GROUP".to_owned())]["user_defined"];
    assert_eq!(*custom, json!({ "level": "8", "unknown to chat": "stays" }));
}

#[tokio::test]
async fn a_field_that_chat_leaves_out_is_empty_but_an_entry_without_a_type_is_no_answer() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.announce("g").await;
    let before = world.items().await;
    let answer = |entry: Value| {
        let body = json!({ "ActionStatus": "OK", "ErrorCode": 0, "GroupInfo": [entry] });
        Script::always(Fault::Answer(200, body.to_string()))
    };
    let partial = json!({ "GroupId": "g", "ErrorCode": 0, "CreateTime": ago(3600), "MemberNum": 1 });
    world.chat.script("get_group_info", answer(partial.clone()));
    assert_eq!(world.call(json!({})).await.drift(), json!({ "skipped": 1 }));
    assert_eq!(world.items().await, before);
    let mut whole = partial;
    whole["Type"] = json!("Public");
    world.chat.script("get_group_info", answer(whole));
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_changed": 1 }));
    let group = world.table.group("g").await.unwrap().group;
    assert_eq!((text_of(&group, "name"), text_of(&group, "owner_account")), (Some(""), None));
}

#[tokio::test]
async fn members_are_listed_for_new_and_differing_groups_and_for_every_24th_other() {
    let world = World::start().await;
    for number in 0..48 {
        world.group(&format!("g{number}"), group(&["a"]));
    }
    let listings = |world: &World| world.chat.calls("get_group_member_info");
    world.call(json!({})).await;
    assert_eq!(listings(&world), 48, "new");
    for number in 0..48 {
        let join = Member::joined(ago(10));
        world.change(&format!("g{number}"), |g| drop(g.members.insert("b".to_owned(), join)));
    }
    world.change("g7", |g| g.introduction = "new".to_owned());
    let outcome = world.call(json!({})).await;
    let listed = listings(&world) - 48;
    assert!((1..9).contains(&listed), "{listed}");
    assert_eq!(outcome.report().members_added as usize, listed);
    let mut found = outcome.report().members_added;
    for _ in 0..23 {
        found += world.call(json!({})).await.report().members_added;
    }
    assert_eq!(found, 48);
    world.call(json!({ "members": "all" })).await;
    world.group("room", Group { group_type: "AVChatRoom".to_owned(), ..group(&["viewer"]) });
    let before = listings(&world);
    world.call(json!({ "members": "all" })).await;
    assert_eq!(listings(&world) - before, 48, "but not of rooms");
}

#[tokio::test]
async fn named_groups_alone_are_compared_with_their_members() {
    let world = World::start().await;
    for id in ["a", "b", "c", "d"] {
        world.group(id, group(&["x"]));
    }
    for id in ["a", "b"] {
        world.announce(id).await;
        world.change(id, |g| drop(g.members.insert("y".to_owned(), Member::joined(ago(10)))));
    }
    world.group("gone", group(&["x"]));
    world.announce("gone").await;
    world.chat.groups(|model| model.groups.remove("gone"));
    let outcome = world.call(json!({ "group_ids": ["a", "c", "gone", "nowhere"] })).await;
    let drift = json!({ "members_added": 2, "groups_added": 1, "groups_destroyed": 1 });
    assert_eq!(outcome.drift(), drift);
    assert!(outcome.report().finished);
    assert_eq!(outcome.lines.last().unwrap()["named"], true);
    assert_eq!(world.call(json!({ "dry_run": true })).await.lines.last().unwrap()["named"], false);
    assert_eq!((outcome.report().groups_listed, outcome.report().groups_checked), (0, 4));
    assert_eq!(world.chat.calls("get_appid_group_list"), 1);
    assert_eq!(world.members("b").await, ["x"]);
    assert!(world.table.group("d").await.is_none());
    let items = world.table.items().await;
    assert!(!items.contains_key(&(format!("{SDK_APP_ID}!reconcile"), "PLACE".to_owned())), "it has no place");
}

#[tokio::test]
async fn another_applications_groups_are_left_alone() {
    let world = World::start().await;
    let other = Event {
        key: chat_groups::event::GroupKey { sdk_app_id: SDK_APP_ID + 1, group_id: "theirs".to_owned() },
        group: there(ago(3600) * 1000),
        members: BTreeMap::new(),
    };
    world.table.store().apply(&other, Instant::now() + Duration::from_secs(10)).await.unwrap();
    let before = world.items().await;
    let outcome = world.call(json!({ "members": "all" })).await;
    assert_eq!((outcome.drift(), outcome.report().groups_checked), (json!({}), 0));
    assert_eq!(world.items().await, before);
}
