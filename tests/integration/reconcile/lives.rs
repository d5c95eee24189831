//! Groups whose GroupId is used again, and what their earlier lives left behind.

use super::*;
use crate::proxy::{self, Proxy};

#[tokio::test]
async fn a_group_that_is_used_again_begins_a_new_life() {
    let world = World::start().await;
    world.group("g", group(&["old", "both"]));
    world.announce("g").await;
    // Destroyed and made again; both callbacks are lost, but not that of a member who joined it.
    world.group("g", Group { name: "second".to_owned(), ..Group::public("", ago(1800), &["both", "new"]) });
    world.set("g", Facts::default(), &[("visitor", member_since(ago(1700) * 1000))]).await;
    let outcome = world.call(json!({})).await;
    let drift = json!({ "groups_added": 1, "members_added": 2, "members_removed": 1 });
    assert_eq!(outcome.drift(), drift);
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
    let items = world.items().await;
    assert!(!items.keys().any(|(_, sk)| sk == "MEMBER#old"), "the earlier life is swept");
    // Its creation's callback comes late: it changes nothing that readers see, and no member is lost.
    world.change("g", |g| drop(g.members.insert("later".to_owned(), Member::joined(ago(1600)))));
    world.call(json!({ "members": "all" })).await;
    let create_time = world.chat.groups(|model| model.groups["g"].create_time);
    let (mut facts, _) =
        created(&world.chat.groups(|model| model.groups["g"].clone()), create_time * 1000 + 900);
    facts.set(fact::NAME, Some("first name".to_owned()), at(create_time * 1000 + 900));
    world.set("g", facts, &[("new", member_since(create_time * 1000 + 900))]).await;
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
}

#[tokio::test]
async fn a_group_that_was_destroyed_by_mistake_is_created_after_that() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.announce("g").await;
    let destroyed_at = ago(600) * 1000;
    world.set("g", Facts::destroyed(at(destroyed_at)), &[]).await;
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_added": 1, "members_added": 1 }));
    let items = world.items().await;
    assert_eq!(items[&(format!("{SDK_APP_ID}#g"), "GROUP".to_owned())]["event_time"], destroyed_at + 1);
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
    assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
}

#[tokio::test]
async fn a_group_whose_creation_was_lost_shows_what_was_said_of_it_later() {
    let world = World::start().await;
    world.group("g", group(&["a"]));
    world.change("g", |g| {
        g.name = "third".to_owned();
        g.members.insert("b".to_owned(), Member::joined(ago(1800)));
    });
    world.set("g", says(fact::NAME, "second", ago(1800) * 1000), &[]).await;
    world.set("g", says(fact::INTRODUCTION, "taken away since", ago(1800) * 1000), &[]).await;
    world.set("g", Facts::default(), &[("b", member_since(ago(1800) * 1000))]).await;
    world.set("g", Facts::default(), &[("left", member_since(ago(1800) * 1000))]).await;
    assert!(world.table.group("g").await.is_none());
    let drift = json!({ "groups_added": 1, "members_added": 1, "members_removed": 1 });
    assert_eq!(world.call(json!({})).await.drift(), drift);
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
}

#[tokio::test]
async fn what_an_earlier_life_left_behind_is_swept() {
    let world = World::start().await;
    world.group("again", group(&["new"]));
    world.announce("again").await;
    let before = (ago(3600) - 500) * 1000;
    world.set("again", Facts::default(), &[("old", Facts::departed(at(before), None))]).await;
    world.set("destroyed", there(before), &[("old", member_since(before))]).await;
    world.set("destroyed", Facts::destroyed(at(before + 1)), &[]).await;
    let outcome = world.call(json!({ "dry_run": true, "members": "all" })).await;
    assert_eq!((outcome.drift(), world.items().await.len()), (json!({}), 5));
    assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
    let left: Vec<(String, String)> = world.items().await.into_keys().collect();
    let sks: Vec<&str> = left.iter().map(|(_, sk)| sk.as_str()).collect();
    assert_eq!(sks, ["GROUP", "MEMBER#new", "GROUP"]);
}

#[tokio::test]
async fn destroyed_groups_cost_the_passes_after_the_one_that_swept_them_no_request() {
    let mut requests = Vec::new();
    for destroyed in [0, 40] {
        let mut world = World::start().await;
        let proxy = Proxy::start(&world.table.url, proxy::Script::always(proxy::Fault::None)).await.unwrap();
        world.table = Table { url: proxy.url.clone() };
        world.group("stays", group(&["a"]));
        world.announce("stays").await;
        let since = ago(3600) * 1000;
        for number in 0..destroyed {
            let id = format!("destroyed {number}");
            world.set(&id, there(since), &[("a", member_since(since)), ("b", member_since(since))]).await;
            world.set(&id, Facts::destroyed(at(since + 1)), &[]).await;
        }
        assert_eq!(world.items().await.len(), 2 + 3 * destroyed);
        let mut calls = Vec::new();
        for _ in 0..3 {
            let before = proxy.forwarded();
            assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
            calls.push(proxy.forwarded() - before);
        }
        assert_eq!(world.items().await.len(), 2 + destroyed, "their members are swept");
        // The first pass reads each, removes two members of each, and marks it.
        assert!(calls[0] >= calls[1] + 4 * destroyed, "{calls:?}");
        assert_eq!(calls[1], calls[2]);
        requests.push(calls[1]);
    }
    assert_eq!(requests[0], requests[1], "they are in the page of the scan, and cost nothing else");
}
