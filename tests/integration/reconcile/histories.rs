//! After any history of callbacks, some of them lost, one pass makes the table equal to Chat.

use fastrand::Rng;

use super::*;

const ACCOUNTS: [&str; 5] = ["ana", "ben", "cleo", "dan", "eve"];

/// A step of a group's history: changes the model, and returns the callback.
fn step(
    rng: &mut Rng,
    model: &mut BTreeMap<String, Group>,
    id: &str,
    seconds: u64,
) -> (Facts, Vec<(String, Facts)>) {
    let millis = seconds * 1000 + rng.u64(..1000);
    let account = (*rng.choice(ACCOUNTS.iter()).unwrap()).to_owned();
    let Some(group) = model.get_mut(id) else {
        let count = rng.usize(1..4);
        let mut group = Group::public(&format!("made at {seconds}"), seconds, &ACCOUNTS[..count]);
        group.group_type = (*rng.choice(["Public", "Community", "AVChatRoom"].iter()).unwrap()).to_owned();
        let callback = created(&group, millis);
        model.insert(id.to_owned(), group);
        return callback;
    };
    let is_room = group.group_type == "AVChatRoom";
    let of_member = |facts: Facts| match is_room {
        true => Vec::new(),
        false => vec![(account.clone(), facts)],
    };
    match rng.u32(..8) {
        0 | 1 => {
            group.members.insert(account.clone(), Member::joined(seconds));
            (Facts::default(), of_member(member_since(millis)))
        }
        2 | 3 if group.owner.as_deref() != Some(&account) => {
            group.members.remove(&account);
            (Facts::default(), of_member(Facts::departed(at(millis), None)))
        }
        4 => {
            let value = (*rng.choice(["", "x", "y"].iter()).unwrap()).to_owned();
            group.introduction.clone_from(&value);
            (says(fact::INTRODUCTION, &value, millis), Vec::new())
        }
        5 if group.members.contains_key(&account) => {
            let role = (*rng.choice(["Admin", "Member"].iter()).unwrap()).to_owned();
            let member = group.members.get_mut(&account).unwrap();
            member.role.clone_from(&role);
            member.name_card.clone_from(&role);
            let mut facts = says(fact::ROLE, &role, millis);
            facts.set(fact::NAME_CARD, Some(role), at(millis));
            // The role of the owner is told by the group.
            (
                Facts::default(),
                if group.owner.as_deref() == Some(&account) { Vec::new() } else { of_member(facts) },
            )
        }
        6 if group.members.contains_key(&account) => {
            let old = group.owner.replace(account.clone());
            let mut members = Vec::new();
            for account in old.into_iter().chain([account.clone()]) {
                group.members.get_mut(&account).unwrap().role = "Member".to_owned();
                if !is_room {
                    members.push((account, says(fact::ROLE, "Member", millis)));
                }
            }
            (says(fact::OWNER_ACCOUNT, &account, millis), members)
        }
        7 => {
            model.remove(id);
            (Facts::destroyed(at(millis)), Vec::new())
        }
        _ => (Facts::default(), Vec::new()),
    }
}

async fn holds(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let world = World::start().await;
    let ids: Vec<String> = (0..8).map(|number| format!("g{number}")).collect();
    let (mut model, mut callbacks) = (BTreeMap::new(), Vec::new());
    let mut seconds = ago(100_000);
    for _ in 0..200 {
        // From the same second to some minutes later.
        seconds += rng.u64(..400);
        let id = rng.choice(ids.iter()).unwrap();
        let (group, members) = step(&mut rng, &mut model, id, seconds);
        callbacks.push((id.clone(), group, members));
    }
    let loss = rng.f64();
    callbacks.retain(|_| rng.f64() > loss * 0.8);
    rng.shuffle(&mut callbacks);
    for (id, group, members) in &callbacks {
        let members: Vec<_> =
            members.iter().map(|(account, facts)| (account.as_str(), facts.clone())).collect();
        world.set(id, group.clone(), &members).await;
    }
    world.chat.groups(|chat| chat.groups = model);
    let outcome = world.call(json!({ "members": "all" })).await;
    assert!(outcome.report().finished && outcome.report().skipped == 0, "seed {seed}: {outcome:?}");
    let mut expected = expected(&world.chat);
    for group in expected.values_mut() {
        // What Chat calls the owner's role is `Owner`.
        if let Some(owner) = group.owner.clone().and_then(|owner| group.members.get_mut(&owner)) {
            owner.role = "Member".to_owned();
        }
    }
    assert_eq!(world.shown(&ids).await, expected, "seed {seed}");
    let again = world.call(json!({ "members": "all" })).await;
    assert_eq!(again.drift(), json!({}), "seed {seed}");
    assert_eq!(world.shown(&ids).await, expected, "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_history_one_pass_makes_the_table_equal_to_chat() {
    for seed in 0..8 {
        holds(seed).await;
    }
    holds(fastrand::u64(..)).await;
}
