//! Who is in a group: nobody is missed, and nobody is removed on a guess.

use super::*;

/// Accounts whose order is that of their numbers.
fn accounts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("account-{number:05}")).collect()
}

fn crowd(group_type: &str, count: usize) -> Group {
    let accounts = accounts(count);
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    Group { group_type: group_type.to_owned(), ..group(&accounts) }
}

/// Before the second page of each of the first lists, somebody of the first page leaves, so that the one after that page
/// moves into it; and another joins.
fn shift(world: &World, lists: usize, joins: bool) {
    let (mut pages, mut shifts) = (0, 0);
    world.chat.before_each(move |command, model| {
        pages += usize::from(command == "get_group_member_info");
        if command == "get_group_member_info" && pages % 3 == 2 && shifts < lists {
            let members = &mut model.groups.get_mut("g").unwrap().members;
            members.remove(&format!("account-{shifts:05}"));
            if joins {
                members.insert(format!("zoe {shifts}"), Member::joined(ago(1)));
            }
            shifts += 1;
        }
    });
}

#[tokio::test]
async fn a_new_group_that_somebody_leaves_while_it_is_listed_misses_nobody() {
    let world = World::start().await;
    world.group("g", crowd("Public", 401));
    shift(&world, 1, false);
    // The first list is not complete by what its first page counted; the next two are, and the same.
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_added": 1, "members_added": 400 }));
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
}

#[tokio::test]
async fn a_large_new_group_that_changes_all_the_time_is_brought_in_with_all_who_stay() {
    for group_type in ["Public", "Community"] {
        let world = World::start().await;
        world.group("g", crowd(group_type, 1_001));
        // Before every second page somebody leaves, and somebody joins where the list has been already.
        let mut pages = 0;
        world.chat.before_each(move |command, model| {
            pages += usize::from(command == "get_group_member_info");
            if command == "get_group_member_info" && pages % 2 == 0 {
                let members = &mut model.groups.get_mut("g").unwrap().members;
                members.remove(&format!("account-{:05}", pages * 7));
                members.insert(format!("a new one {pages}"), Member::joined(ago(1)));
            }
        });
        let outcome = world.call(json!({})).await;
        assert_eq!((outcome.report().groups_added, outcome.report().skipped), (1, 0), "{group_type}");
        let shown = world.members("g").await;
        let stay = world.chat.groups(|model| model.groups["g"].members.clone());
        let missing: Vec<_> = stay.keys().filter(|account| !shown.contains(account)).collect();
        assert!(missing.iter().all(|account| account.starts_with("a new one")), "{group_type}: {missing:?}");
        let left = shown.iter().filter(|account| !stay.contains_key(*account)).count();
        assert!(left <= 3, "{group_type}: {left} have left while the last list was read");
        assert!(world.chat.calls("get_group_member_info") <= 4 * 6, "{group_type}");
    }
}

#[tokio::test]
async fn an_account_that_left_just_now_is_added_once_chat_says_twice_that_it_is_a_member() {
    for (is_member, added) in [(true, json!({ "members_added": 1 })), (false, json!({}))] {
        let world = World::start().await;
        world.group("g", group(&["a", "b"]));
        world.announce("g").await;
        world.set("g", Facts::default(), &[("b", Facts::departed(at(now() - 60_000), None))]).await;
        // The list lags behind; the second question is answered by another server.
        world.chat.before_each(move |command, model| {
            if command == "get_role_in_group" && !is_member {
                model.groups.get_mut("g").unwrap().members.remove("b");
            }
        });
        assert_eq!(world.call(json!({ "members": "all" })).await.drift(), added);
        assert_eq!(world.chat.calls("get_role_in_group"), 1);
        // Longer ago, the list alone counts.
        world.set("g", Facts::default(), &[("a", Facts::departed(at(now() - 400_000), None))]).await;
        assert_eq!(world.call(json!({ "members": "all" })).await.drift()["members_added"], 1);
    }
}

#[tokio::test]
async fn a_group_that_has_members_is_not_created_without_any() {
    for answer in [json!({ "MemberList": [], "MemberNum": 0 }), json!({})] {
        let world = World::start().await;
        world.group("g", group(&["a", "b", "c"]));
        let mut answer = answer;
        answer["ErrorCode"] = json!(0);
        world.chat.script("get_group_member_info", Script::always(Fault::Answer(200, answer.to_string())));
        assert_eq!(world.call(json!({})).await.drift(), json!({ "skipped": 1 }));
        assert!(world.items().await.is_empty());
    }
}

#[tokio::test]
async fn a_large_community_is_brought_in_and_kept() {
    let world = World::start().await;
    world.group("g", crowd("Community", 450));
    assert_eq!(world.call(json!({})).await.drift(), json!({ "groups_added": 1, "members_added": 450 }));
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
    world.change("g", |g| {
        g.members.remove("account-00007");
        g.members.remove("account-00300");
        g.members.insert("zoe".to_owned(), Member::joined(ago(1)));
        g.members.get_mut("account-00400").unwrap().role = "Admin".to_owned();
    });
    // What the first pass has said must be older than this, and Chat's clock tells seconds.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let drift = json!({ "members_added": 1, "members_removed": 2, "members_changed": 1 });
    assert_eq!(world.call(json!({ "members": "all" })).await.drift(), drift);
    assert_eq!(world.shown(&["g".into()]).await, expected(&world.chat));
}

#[tokio::test]
async fn a_name_card_that_chat_leaves_out_is_empty_and_a_role_says_nothing() {
    let world = World::start().await;
    world.group("g", group(&["a", "b"]));
    world.announce("g").await;
    let mut facts = says(fact::NAME_CARD, "old", ago(1800) * 1000);
    facts.set(fact::ROLE, Some("Admin".to_owned()), at(ago(1800) * 1000));
    world.set("g", Facts::default(), &[("b", facts)]).await;
    let list = json!([{ "Member_Account": "a" }, { "Member_Account": "b" }]);
    let answer = json!({ "ErrorCode": 0, "MemberNum": 2, "MemberList": list }).to_string();
    world.chat.script("get_group_member_info", Script::always(Fault::Answer(200, answer)));
    assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({ "members_changed": 1 }));
    let member = &world.table.group("g").await.unwrap().members[1];
    assert_eq!((text_of(member, "name_card"), text_of(member, "role")), (Some(""), Some("Admin")));
}

#[tokio::test]
async fn what_is_not_confirmed_does_not_hold_up_the_rest() {
    let odd = json!({ "ErrorCode": 0, "UserIdList": "none" }).to_string();
    for fault in
        [Fault::Code(10004), Fault::Code(10010), Fault::Code(10007), Fault::Empty, Fault::Answer(200, odd)]
    {
        let world = World::start().await;
        world.group("g", group(&["a", "b", "c"]));
        world.announce("g").await;
        world.change("g", |g| {
            g.name = "new".to_owned();
            g.members.retain(|account, _| account == "a");
            g.members.insert("d".to_owned(), Member::joined(ago(1)));
        });
        world.chat.script("get_role_in_group", Script::always(fault.clone()));
        let drift = json!({ "groups_changed": 1, "members_added": 1, "skipped": 1 });
        assert_eq!(world.call(json!({})).await.drift(), drift, "{fault:?}");
        assert_eq!(world.members("g").await, ["a", "b", "c", "d"], "{fault:?}");
        world.chat.script("get_role_in_group", Script::default());
        let outcome = world.call(json!({ "members": "all" })).await;
        assert_eq!(outcome.drift(), json!({ "members_removed": 2 }), "{fault:?}");
    }
}

#[tokio::test]
async fn accounts_of_which_chat_cannot_read_one_are_confirmed_apart() {
    let world = World::start().await;
    world.group("g", group(&["a", "b", "c", "d"]));
    world.announce("g").await;
    world.change("g", |g| g.members.retain(|account, _| account == "a"));
    // b, c and d are refused together, and one of them alone.
    world.chat.script("get_role_in_group", Script::first(vec![Fault::Code(10004); 2]));
    let outcome = world.call(json!({ "members": "all" })).await;
    assert_eq!(outcome.drift(), json!({ "members_removed": 2, "skipped": 1 }));
    assert_eq!(world.members("g").await.len(), 2);
    // An answer that leaves some out confirms the others.
    world.chat.script("get_role_in_group", Script::first([Fault::Truncate]));
    assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({ "skipped": 1 }));
    assert_eq!(world.call(json!({ "members": "all" })).await.drift(), json!({ "members_removed": 1 }));
}

#[tokio::test]
async fn no_more_members_are_in_memory_at_once_than_fit() {
    let world = World::start().await;
    let mut infos = Vec::new();
    for id in ["a", "b", "c"] {
        world.group(id, group(&["x"]));
        world.announce(id).await;
        infos.push(json!({ "GroupId": id, "ErrorCode": 0, "Type": "Public", "MemberNum": 15_000 }));
    }
    let answer = json!({ "ErrorCode": 0, "GroupInfo": infos }).to_string();
    world.chat.script("get_group_info", Script::always(Fault::Answer(200, answer)));
    world.chat.script("get_group_member_info", Script::always(Fault::Slow(Duration::from_millis(300))));
    let start = Instant::now();
    world.call(json!({ "members": "all" })).await.report();
    assert!(start.elapsed() >= Duration::from_millis(900), "one after the other: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_member_that_shifting_pages_hide_is_not_removed() {
    let world = World::start().await;
    let accounts: Vec<String> = (0..401).map(|number| format!("account-{number:05}")).collect();
    world.group("g", group(&accounts.iter().map(String::as_str).collect::<Vec<_>>()));
    world.call(json!({})).await;
    // What the first pass has said must be older than the next list, and Chat's clock tells seconds.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut page = 0;
    world.chat.before_each(move |command, model| {
        page += usize::from(command == "get_group_member_info");
        if let Some(group) = model.groups.get_mut("g").filter(|_| page == 2) {
            group.members.remove("account-00003");
        }
    });
    world.call(json!({ "members": "all" })).await;
    // The one who left while they were listed stays until the next pass.
    assert_eq!(world.members("g").await.len(), 401);
    assert_eq!(world.chat.calls("get_role_in_group"), 1);
    let outcome = world.call(json!({ "members": "all" })).await;
    assert_eq!(outcome.drift(), json!({ "members_removed": 1 }));
}
