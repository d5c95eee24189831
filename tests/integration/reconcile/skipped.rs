//! Groups that can't be compared: each is named, too many fail the pass, and none stops the others.

use super::*;

fn many(world: &World, count: usize) {
    for number in 0..count {
        world.group(&format!("g{number:03}"), group(&["a"]));
    }
}

#[tokio::test]
async fn a_pass_that_skipped_too_many_groups_fails_and_names_each() {
    let world = World::start().await;
    many(&world, 60);
    // No list of members is answered, by a code that nobody knows.
    world.chat.script("get_group_member_info", Script::always(Fault::Code(80001)));
    let outcome = world.call(json!({})).await;
    assert!(
        matches!(outcome.error(), ReconcileError::TooManySkipped { skipped: 60, groups: 60 }),
        "{outcome:?}"
    );
    let named = outcome.lines.iter().filter(|line| line["outcome"] == "skipped");
    assert!(named.clone().all(|line| line["error"].as_str().unwrap().contains("80001")));
    assert_eq!(named.count(), 60);
    let line = outcome.lines.last().unwrap();
    assert_eq!(
        (&line["outcome"], &line["skipped"], &line["finished"]),
        (&json!("failed"), &json!(60), &json!(false))
    );
    // The next call begins again.
    world.chat.script("get_group_member_info", Script::default());
    assert_eq!(world.call(json!({})).await.report().groups_added, 60);
}

#[tokio::test]
async fn twenty_groups_and_a_tenth_of_many_may_be_skipped() {
    let world = World::start().await;
    many(&world, 210);
    let refuse = |world: &World, count: usize| {
        let errors = (0..count).map(|number| (format!("g{number:03}"), 10015));
        world.chat.groups(|model| model.errors = errors.collect());
    };
    refuse(&world, 21);
    assert_eq!(world.call(json!({})).await.report().skipped, 21);
    assert_eq!(world.chat.calls("get_group_info"), 5, "none of them is asked about again");
    refuse(&world, 22);
    let outcome = world.call(json!({})).await;
    assert!(matches!(outcome.error(), ReconcileError::TooManySkipped { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_group_at_which_a_second_call_runs_out_of_time_is_skipped() {
    let world = World::start().await;
    many(&world, 3);
    // It is the largest one: the others are compared before it.
    world.group("large", group(&["a", "b"]));
    let script = Script { first: vec![Fault::None; 3].into(), then: Fault::Hang };
    world.chat.script("get_group_member_info", script);
    let first = world.call_for(json!({}), Duration::from_millis(1_500)).await;
    assert_eq!(first.drift(), json!({ "groups_added": 3, "members_added": 3 }));
    assert!(!first.report().finished);
    let second = world.call_for(json!({}), Duration::from_millis(1_000)).await;
    assert_eq!(second.drift(), json!({ "skipped": 1 }));
    assert_eq!(second.lines[0]["group_id"], "large");
    let third = world.call_for(json!({}), Duration::from_secs(20)).await;
    assert_eq!(
        (third.drift(), third.report().finished),
        (json!({}), true),
        "the pass has gone on without it"
    );
    world.chat.script("get_group_member_info", Script::default());
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_added": 1, "members_added": 2 }));
}

#[tokio::test]
async fn a_large_group_at_which_two_calls_were_killed_is_skipped() {
    let world = World::start().await;
    for id in ["large", "small"] {
        world.group(id, group(&["a"]));
    }
    let info = |id: &str, members: u64| {
        let create_time = ago(3600);
        json!({ "GroupId": id, "Type": "Public", "CreateTime": create_time, "MemberNum": members })
    };
    let infos = json!({ "ErrorCode": 0, "GroupInfo": [info("large", 30_000), info("small", 1)] });
    world.chat.script("get_group_info", Script::always(Fault::Answer(200, infos.to_string())));
    world.chat.script("get_group_member_info", Script { first: [Fault::None].into(), then: Fault::Hang });
    for _ in 0..2 {
        let killed = tokio::time::timeout(Duration::from_millis(1_500), world.call(json!({}))).await;
        assert!(killed.is_err(), "{killed:?}");
        forget_the_lease(&world).await;
        world.shows(&["small"]).await;
    }
    let third = world.call(json!({})).await;
    assert_eq!((third.drift(), third.report().finished), (json!({ "skipped": 1 }), true));
    let line = &third.lines[0];
    assert_eq!(line["group_id"], "large");
    assert!(line["error"].as_str().unwrap().contains("killed"), "{line}");
    for command in ["get_group_info", "get_group_member_info"] {
        world.chat.script(command, Script::default());
    }
    assert_eq!(world.call(json!({})).await.report().groups_added, 1, "the next pass tries it again");
}

#[tokio::test]
async fn a_list_that_names_fewer_groups_than_chat_counts_is_read_again() {
    let world = World::start().await;
    many(&world, 60);
    let short = |count: usize| {
        let list: Vec<_> = (0..count).map(|number| json!({ "GroupId": format!("g{number:03}") })).collect();
        let answer = json!({ "ErrorCode": 0, "GroupIdList": list, "TotalCount": 60, "Next": 0 });
        Fault::Answer(200, answer.to_string())
    };
    world.chat.script("get_appid_group_list", Script::first([short(30)]));
    assert_eq!(world.call(json!({})).await.report().groups_added, 60);
    world.chat.script("get_appid_group_list", Script::always(short(30)));
    let outcome = world.call(json!({})).await;
    assert!(matches!(outcome.error(), ReconcileError::ShortList { listed: 30, total: 60 }), "{outcome:?}");
    // Some may be created while the list is read.
    world.chat.script("get_appid_group_list", Script::always(short(58)));
    assert!(world.call(json!({})).await.report().finished);
}
