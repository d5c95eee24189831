//! The end of a call's time, and the turns that groups wait for.

use chat_groups::reconcile::end_within;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_call_stops_well_before_its_time_limit_and_of_a_short_one_leaves_half() {
    let start = Instant::now();
    let within = |seconds| (end_within(Duration::from_secs(seconds)) - start).as_secs();
    assert_eq!([900, 121, 120, 10, 0].map(within), [840, 61, 60, 5, 0]);
}

#[tokio::test]
async fn groups_that_wait_long_for_their_turn_are_not_skipped() {
    let world = World::start().await;
    for number in 0..40 {
        world.group(&format!("g{number}"), group(&["a"]));
    }
    let accounts: Vec<String> = (0..900).map(|number| format!("account-{number:05}")).collect();
    world.group("large", group(&accounts.iter().map(String::as_str).collect::<Vec<_>>()));
    // Each waits for its turn longer than it may take, and each page of the large one again.
    let reconcile = world.reconcile_within(Limits {
        list_interval: Duration::ZERO,
        call_interval: Duration::from_millis(80),
        attempt_timeout: Duration::from_secs(1),
        request_budget: Duration::from_secs(1),
    });
    let outcome = call(&reconcile, &json!({}), soon()).await;
    assert_eq!(outcome.drift(), json!({ "groups_added": 41, "members_added": 940 }));
}

#[tokio::test]
async fn groups_that_the_end_cuts_off_are_not_passed_over() {
    for command in ["get_group_info", "get_group_member_info", "get_role_in_group"] {
        let world = World::start().await;
        for number in 0..30 {
            world.group(&format!("g{number:02}"), group(&["a", "b"]));
            if number % 2 == 0 {
                world.announce(&format!("g{number:02}")).await;
                world.change(&format!("g{number:02}"), |g| drop(g.members.remove("b")));
            }
        }
        let script = Script { first: vec![Fault::None; 1].into(), then: Fault::Hang };
        world.chat.script(command, script);
        let start = Instant::now();
        let end = start + Duration::from_millis(900);
        let outcome = call(&world.reconcile(), &json!({ "members": "all" }), end).await;
        assert!(start.elapsed() < Duration::from_millis(2_500), "{:?}", start.elapsed());
        assert!(!outcome.report().finished && outcome.report().skipped == 0, "{command} {outcome:?}");
        world.chat.script(command, Script::default());
        assert!(world.call(json!({})).await.report().finished, "the same pass");
        let ids: Vec<String> = expected(&world.chat).into_keys().collect();
        assert_eq!(world.shown(&ids).await, expected(&world.chat), "{command}");
    }
}

#[tokio::test]
async fn a_group_that_the_end_cuts_off_is_written_by_the_next_call() {
    let world = World::start().await;
    for number in 0..60 {
        world.group(&format!("g{number:02}"), group(&["a"]));
    }
    world.chat.script("get_group_member_info", Script::always(Fault::Slow(Duration::from_millis(1_000))));
    let start = Instant::now();
    let outcome = world.call_for(json!({}), Duration::from_millis(2_800)).await;
    assert!(!outcome.report().finished && start.elapsed() < Duration::from_millis(4_000));
    let added = outcome.report().groups_added;
    assert!((1..=32).contains(&added), "{added}");
    world.chat.script("get_group_member_info", Script::default());
    let rest = 60 - added;
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_added": rest, "members_added": rest }));
}
