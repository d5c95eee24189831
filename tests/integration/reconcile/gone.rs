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
    reconcile.pace.confirm_after = wait;
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
    let first = call(&reconcile, &json!({}), stops_after(Duration::from_secs(2))).await;
    // It does not sleep for what it has no time for.
    assert!(!first.report().finished && start.elapsed() < Duration::from_millis(1_500), "{first:?}");
    world.shows(&["gone"]).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let second = call(&reconcile, &json!({}), stops_after(Duration::from_secs(20))).await;
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
            assert_eq!(outcome.reconciled.report.groups_destroyed, 0, "{fault:?}");
        }
        assert!(world.chat.calls("get_group_info") >= 2, "{fault:?}");
        assert_eq!(world.items().await, before, "{fault:?}");
    }
}

#[tokio::test]
async fn a_group_that_has_an_error_of_its_own_the_second_time_is_skipped() {
    for code in [10015, 10002, 70001] {
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
    let first = call(&reconcile, &json!({}), stops_after(Duration::from_millis(1_000))).await;
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
    assert_eq!(outcome.reconciled.report.groups_destroyed, 0);
    world.call(json!({ "allow_destroy": true })).await;
    let outcome = world.call(json!({ "allow_destroy": true })).await;
    assert!(outcome.report().finished);
    let left = world.table.items().await.into_values().filter(|item| item.get("destroyed_at").is_none());
    assert_eq!(left.filter(|item| item["sk"] == "GROUP").count(), 500);
    assert_eq!(world.call(json!({})).await.drift(), json!({}));
}
