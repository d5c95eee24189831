//! Groups that were never announced.

use super::*;

#[tokio::test]
async fn groups_that_were_never_announced_are_brought_in_with_all_of_their_members() {
    let world = World::start().await;
    let full = Group {
        introduction: "what it is".to_owned(),
        face_url: "https://example.com/face".to_owned(),
        app_defined: [("level".to_owned(), "7".to_owned())].into(),
        ..group(&["owner", "b"])
    };
    world.group("full", full);
    world.change("full", |full| {
        let card = Member { role: "Admin".to_owned(), name_card: "card".to_owned(), join_time: 1 };
        full.members.insert("b".to_owned(), card);
    });
    world.group("empty", Group { group_type: "Work".to_owned(), ..Group::public("", ago(60), &[]) });
    world.group("room", Group { group_type: "AVChatRoom".to_owned(), ..group(&["viewer"]) });
    world.group("community", Group { group_type: "Community".to_owned(), ..group(&["c"]) });
    let outcome = world.call(json!({})).await;
    assert_eq!(outcome.drift(), json!({ "groups_added": 4, "members_added": 3 }));
    assert_eq!((outcome.report().groups_listed, outcome.report().groups_checked), (4, 4));
    assert!(outcome.report().finished && !outcome.report().dry_run);
    let ids: Vec<String> = expected(&world.chat).into_keys().collect();
    assert_eq!(world.shown(&ids).await, expected(&world.chat));

    let items = world.items().await;
    let item = |sk: &str| &items[&(format!("{SDK_APP_ID}#full"), sk.to_owned())];
    let full = item("GROUP");
    let create_time = world.chat.groups(|model| model.groups["full"].create_time);
    assert_eq!(full["event_time"], create_time * 1000);
    assert_eq!((&full["type"], &full["user_defined"]["level"]), (&json!("Public"), &json!("7")));
    // How it was created is not known.
    for unknown in ["operator_account", "initial_member_count", "received_at"] {
        assert!(full.get(unknown).is_none(), "{unknown}");
    }
    let said = full["changed_at"]["name"].as_u64().unwrap();
    assert!((now() - 8_000..now() - 5_000).contains(&said), "of the moment before the question less 5 s");
    assert_eq!(
        (&item("MEMBER#owner")["role"], &item("MEMBER#b")["role"]),
        (&json!("Member"), &json!("Admin"))
    );
    let joined = item("MEMBER#b")["event_time"].as_u64().unwrap();
    assert!((now() - 8_000..now() - 5_000).contains(&joined), "and not of JoinTime");

    let again = world.call(json!({ "members": "all" })).await;
    assert_eq!(again.drift(), json!({}));
    assert_eq!((again.report().groups_checked, again.lines.len()), (4, 1));
}

#[tokio::test]
async fn of_a_new_group_all_custom_fields_are_asked_for() {
    let world = World::start().await;
    world.group("known", group(&["a"]));
    world.announce("known").await;
    world.set("known", says("user_defined.level", "7", ago(1800) * 1000), &[]).await;
    world.change("known", |g| g.app_defined = [("level".to_owned(), "7".to_owned())].into());
    world.group("new", group(&["a"]));
    world.change("new", |g| g.app_defined = [("first of its name".to_owned(), "x".to_owned())].into());
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_added": 1, "members_added": 1 }));
    let items = world.items().await;
    let custom = &items[&(format!("{SDK_APP_ID}#new"), "GROUP".to_owned())]["user_defined"];
    assert_eq!(*custom, json!({ "first of its name": "x" }));
}

#[tokio::test]
async fn a_group_is_created_with_all_of_its_members_or_not_at_all() {
    let world = World::start().await;
    world.group("g", group(&["a", "b", "c"]));
    world.group("community", Group { group_type: "Community".to_owned(), ..group(&["a", "b", "c"]) });
    world.group("vanishes", group(&["a"]));
    for fault in
        [Fault::Empty, Fault::Code(10002), Fault::Code(10004), Fault::Code(10010), Fault::Code(10007)]
    {
        world.chat.script("get_group_member_info", Script::always(fault.clone()));
        let request = json!({});
        if fault == Fault::Code(10002) {
            tokio::time::timeout(Duration::from_secs(1), world.call(request)).await.unwrap_err();
            forget_the_lease(&world).await;
        } else {
            assert_eq!(world.call(request).await.drift(), json!({ "skipped": 3 }), "{fault:?}");
        }
        assert!(world.items().await.is_empty(), "{fault:?}");
    }
    world.chat.script("get_group_member_info", Script::default());
    world.chat.before_each(|command, model| {
        if command == "get_group_member_info" {
            model.groups.remove("vanishes");
        }
    });
    assert_eq!(
        world.call(json!({})).await.drift(),
        json!({ "groups_added": 2, "members_added": 6, "skipped": 1 })
    );
}

#[tokio::test]
async fn each_fifty_groups_take_one_question() {
    let world = World::start().await;
    for number in 0..200 {
        world.group(&format!("g{number:03}"), Group { group_type: "AVChatRoom".to_owned(), ..group(&[]) });
    }
    let reconcile = world.reconcile();
    let calls = async || {
        let before = [Command::GroupList, Command::GroupInfo].map(|command| reconcile.chat.calls(command));
        call(&reconcile, &json!({}), soon()).await.report();
        let after = [Command::GroupList, Command::GroupInfo].map(|command| reconcile.chat.calls(command));
        [after[0] - before[0], after[1] - before[1]]
    };
    assert_eq!(calls().await, [1, 4], "all are new");
    assert_eq!(calls().await, [1, 4], "none differs");
}
