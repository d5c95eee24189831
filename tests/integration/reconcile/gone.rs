//! Groups that Chat calls gone: twice, and not too many of them.

use super::*;

fn rooms(world: &World, ids: impl Iterator<Item = String>) {
    for id in ids {
        world.group(&id, Group { group_type: "AVChatRoom".to_owned(), ..group(&[]) });
    }
}

fn forget(world: &World, is_gone: impl Fn(&str) -> bool) {
    world.chat.groups(|model| model.groups.retain(|id, _| !is_gone(id)));
}

fn slow_to_confirm(world: &World, wait: Duration) -> Reconcile {
    let mut reconcile = world.reconcile();
    reconcile.confirm_after = wait;
    reconcile
}

#[tokio::test]
async fn the_second_question_may_be_asked_by_the_next_call() {
    let world = World::start().await;
    world.group("gone", group(&["a"]));
    world.announce("gone").await;
    forget(&world, |_| true);
    let reconcile = slow_to_confirm(&world, Duration::from_millis(2_500));
    let (before, start) = (now(), Instant::now());
    let first = call(&reconcile, &json!({}), Instant::now() + Duration::from_secs(2)).await;
    // It does not sleep for what it has no time for.
    assert!(!first.report().finished && start.elapsed() < Duration::from_millis(1_500), "{first:?}");
    world.shows(&["gone"]).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let second = call(&reconcile, &json!({}), Instant::now() + Duration::from_secs(20)).await;
    assert_eq!((second.drift(), second.report().groups_checked), (json!({ "groups_destroyed": 1 }), 0));
    assert!(start.elapsed() >= Duration::from_millis(2_400), "{:?}", start.elapsed());
    let items = world.items().await;
    let destroyed_at =
        items[&(format!("{SDK_APP_ID}#gone"), "GROUP".to_owned())]["destroyed_at"].as_u64().unwrap();
    assert!((before - 7_000..before - 4_000).contains(&destroyed_at), "as of the first answer");
}

#[tokio::test]
async fn a_second_question_without_an_answer_destroys_nothing() {
    let answer = |body: &str| Fault::Answer(200, body.to_owned());
    for fault in [
        Fault::Empty,
        Fault::Truncate,
        Fault::Code(10004),
        Fault::Code(60011),
        Fault::Hang,
        Fault::Code(70001),
        answer(r#"{"ActionStatus":"OK","ErrorCode":0}"#),
        answer(r#"{"ActionStatus":"OK","ErrorCode":0,"GroupInfo":[{"GroupId":"gone"}]}"#),
        answer("{"),
    ] {
        let world = World::start().await;
        for id in ["gone", "stays"] {
            world.group(id, group(&["a"]));
            world.announce(id).await;
        }
        forget(&world, |id| id == "gone");
        let before = world.items().await;
        let script = Script { first: [Fault::None].into(), then: fault.clone() };
        world.chat.script("get_group_info", script);
        let pass = tokio::time::timeout(Duration::from_millis(700), world.call(json!({})));
        if let Ok(outcome) = pass.await {
            assert_eq!(outcome.last_line()["groups_destroyed"], 0, "{fault:?}");
        }
        assert!(world.chat.calls("get_group_info") >= 2, "{fault:?}");
        assert_eq!(world.items().await, before, "{fault:?}");
    }
}

#[tokio::test]
async fn a_group_that_has_an_error_of_its_own_the_second_time_is_skipped() {
    for code in [10015, 70001] {
        let world = World::start().await;
        world.group("gone", group(&["a"]));
        world.announce("gone").await;
        forget(&world, |_| true);
        world.chat.before_each(move |command, model| {
            if command == "get_appid_group_list" {
                model.errors.insert("gone".to_owned(), code);
            }
        });
        assert_eq!(world.call(json!({})).await.drift(), json!({ "skipped": 1 }), "{code}");
        world.shows(&["gone"]).await;
    }
}

#[tokio::test]
async fn groups_that_a_callback_has_destroyed_meanwhile_are_not_counted() {
    let world = World::start().await;
    let ids: Vec<String> = (0..30).map(|number| format!("g{number:02}")).collect();
    rooms(&world, ids.iter().cloned());
    world.call(json!({})).await;
    forget(&world, |id| id < "g25");
    let reconcile = slow_to_confirm(&world, Duration::from_millis(1_500));
    let first = call(&reconcile, &json!({}), Instant::now() + Duration::from_millis(1_000)).await;
    assert!(!first.report().finished);
    for id in &ids[..10] {
        world.set(id, Facts::destroyed(at(now())), &[]).await;
    }
    // And one was made again: that is newer than what Chat has said.
    world.set("g10", there(now()), &[]).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_destroyed": 14 }));
    world.shows(&["g10", "g25", "g29"]).await;
}

/// More groups are gone than a place holds, and so many others stay.
async fn many_are_gone(stay: usize) -> World {
    let world = World::start().await;
    let long = |number: usize| format!("gone {number:03} {}", "x".repeat(900));
    rooms(&world, (0..stay).map(|number| format!("stays {number}")).chain((0..170).map(long)));
    world.call(json!({})).await;
    forget(&world, |id| id.starts_with("gone"));
    world
}

#[tokio::test]
async fn of_more_groups_than_a_place_holds_the_next_pass_destroys_the_rest() {
    let world = many_are_gone(1_700).await;
    let first = world.call(json!({})).await;
    let destroyed = first.report().groups_destroyed;
    assert!(first.report().finished && (150..170).contains(&destroyed), "{destroyed}");
    let rest = 170 - destroyed;
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_destroyed": rest }));
    assert_eq!(world.call(json!({})).await.drift(), json!({}));
}

#[tokio::test]
async fn more_groups_than_a_place_holds_are_all_counted_and_with_the_flag_all_destroyed() {
    let world = many_are_gone(500).await;
    let outcome = world.call(json!({})).await;
    assert!(
        matches!(*outcome.error(), ReconcileError::TooManyGone { gone: 170, groups: 670 }),
        "{outcome:?}"
    );
    assert_eq!(outcome.last_line()["groups_destroyed"], 0);
    world.call(json!({ "allow_destroy": true })).await;
    let outcome = world.call(json!({ "allow_destroy": true })).await;
    assert!(outcome.report().finished);
    let left = world.table.items().await.into_values().filter(|item| item.get("destroyed_at").is_none());
    assert_eq!(left.filter(|item| item["sk"] == "GROUP").count(), 500);
    assert_eq!(world.call(json!({})).await.drift(), json!({}));
}

#[tokio::test]
async fn a_group_is_destroyed_once_it_is_called_gone_twice() {
    let world = World::start().await;
    for id in ["gone", "back", "stays"] {
        world.group(id, group(&["a", "b"]));
        world.announce(id).await;
    }
    let mut calls = 0;
    let lost = world.chat.groups(|model| {
        model.groups.remove("gone");
        model.groups.remove("back").unwrap()
    });
    let mut lost = Some(lost);
    world.chat.before_each(move |command, model| {
        calls += usize::from(command == "get_group_info");
        if calls == 2
            && let Some(group) = lost.take()
        {
            model.groups.insert("back".to_owned(), group);
        }
    });
    let before = now();
    let outcome = world.call(json!({})).await;
    assert_eq!(outcome.drift(), json!({ "groups_destroyed": 1 }));
    world.shows(&["back", "stays"]).await;
    assert!(world.table.group("gone").await.is_none());
    let items = world.items().await;
    let of_gone: Vec<_> = items.iter().filter(|((pk, _), _)| pk.ends_with("#gone")).collect();
    assert_eq!(of_gone.len(), 1, "its members are swept");
    // As of the first answer.
    let destroyed_at = of_gone[0].1["destroyed_at"].as_u64().unwrap();
    assert!((before - 7_000..before - 4_000).contains(&destroyed_at), "{destroyed_at} {before}");
    assert_eq!(outcome.lines[0]["change"], "destroyed");
}

#[tokio::test]
async fn between_the_two_answers_there_is_the_time_that_is_set() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.announce("g").await;
    world.chat.groups(|model| model.groups.remove("g"));
    let mut reconcile = world.reconcile();
    reconcile.confirm_after = Duration::from_millis(700);
    let start = Instant::now();
    let outcome = call(&reconcile, &json!({}), soon()).await;
    assert_eq!(outcome.drift(), json!({ "groups_destroyed": 1 }));
    assert!(start.elapsed() >= Duration::from_millis(690), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_group_made_again_between_the_two_answers_wins() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.announce("g").await;
    world.chat.groups(|model| model.groups.remove("g"));
    // Its callback comes before the second answer, which comes from a server that is downstream.
    world.set("g", there(now()), &[("new", member_since(now()))]).await;
    let outcome = world.call(json!({})).await;
    assert_eq!(outcome.drift(), json!({}));
    assert_eq!(world.members("g").await, ["new"]);
}

#[tokio::test]
async fn too_many_groups_that_are_gone_are_not_believed() {
    let world = World::start().await;
    for number in 0..100 {
        world.group(&format!("g{number:03}"), group(&["a"]));
    }
    world.call(json!({})).await;
    world.group("added", group(&["a"]));
    world.chat.groups(|model| {
        let ids: Vec<String> = model.groups.keys().filter(|id| *id < &"g021".to_owned()).cloned().collect();
        ids.iter().filter(|id| id.starts_with('g')).for_each(|id| drop(model.groups.remove(id)));
    });
    let before = world.items().await.len();
    let dry = world.call(json!({ "dry_run": true })).await;
    assert!(matches!(dry.error(), ReconcileError::TooManyGone { gone: 21, groups: 100 }));
    let outcome = world.call(json!({})).await;
    assert!(matches!(outcome.error(), ReconcileError::TooManyGone { gone: 21, groups: 100 }));
    let line = outcome.lines.last().unwrap();
    assert_eq!(
        (&line["outcome"], &line["level"], &line["groups_added"]),
        (&json!("failed"), &json!("ERROR"), &json!(1))
    );
    assert!(line["error"].as_str().unwrap().contains("allow_destroy"));
    assert_eq!(world.items().await.len(), before + 2, "what is new was added, and nothing removed");
    // Without the flag, the next call begins again.
    assert!(matches!(world.call(json!({})).await.error(), ReconcileError::TooManyGone { .. }));
    let named: Vec<String> = (0..21).map(|number| format!("g{number:03}")).collect();
    assert!(matches!(
        world.call(json!({ "group_ids": named })).await.error(),
        ReconcileError::TooManyGone { .. }
    ));

    let dry = world.call(json!({ "dry_run": true, "allow_destroy": true })).await;
    assert_eq!(dry.drift(), json!({ "groups_destroyed": 21 }));
    // With it, only the second question is repeated.
    let lists = world.chat.calls("get_appid_group_list");
    let outcome = world.call(json!({ "allow_destroy": true })).await;
    assert_eq!(outcome.drift(), json!({ "groups_destroyed": 21 }));
    assert_eq!((outcome.report().groups_checked, world.chat.calls("get_appid_group_list")), (0, lists));
    assert_eq!(world.call(json!({})).await.drift(), json!({}));
}

#[tokio::test]
async fn twenty_of_few_groups_and_a_tenth_of_many_may_be_gone() {
    for (all, gone) in [(20, 20), (210, 21)] {
        let world = World::start().await;
        for number in 0..all {
            world.group(&format!("g{number}"), Group { group_type: "AVChatRoom".to_owned(), ..group(&[]) });
        }
        world.call(json!({})).await;
        world.chat.groups(|model| {
            for number in 0..gone {
                model.groups.remove(&format!("g{number}"));
            }
        });
        assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_destroyed": gone }));
    }
}
