//! Passes: one at a time, over several calls, when they are due.

use super::*;

#[tokio::test]
async fn a_dry_run_finds_the_same_and_writes_nothing_but_its_place() {
    let world = World::start().await;
    for id in ["gone", "changed", "left over"] {
        world.group(id, group(&["a", "b"]));
        world.announce(id).await;
    }
    world.chat.groups(|model| model.groups.remove("gone"));
    world.change("changed", |g| g.name = "new".to_owned());
    world.change("changed", |g| drop(g.members.remove("b")));
    world.group("new", group(&["a", "b"]));
    world.group("left over", Group::public("g", ago(60), &["a"]));
    let before = world.table.items().await;
    let dry = world.call(json!({ "dry_run": true })).await;
    let mut after = world.table.items().await;
    let place = after.remove(&(format!("{SDK_APP_ID}!reconcile"), "DRY_RUN".to_owned())).unwrap();
    assert_eq!(after, before);
    assert!(place.get("lease_until").is_none() && dry.report().finished && dry.report().dry_run);
    assert!(dry.lines.iter().all(|line| line["dry_run"] == true));
    let named =
        world.call(json!({ "dry_run": true, "group_ids": ["gone", "changed", "new", "left over"] })).await;
    assert_eq!(named.drift(), dry.drift());
    let real = world.call(json!({})).await;
    assert_eq!((real.drift(), real.lines.len()), (dry.drift(), dry.lines.len()));
    assert_eq!(real.report().groups_destroyed, 1);
}

#[tokio::test]
async fn one_pass_at_a_time() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.chat.script("get_appid_group_list", Script::first([Fault::Slow(Duration::from_millis(800))]));
    let second = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let waiting = world.call(json!({})).await;
        let busy = world.call(json!({ "now": true })).await;
        // Named groups are no pass.
        (waiting, busy, world.call(json!({ "group_ids": ["g"] })).await)
    };
    let (first, (waiting, busy, named)) = tokio::join!(world.call(json!({})), second);
    // For a schedule, that is no failure.
    assert!(!waiting.report().finished);
    let line = waiting.lines.last().unwrap();
    assert_eq!(
        (&line["outcome"], &line["level"], &line["waiting"]),
        (&json!("waiting"), &json!("INFO"), &json!("busy"))
    );
    assert!(matches!(busy.error(), ReconcileError::Busy), "{busy:?}");
    assert_eq!(named.drift(), json!({ "groups_added": 1, "members_added": 1 }));
    assert!(first.report().finished);
    assert!(world.call(json!({})).await.report().finished);
}

#[tokio::test]
async fn a_lease_that_was_taken_over_ends_the_pass() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.chat.script("get_appid_group_list", Script::first([Fault::Slow(Duration::from_millis(900))]));
    let takeover = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        forget_the_lease(&world).await;
    };
    let (first, ()) = tokio::join!(world.call(json!({})), takeover);
    assert!(matches!(first.error(), ReconcileError::Busy), "{first:?}");
}

#[tokio::test]
async fn a_pass_that_ran_out_of_time_goes_on_where_it_stopped() {
    let world = World::start().await;
    for number in 0..250 {
        let room = Group { group_type: "AVChatRoom".to_owned(), ..group(&[]) };
        world.group(&format!("g{number:03}"), room);
    }
    // The first call has less time than one answer takes.
    world.chat.script("get_appid_group_list", Script::always(Fault::Slow(Duration::from_millis(60))));
    let slices = async |event: Value| {
        let (mut counts, mut time) = (Vec::new(), Duration::from_millis(50));
        loop {
            let outcome = world.call_for(event.clone(), time).await;
            counts.push(outcome.report().groups_listed);
            if outcome.report().finished {
                return counts;
            }
            time = time * 3 / 2;
        }
    };
    for event in [json!({}), json!({ "dry_run": true })] {
        let counts = slices(event).await;
        assert!(counts.len() > 1, "{counts:?}");
        assert_eq!(counts.iter().sum::<u64>(), 250, "{counts:?}");
    }
}

#[tokio::test]
async fn a_piece_that_takes_several_calls_does_not_begin_again_with_each() {
    let world = World::start().await;
    for number in 0..60 {
        world.group(&format!("g{number:02}"), group(&["a"]));
        world.announce(&format!("g{number:02}")).await;
    }
    let slow = Fault::Slow(Duration::from_millis(400));
    world.chat.script("get_group_member_info", Script::always(slow));
    let (mut calls, mut checked) = (0, 0);
    loop {
        let outcome = world.call_for(json!({ "members": "all" }), Duration::from_millis(1_200)).await;
        (calls, checked) = (calls + 1, checked + outcome.report().groups_checked);
        assert_eq!(outcome.report().skipped, 0);
        if outcome.report().finished {
            break;
        }
    }
    assert!(calls > 1, "it would not tell anything");
    assert_eq!(checked, 60, "each was compared to the end once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_is_killed_at_any_point_goes_on() {
    for round in 0..3_u64 {
        let world = World::start().await;
        for number in 0..40 {
            world.group(&format!("g{number}"), group(&["a", "b"]));
            if number % 2 == 0 {
                world.announce(&format!("g{number}")).await;
            }
            world
                .change(&format!("g{number}"), |g| drop(g.members.insert("c".to_owned(), Member::joined(1))));
        }
        world.group("gone", group(&["a"]));
        world.announce("gone").await;
        world.chat.groups(|model| model.groups.remove("gone"));
        let mut kills = 0;
        let (mut wait, mut finished) = (5 + round, false);
        while !finished {
            let limit = Duration::from_millis(wait);
            let outcome = tokio::time::timeout(limit, world.call(json!({ "members": "all" }))).await;
            finished = outcome.as_ref().is_ok_and(|outcome| outcome.report().finished);
            kills += usize::from(outcome.is_err());
            wait = wait * 3 / 2;
            forget_the_lease(&world).await;
        }
        assert!(kills > 0);
        let mut ids: Vec<String> = expected(&world.chat).into_keys().collect();
        ids.push("gone".to_owned());
        assert_eq!(world.shown(&ids).await, expected(&world.chat), "{round}");
        assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
    }
}

#[tokio::test]
async fn a_scheduled_call_does_nothing_before_the_next_pass_is_due() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    let mut reconcile = world.reconcile();
    reconcile.every = Duration::from_secs(3_600);
    assert_eq!(call(&reconcile, &json!({}), soon()).await.report().groups_added, 1);
    let calls = ["get_appid_group_list", "get_group_info"].map(|command| world.chat.calls(command));
    let early = call(&reconcile, &json!({}), soon()).await;
    assert!(early.report().finished);
    let line = early.lines.last().unwrap();
    assert_eq!(
        (&line["outcome"], &line["level"], &line["waiting"]),
        (&json!("waiting"), &json!("INFO"), &json!("not_due"))
    );
    assert_eq!(["get_appid_group_list", "get_group_info"].map(|command| world.chat.calls(command)), calls);
    // By hand it begins at once, and so does a dry run, which has a place of its own.
    for event in [json!({ "now": true }), json!({ "members": "all" }), json!({ "dry_run": true })] {
        let outcome = call(&reconcile, &event, soon()).await;
        assert_eq!((outcome.report().groups_checked, outcome.report().finished), (1, true), "{event}");
    }
    reconcile.every = Duration::ZERO;
    assert_eq!(call(&reconcile, &json!({}), soon()).await.report().groups_checked, 1);
}

#[tokio::test]
async fn a_pass_that_is_not_finished_goes_on_though_no_pass_is_due() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    let mut reconcile = world.reconcile();
    reconcile.every = Duration::from_secs(3_600);
    world.chat.script("get_appid_group_list", Script::first([Fault::Code(60020)]));
    let failed = call(&reconcile, &json!({}), soon()).await;
    assert!(failed.error().to_string().contains("plan"), "{failed:?}");
    assert_eq!(call(&reconcile, &json!({}), soon()).await.report().groups_added, 1);
    assert_eq!(call(&reconcile, &json!({}), soon()).await.lines[0]["outcome"], "waiting");
}
