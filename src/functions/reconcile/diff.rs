//! What Chat says of a group and its members, as far as the table says something else.
//!
//! Absent equals empty. The type, and custom fields that Chat does not name, are not compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::chat::{GroupInfo, Roster};
use crate::event::{ACCOUNT_MAX_BYTES, Facts, Members, fact, normal_role};
use crate::store::is_member;
use crate::time::EventTime;

/// How much earlier than its question an answer is said: every callback of what happened since then is newer, whatever
/// the clocks of Chat's servers differ.
const MARGIN: Duration = Duration::from_secs(5);

/// How much later than the creation that is known another one must be to be another: CreateTime has no milliseconds,
/// and comes from another clock than EventTime.
const SAME_CREATION: Duration = Duration::from_secs(60);

/// How far CreateTime may lie ahead of the question, as EventTime may.
const MAX_AHEAD: Duration = Duration::from_secs(5 * 60);

/// The moment that an answer speaks of.
pub(super) fn as_of(asked_at: SystemTime) -> EventTime {
    EventTime::from(asked_at.checked_sub(MARGIN).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// Which life of a group Chat speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// The one that the table shows.
    Partition,
    /// One that the table does not know, since this time.
    New(EventTime),
    /// The table knows of a destruction that is newer than the answer.
    Over,
}

/// Why an answer can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Without it, a group that is not in the table can't be created.
    #[error("CreateTime: expected a time that is not ahead, in seconds since the Unix epoch")]
    CreateTime,
    /// A group is created with all of its members or not at all.
    #[error(
        "MemberList: expected as many members as MemberNum says and, over several pages, the same ones twice"
    )]
    Incomplete,
    /// An account has no place in the table.
    #[error("Member_Account: expected at most {ACCOUNT_MAX_BYTES} bytes")]
    Account,
}

impl Life {
    /// Compares CreateTime with what is known of the group.
    pub(super) fn of(info: &GroupInfo, as_of: EventTime, known: &Facts) -> Result<Self, Unusable> {
        let created_at = info.create_time.filter(|seconds| *seconds > 0);
        let created_at = created_at.map(|seconds| EventTime::from_millis(seconds.saturating_mul(1000)));
        if let (Some(event_time), None) = (known.event_time(), known.ended_at())
            && created_at.is_none_or(|created_at| created_at <= later(event_time, SAME_CREATION))
        {
            return Ok(Self::Partition);
        }
        if known.ended_at() >= Some(as_of) {
            return Ok(Self::Over);
        }
        let created_at = created_at.filter(|time| *time <= later(as_of, MARGIN + MAX_AHEAD));
        let created_at = created_at.ok_or(Unusable::CreateTime)?;
        Ok(Self::New(known.ended_at().map_or(created_at, |gone_at| created_at.max(gone_at.next()))))
    }

    /// When what Chat says of this life counts as said: not before it began.
    fn since(self, as_of: EventTime) -> EventTime {
        match self {
            Self::New(created_at) => as_of.max(created_at),
            Self::Partition | Self::Over => as_of,
        }
    }
}

fn later(time: EventTime, by: Duration) -> EventTime {
    let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    EventTime::from_millis(time.as_millis().saturating_add(millis))
}

/// What is to be said of the group itself.
pub(super) fn of_group(info: &GroupInfo, as_of: EventTime, life: Life, known: &Facts) -> Facts {
    let time = life.since(as_of);
    let mut said = match life {
        // How it was created is not known: the details of an earlier life don't stay.
        Life::New(created_at) => Facts::present(created_at),
        Life::Partition => Facts::default(),
        Life::Over => return Facts::default(),
    };
    let is_new = matches!(life, Life::New(_));
    for (name, value) in info.values.iter().filter(|(name, _)| is_new || *name != fact::TYPE) {
        if (is_new && !value.is_empty()) || differs(known, name, value) {
            let is_value = name != fact::OWNER_ACCOUNT || !value.is_empty();
            said.set(name.clone(), is_value.then(|| value.clone()), time);
        }
    }
    said
}

fn differs(known: &Facts, name: &str, value: &str) -> bool {
    known.value(name).unwrap_or_default() != value
}

/// What is to be said of the members that Chat lists, and the members that it does not list: each of them is to be
/// confirmed.
pub(super) fn of_members(
    roster: &Roster,
    as_of: EventTime,
    (life, group): (Life, &Facts),
    known: &BTreeMap<String, Facts>,
) -> Result<(Members, Vec<String>), Unusable> {
    if matches!(life, Life::New(_)) && !(roster.is_steady && roster.is_complete()) {
        return Err(Unusable::Incomplete);
    }
    if roster.members.keys().any(|account| account.len() > ACCOUNT_MAX_BYTES) {
        return Err(Unusable::Account);
    }
    let time = life.since(as_of);
    let none = Facts::default();
    let said = roster.members.iter().map(|(account, member)| {
        let known = known.get(account).unwrap_or(&none);
        let is_new = !is_member(known, group);
        let mut said = if is_new { Facts::present(time) } else { Facts::default() };
        let role = member.role.clone().map(normal_role).filter(|role| !role.is_empty());
        for (name, value) in [(fact::ROLE, role), (fact::NAME_CARD, Some(member.name_card.clone()))] {
            let is_told = |value: &String| match is_new {
                true => !value.is_empty(),
                false => differs(known, name, value),
            };
            if let Some(value) = value.filter(is_told) {
                said.set(name, Some(value), time);
            }
        }
        (account.clone(), Arc::new(said))
    });
    let said = said.filter(|(_, said)| !said.is_empty()).collect();
    let absent = known
        .iter()
        .filter(|(account, facts)| is_member(facts, group) && !roster.members.contains_key(*account))
        .map(|(account, _)| account.clone())
        .collect();
    Ok((said, absent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Member;

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
    fn an_answer_is_said_five_seconds_before_its_question() {
        assert_eq!(as_of(crate::time::from_millis(12_345)), at(7_345));
        assert_eq!(as_of(SystemTime::UNIX_EPOCH), at(0));
    }

    #[test]
    fn a_creation_is_another_one_once_it_is_more_than_a_minute_later() {
        let life = |seconds, event_time| Life::of(&created(seconds), at(10 * MINUTE), &there(event_time));
        assert_eq!(life(60, 0), Ok(Life::Partition));
        assert_eq!(life(61, 0), Ok(Life::New(at(61_000))));
        assert_eq!(life(1, 5 * MINUTE), Ok(Life::Partition));
        assert_eq!(Life::of(&GroupInfo::default(), at(MINUTE), &there(5)), Ok(Life::Partition));
    }

    #[test]
    fn a_group_that_is_not_there_is_created_after_its_destruction() {
        let gone = |gone_at| Facts { ended: Facts::destroyed(at(gone_at)).ended, ..there(1_000) };
        let life = |seconds, gone_at| Life::of(&created(seconds), at(10 * MINUTE), &gone(gone_at));
        assert_eq!(life(2, 1_500), Ok(Life::New(at(2_000))));
        assert_eq!(life(2, 2_500), Ok(Life::New(at(2_501))));
        assert_eq!(life(2, 10 * MINUTE - 1), Ok(Life::New(at(10 * MINUTE))));
        // A destruction that is newer than the answer wins.
        assert_eq!(life(2, 10 * MINUTE), Ok(Life::Over));
        assert_eq!(Life::of(&created(7), at(MINUTE), &Facts::default()), Ok(Life::New(at(7_000))));
    }

    #[test]
    fn without_a_usable_create_time_nothing_is_created() {
        let life = |info| Life::of(&info, at(MINUTE), &Facts::default());
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
        let mut known = there(1);
        known.set(fact::NAME, text("a"), at(1));
        known.set(fact::OWNER_ACCOUNT, text("o"), at(1));
        known.set(fact::TYPE, text("Work"), at(1));
        known.set("user_defined.not named", text("stays"), at(1));
        let same = [
            (fact::NAME, "a"),
            (fact::INTRODUCTION, ""),
            (fact::OWNER_ACCOUNT, "o"),
            (fact::TYPE, "Public"),
            ("user_defined.k", ""),
        ];
        assert!(of_group(&info(&same, None), at(9), Life::Partition, &known).is_empty());
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
        assert_eq!(of_group(&info(&other, None), at(9), Life::Partition, &known), expected);
    }

    #[test]
    fn a_new_life_says_all_that_there_is_and_what_is_there_no_more() {
        let mut known = Facts::default();
        known.set(fact::INTRODUCTION, text("later than the creation"), at(8));
        let values =
            [(fact::TYPE, "Work"), (fact::NAME, "a"), (fact::INTRODUCTION, ""), (fact::FACE_URL, "")];
        let info = info(&values, Some(1));
        let mut expected = Facts::present(at(5));
        expected.set(fact::TYPE, text("Work"), at(9));
        expected.set(fact::NAME, text("a"), at(9));
        expected.set(fact::INTRODUCTION, text(""), at(9));
        assert_eq!(of_group(&info, at(9), Life::New(at(5)), &known), expected);
        // Nothing is said before the life began.
        let said = of_group(&info, at(3), Life::New(at(5)), &Facts::default());
        assert_eq!(said.fact(fact::NAME).map(|fact| fact.time), Some(at(5)));
    }

    fn member(role: &str, name_card: &str) -> Member {
        Member { role: text(role), name_card: name_card.to_owned() }
    }

    fn roster(members: &[(&str, Member)]) -> Roster {
        let members: BTreeMap<_, _> =
            members.iter().map(|(account, member)| ((*account).to_owned(), member.clone())).collect();
        Roster { member_num: Some(members.len() as u64), members, is_steady: true }
    }

    fn joined(time: u64, role: &str) -> Facts {
        let mut facts = there(time);
        facts.set(fact::ROLE, text(role), at(time));
        facts
    }

    #[test]
    fn members_are_compared_by_membership_role_and_name_card() {
        let mut carded = joined(3, "Admin");
        carded.set(fact::NAME_CARD, text("card"), at(3));
        let known = BTreeMap::from([
            ("same".to_owned(), joined(3, "Member")),
            ("bare".to_owned(), there(3)),
            ("raised".to_owned(), joined(3, "Member")),
            ("carded".to_owned(), carded),
            ("left".to_owned(), Facts::departed(at(4), None)),
            ("earlier".to_owned(), joined(1, "Admin")),
            ("absent".to_owned(), joined(3, "Member")),
            ("absent, of an earlier life".to_owned(), joined(1, "Member")),
        ]);
        let listed = roster(&[
            ("same", member("Owner", "")),
            ("bare", Member::default()),
            ("raised", member("Admin", "card")),
            // No name card is an empty one; no role is none that is told.
            ("carded", Member::default()),
            ("left", member("Member", "")),
            ("earlier", Member::default()),
            ("new", member("", "card")),
        ]);
        let (said, absent) =
            of_members(&listed, at(9), (Life::Partition, &there(2)), &known).unwrap_or_default();
        let mut raised = Facts::default();
        raised.set(fact::ROLE, text("Admin"), at(9));
        raised.set(fact::NAME_CARD, text("card"), at(9));
        let mut new = there(9);
        new.set(fact::NAME_CARD, text("card"), at(9));
        let mut bare = Facts::default();
        bare.set(fact::NAME_CARD, text(""), at(9));
        let expected = [
            ("raised", raised),
            ("carded", bare),
            ("left", joined(9, "Member")),
            ("earlier", there(9)),
            ("new", new),
        ];
        assert_eq!(said, expected.map(|(account, facts)| (account.to_owned(), Arc::new(facts))).into());
        assert_eq!(absent, ["absent"]);
    }

    #[test]
    fn a_group_is_created_with_all_of_its_members_or_not_at_all() {
        let mut listed = roster(&[("a", member("Member", ""))]);
        listed.member_num = Some(2);
        let of = |listed: &Roster, life| of_members(listed, at(9), (life, &there(2)), &BTreeMap::new());
        assert_eq!(of(&listed, Life::New(at(2))), Err(Unusable::Incomplete));
        assert!(of(&listed, Life::Partition).is_ok_and(|(said, _)| said.len() == 1));
        listed.member_num = Some(1);
        assert!(of(&listed, Life::New(at(2))).is_ok());
        listed.is_steady = false;
        assert_eq!(of(&listed, Life::New(at(2))), Err(Unusable::Incomplete));
        let listed = roster(&[(&"a".repeat(ACCOUNT_MAX_BYTES + 1), Member::default())]);
        assert_eq!(of(&listed, Life::Partition), Err(Unusable::Account));
    }
}
