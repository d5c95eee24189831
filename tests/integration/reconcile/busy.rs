//! Chat asks for patience: the same question is asked again, and no group is skipped for that.

use super::*;

/// Too frequent, or again.
const CODES: [u32; 12] = [10002, 10006, 60007, 60008, 60011, 60013, 60014, 60018, 60019, 70169, 70202, 70500];

/// Lets Chat say of a group that it is busy, in so many answers of a command from now on.
fn busy(world: &World, id: &'static str, code: u32, command: &'static str, answers: usize) {
    world.chat.groups(|model| model.errors.insert(id.to_owned(), code));
    let mut asked = 0;
    world.chat.before_each(move |asked_for, model| {
        asked += usize::from(asked_for == command);
        if asked > answers {
            model.errors.clear();
        }
    });
}

#[tokio::test]
async fn a_group_that_is_busy_is_asked_about_again_with_every_such_code() {
    let worlds = CODES.map(async |code| {
        let world = World::start().await;
        for id in ["busy", "idle"] {
            world.group(id, group(&["a"]));
        }
        busy(&world, "busy", code, "get_group_info", 3);
        let outcome = world.call(json!({})).await;
        assert_eq!(outcome.drift(), json!({ "groups_added": 2, "members_added": 2 }), "{code}");
        assert!(outcome.report().finished);
        assert_eq!(world.chat.calls("get_group_info"), 4, "{code}");
    });
    futures_util::future::join_all(worlds).await;
}

#[tokio::test]
async fn a_busy_group_holds_up_no_other_one_and_the_next_call_goes_on_with_it() {
    let world = World::start().await;
    for number in 0..20 {
        world.group(&format!("g{number:02}"), group(&["a"]));
    }
    world.chat.groups(|model| model.errors.insert("g07".to_owned(), 60013));
    let first = world.call_for(json!({}), Duration::from_millis(1_500)).await;
    assert_eq!(first.drift(), json!({ "groups_added": 19, "members_added": 19 }));
    assert!(!first.report().finished);
    world.chat.groups(|model| model.errors.clear());
    let second = world.call(json!({})).await;
    assert_eq!(second.drift(), json!({ "groups_added": 1, "members_added": 1 }));
    assert!(second.report().finished);
}

#[tokio::test]
async fn a_group_that_is_busy_for_two_calls_long_does_not_stop_the_pass() {
    let world = World::start().await;
    for id in ["a", "b"] {
        world.group(id, group(&["x"]));
    }
    world.chat.groups(|model| model.errors.insert("a".to_owned(), 10002));
    let first = world.call_for(json!({}), Duration::from_millis(1_000)).await;
    assert_eq!((first.report().groups_added, first.report().skipped), (1, 0));
    let second = world.call_for(json!({}), Duration::from_millis(1_000)).await;
    assert_eq!((second.drift(), &second.lines[0]["group_id"]), (json!({ "skipped": 1 }), &json!("a")));
    assert!(second.lines[0]["error"].as_str().unwrap().contains("10002"));
    assert!(world.call(json!({})).await.report().finished, "the pass has gone on without it");
    world.chat.groups(|model| model.errors.clear());
    assert_eq!(world.call(json!({})).await.report().groups_added, 1, "the next one brings it in");
}

#[tokio::test]
async fn a_list_of_members_that_chat_is_too_busy_for_is_asked_for_again() {
    for (command, code) in [
        ("get_group_member_info", 70500),
        ("get_group_member_info", 10006),
        ("get_role_in_group", 60014),
        ("get_role_in_group", 60007),
    ] {
        let world = World::start().await;
        world.group("g", group(&["a", "b"]));
        world.announce("g").await;
        world.change("g", |g| drop(g.members.remove("b")));
        // Longer than one question is repeated.
        world.chat.script(command, Script::first(vec![Fault::Code(code); 4]));
        let reconcile = world.reconcile_within(Limits {
            list_interval: Duration::ZERO,
            call_interval: Duration::ZERO,
            attempt_timeout: Duration::from_millis(200),
            request_budget: Duration::from_millis(200),
        });
        let outcome = call(&reconcile, &json!({ "members": "all" }), soon()).await;
        assert_eq!(outcome.drift(), json!({ "members_removed": 1 }), "{command} {code}");
    }
}

#[tokio::test]
async fn a_busy_answer_to_the_second_question_does_not_save_a_group_that_is_gone() {
    let world = World::start().await;
    for id in ["gone", "also gone"] {
        world.group(id, group(&["a"]));
        world.announce(id).await;
    }
    world.chat.groups(|model| model.groups.clear());
    let mut asked = 0;
    world.chat.before_each(move |command, model| {
        asked += usize::from(command == "get_group_info");
        match asked {
            2 => drop(model.errors.insert("gone".to_owned(), 70202)),
            _ => model.errors.clear(),
        }
    });
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_destroyed": 2 }));
    assert_eq!(world.chat.calls("get_group_info"), 3);
}

#[tokio::test]
async fn a_group_that_is_busy_at_the_second_question_for_two_calls_long_is_skipped() {
    let world = World::start().await;
    world.group("gone", group(&["a"]));
    world.announce("gone").await;
    world.chat.groups(|model| model.groups.clear());
    world.chat.before_each(|command, model| {
        if command == "get_appid_group_list" {
            model.errors.insert("gone".to_owned(), 10002);
        }
    });
    for skipped in [0, 1] {
        let outcome = world.call_for(json!({}), Duration::from_millis(700)).await;
        assert_eq!((outcome.report().skipped, outcome.report().finished), (skipped, skipped == 1));
    }
    world.shows(&["gone"]).await;
}
