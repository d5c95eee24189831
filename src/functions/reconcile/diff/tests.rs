//! Times, lives and differences.

#![expect(clippy::unwrap_used)]

use super::*;

const MINUTE: u64 = 60_000;

fn at(millis: u64) -> EventTime {
    EventTime::from_millis(millis)
}

fn created(seconds: u64) -> GroupInfo {
    GroupInfo { create_time: Some(seconds), ..GroupInfo::default() }
}

fn there(event_time: u64) -> Facts {
    Facts::present(at(event_time))
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn an_answer_is_dated_five_seconds_before_its_question() {
    assert_eq!(as_of(crate::time::from_millis(12_345)), at(7_345));
    assert_eq!(as_of(SystemTime::UNIX_EPOCH), at(0));
}

#[test]
fn a_creation_is_another_one_once_it_is_more_than_a_minute_later() {
    let life = |seconds, event_time| Life::compare(&created(seconds), at(10 * MINUTE), &there(event_time));
    assert_eq!(life(60, 0), Ok(Life::Current));
    assert_eq!(life(61, 0), Ok(Life::New(at(61_000))));
    assert_eq!(life(1, 5 * MINUTE), Ok(Life::Current));
    assert_eq!(Life::compare(&GroupInfo::default(), at(MINUTE), &there(5)), Ok(Life::Current));
}

#[test]
fn a_group_that_is_not_there_is_created_after_its_destruction() {
    let gone = |gone_at| Facts { ended: Facts::destroyed(at(gone_at)).ended, ..there(1_000) };
    let life = |seconds, gone_at| Life::compare(&created(seconds), at(10 * MINUTE), &gone(gone_at));
    assert_eq!(life(2, 1_500), Ok(Life::New(at(2_000))));
    assert_eq!(life(2, 2_500), Ok(Life::New(at(2_501))));
    assert_eq!(life(2, 10 * MINUTE - 1), Ok(Life::New(at(10 * MINUTE))));
    // A destruction that is newer than the answer wins.
    assert_eq!(life(2, 10 * MINUTE), Ok(Life::Over));
    assert_eq!(Life::compare(&created(7), at(MINUTE), &Facts::default()), Ok(Life::New(at(7_000))));
}

#[test]
fn without_a_usable_create_time_nothing_is_created() {
    let life = |info| Life::compare(&info, at(MINUTE), &Facts::default());
    assert_eq!(life(GroupInfo::default()), Err(Unusable::CreateTime));
    assert_eq!(life(created(0)), Err(Unusable::CreateTime));
    assert_eq!(life(created(60 + 305)), Ok(Life::New(at(365_000))));
    assert_eq!(life(created(60 + 306)), Err(Unusable::CreateTime));
    assert_eq!(life(created(u64::MAX)), Err(Unusable::CreateTime));
}

/// A group with these values.
fn info(values: &[(&'static str, &str)], create_time: Option<u64>) -> GroupInfo {
    let values = values.iter().map(|(name, value)| ((*name).into(), (*value).to_owned())).collect();
    GroupInfo { values, create_time, ..GroupInfo::default() }
}

#[test]
fn absent_equals_empty_and_the_type_is_not_compared() {
    let mut stored = there(1);
    stored.set(fact::NAME, text("a"), at(1));
    stored.set(fact::OWNER_ACCOUNT, text("o"), at(1));
    stored.set(fact::TYPE, text("Work"), at(1));
    stored.set("user_defined.not named", text("stays"), at(1));
    let same = [
        (fact::NAME, "a"),
        (fact::INTRODUCTION, ""),
        (fact::OWNER_ACCOUNT, "o"),
        (fact::TYPE, "Public"),
        ("user_defined.k", ""),
    ];
    assert!(diff_group(&info(&same, None), at(9), Life::Current, &stored).is_empty());
    let other = [
        (fact::NAME, ""),
        (fact::NOTIFICATION, "n"),
        (fact::OWNER_ACCOUNT, ""),
        (fact::TYPE, "Public"),
        ("user_defined.k", "v"),
    ];
    let mut expected = Facts::default();
    expected.set(fact::NAME, text(""), at(9));
    expected.set(fact::NOTIFICATION, text("n"), at(9));
    expected.set(fact::OWNER_ACCOUNT, None, at(9));
    expected.set("user_defined.k", text("v"), at(9));
    assert_eq!(diff_group(&info(&other, None), at(9), Life::Current, &stored), expected);
}

#[test]
fn a_new_life_has_all_values_and_takes_away_the_older_ones() {
    let mut stored = Facts::default();
    stored.set(fact::INTRODUCTION, text("later than the creation"), at(8));
    let values = [(fact::TYPE, "Work"), (fact::NAME, "a"), (fact::INTRODUCTION, ""), (fact::FACE_URL, "")];
    let info = info(&values, Some(1));
    let mut expected = Facts::present(at(5));
    expected.set(fact::TYPE, text("Work"), at(9));
    expected.set(fact::NAME, text("a"), at(9));
    expected.set(fact::INTRODUCTION, text(""), at(9));
    assert_eq!(diff_group(&info, at(9), Life::New(at(5)), &stored), expected);
    // Nothing is incoming before the life began.
    let incoming = diff_group(&info, at(3), Life::New(at(5)), &Facts::default());
    assert_eq!(incoming.fact(fact::NAME).map(|fact| fact.time), Some(at(5)));
}

fn member(role: &str, name_card: &str) -> Member {
    Member { role: text(role), name_card: name_card.to_owned() }
}

/// The differences between these members, as Chat lists them, and the stored ones.
fn diff<'a>(
    listed: &[(&str, Member)],
    group: &'a Facts,
    stored: impl IntoIterator<Item = (&'static str, Facts)>,
) -> Result<MemberDiff<'a>, Unusable> {
    let members: BTreeMap<_, _> =
        listed.iter().map(|(account, member)| ((*account).to_owned(), member.clone())).collect();
    let value = Roster { member_num: Some(members.len() as u64), members, is_snapshot: true };
    let roster = Answer { asked_at: crate::time::from_millis(TIME + 5_000), value };
    let mut diff = MemberDiff::new(group, Life::Current, Some(roster))?;
    diff.compare(stored.into_iter().map(|(account, facts)| (account.to_owned(), facts)));
    diff.compare_rest();
    Ok(diff)
}

/// The time of the facts of a list.
const TIME: u64 = 10 * MINUTE;

fn joined(time: u64, role: &str) -> Facts {
    let mut facts = there(time);
    facts.set(fact::ROLE, text(role), at(time));
    facts
}

#[test]
fn members_are_compared_by_membership_role_and_name_card() {
    let mut carded = joined(3, "Admin");
    carded.set(fact::NAME_CARD, text("card"), at(3));
    let stored = [
        ("same", joined(3, "Member")),
        ("bare", there(3)),
        ("raised", joined(3, "Member")),
        ("carded", carded),
        ("left", Facts::departed(at(4), None)),
        ("left just now", Facts::departed(at(TIME - 5 * MINUTE), None)),
        ("left since", Facts::departed(at(TIME + 1), None)),
        ("earlier", joined(1, "Admin")),
        ("absent", joined(3, "Member")),
        ("joined since", joined(TIME + 1, "Member")),
        ("absent, of an earlier life", joined(1, "Member")),
        ("absent, left in an earlier life", Facts::departed(at(1), None)),
    ];
    let listed = [
        ("same", member("Owner", "")),
        ("bare", Member::default()),
        ("raised", member("Admin", "card")),
        // No name card is an empty one; no role implies none.
        ("carded", Member::default()),
        ("left", member("Member", "")),
        ("left just now", member("Member", "")),
        ("left since", member("Member", "")),
        ("earlier", Member::default()),
        ("new", member("", "card")),
    ];
    let group = there(2);
    let diff = diff(&listed, &group, stored).unwrap();
    let mut raised = Facts::default();
    raised.set(fact::ROLE, text("Admin"), at(TIME));
    raised.set(fact::NAME_CARD, text("card"), at(TIME));
    let mut new = there(TIME);
    new.set(fact::NAME_CARD, text("card"), at(TIME));
    let mut bare = Facts::default();
    bare.set(fact::NAME_CARD, text(""), at(TIME));
    let expected = [
        ("raised", raised),
        ("carded", bare),
        ("left", joined(TIME, "Member")),
        ("earlier", there(TIME)),
        ("new", new),
    ];
    let expected = expected.map(|(account, facts)| (account.to_owned(), Arc::new(facts)));
    assert_eq!(diff.incoming, expected.into());
    let doubtful = [("absent", Facts::departed(at(TIME), None)), ("left just now", joined(TIME, "Member"))];
    let doubtful = doubtful.map(|(account, facts)| (account.to_owned(), Arc::new(facts)));
    assert_eq!(diff.doubtful, doubtful.into());
    let leftovers = ["absent, left in an earlier life", "absent, of an earlier life"];
    assert_eq!(diff.leftovers.into_keys().collect::<Vec<_>>(), leftovers);
}

#[test]
fn members_who_say_the_same_share_it() {
    let listed = [("a", member("Member", "")), ("b", member("Member", ""))];
    let group = there(2);
    let diff = diff(&listed, &group, []).unwrap();
    assert!(Arc::ptr_eq(&diff.incoming["a"], &diff.incoming["b"]));
}

#[test]
fn an_account_that_has_no_room_in_the_key_makes_the_list_unusable() {
    let account = "a".repeat(ACCOUNT_MAX_BYTES + 1);
    let error = diff(&[(&account, Member::default())], &there(2), []).err();
    assert_eq!(error, Some(Unusable::Account));
}
