//! Callbacks that are newer than an answer of Chat's.

use super::*;

#[tokio::test]
async fn a_callback_of_the_last_five_seconds_or_during_the_pass_wins() {
    for millis_ago in [0, 2_000, 4_000] {
        let world = World::start().await;
        world.group("g", group(&["a", "b"]));
        world.announce("g").await;
        // Chat's server that answers is downstream: it does not know of these yet.
        let time = now() - millis_ago;
        world.set("g", says(fact::NAME, "newer", time), &[("a", Facts::departed(at(time), None))]).await;
        world.set("g", Facts::default(), &[("c", member_since(time))]).await;
        world.chat.script("get_role_in_group", Script::always(Fault::None));
        assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}), "{millis_ago}");
        assert_eq!(world.members("g").await, ["b", "c"]);
        // A destruction of the same time is not undone either.
        world.set("g", Facts::destroyed(at(time)), &[]).await;
        assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({}));
        assert!(world.table.group("g").await.is_none());
    }
}

/// Changes Chat and the table while a pass is under way, before each of Chat's answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_that_arrives_while_chat_answers_wins() {
    for victim in ["get_group_info", "get_group_member_info", "get_role_in_group"] {
        let world = World::start().await;
        world.group("g", group(&["a", "b", "leaver"]));
        world.announce("g").await;
        world.change("g", |g| {
            g.name = "lost".to_owned();
            g.members.remove("leaver");
            g.members.insert("b".to_owned(), Member::joined(1));
        });
        // The answer is of now, and late; meanwhile there are callbacks.
        world.chat.script(victim, Script::first([Fault::Late(Duration::from_millis(600))]));
        let callback = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let time = now();
            world.set("g", says(fact::NAME, "newest", time), &[("a", Facts::departed(at(time), None))]).await;
            world.set("g", Facts::default(), &[("leaver", member_since(time))]).await;
        };
        let (_, outcome) = tokio::join!(callback, world.call(json!({ "members": "all" })));
        outcome.report();
        let group = world.table.group("g").await.unwrap();
        assert_eq!(text_of(&group.group, "name"), Some("newest"), "{victim}");
        assert_eq!(world.members("g").await, ["b", "leaver"], "{victim}");
    }
}
