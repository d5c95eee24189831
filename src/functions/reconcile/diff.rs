//! The differences between Chat's answers about a group and the table. No network, no clock.
//!
//! Absent equals empty. The type, and custom fields that Chat does not name, are not compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::chat::{Answer, GroupInfo, Member, Roster};
use crate::event::{ACCOUNT_MAX_BYTES, Facts, MAX_AHEAD, fact, normal_role};
use crate::store::{is_change, is_member, is_of_earlier_life};
use crate::time::EventTime;

/// Answers are dated this long before the question, so that later callbacks win despite clock skew.
const MARGIN: Duration = Duration::from_secs(5);

/// A CreateTime this much after the stored `event_time` means that the group was created again: CreateTime has no
/// milliseconds, and comes from another clock than EventTime.
const SAME_CREATION: Duration = Duration::from_secs(60);

/// A member who left this short a time before the question may still be listed by a server that lags behind.
const RECENTLY: Duration = Duration::from_secs(5 * 60);

/// The time of an answer's facts.
pub(super) fn as_of(asked_at: SystemTime) -> EventTime {
    EventTime::from(asked_at.checked_sub(MARGIN).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// The life of a group that Chat's answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// The one in the table.
    Current,
    /// One that the table lacks, since this time.
    New(EventTime),
    /// One whose destruction is stored, newer than the answer.
    Over,
}

/// Why an answer can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Without it, a group that is not in the table can't be created.
    #[error("CreateTime: expected a time that is not ahead, in seconds since the Unix epoch")]
    CreateTime,
    /// A group is created with all of its members or not at all.
    #[error("MemberList: expected as many members as MemberNum says")]
    Incomplete,
    /// An account has no room in the table's key.
    #[error("Member_Account: expected at most {ACCOUNT_MAX_BYTES} bytes")]
    Account,
}

impl Life {
    /// Compares CreateTime with the stored facts of the group.
    pub(super) fn compare(info: &GroupInfo, as_of: EventTime, stored: &Facts) -> Result<Self, Unusable> {
        let created_at = info.create_time.filter(|seconds| *seconds > 0);
        let created_at = created_at.map(|seconds| EventTime::from_millis(seconds.saturating_mul(1000)));
        if let (Some(event_time), None) = (stored.event_time(), &stored.ended)
            && created_at.is_none_or(|created_at| created_at <= event_time + SAME_CREATION)
        {
            return Ok(Self::Current);
        }
        if stored.ended_at() >= Some(as_of) {
            return Ok(Self::Over);
        }
        let created_at = created_at.filter(|time| *time <= as_of + MARGIN + MAX_AHEAD);
        let created_at = created_at.ok_or(Unusable::CreateTime)?;
        Ok(Self::New(stored.ended_at().map_or(created_at, |ended_at| created_at.max(ended_at.next()))))
    }

    /// The time of an answer's facts about this life: not before it began.
    fn since(self, as_of: EventTime) -> EventTime {
        match self {
            Self::New(created_at) => as_of.max(created_at),
            Self::Current | Self::Over => as_of,
        }
    }
}

/// The group's own facts that differ from the stored ones.
pub(super) fn diff_group(info: &GroupInfo, as_of: EventTime, life: Life, stored: &Facts) -> Facts {
    let time = life.since(as_of);
    let mut incoming = match life {
        // Nothing is known about the creation itself: the details of an earlier life don't stay.
        Life::New(created_at) => Facts::present(created_at),
        Life::Current => Facts::default(),
        Life::Over => return Facts::default(),
    };
    let is_new = matches!(life, Life::New(_));
    for (name, value) in info.values.iter().filter(|(name, _)| is_new || *name != fact::TYPE) {
        if (is_new && !value.is_empty()) || stored.value(name).unwrap_or_default() != value {
            let is_value = name != fact::OWNER_ACCOUNT || !value.is_empty();
            incoming.set(name.clone(), is_value.then(|| value.clone()), time);
        }
    }
    incoming
}

/// A difference that one more question has to confirm.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Doubt {
    /// Chat lists an account that has left only recently.
    Added(Arc<Facts>),
    /// Chat does not list a member, which has been one since this time. Pages that shift may miss somebody.
    Absent(Option<EventTime>),
}

/// The members that differ from the stored ones.
#[derive(Debug, Default, PartialEq)]
pub(super) struct MemberDiff {
    /// The facts to write.
    pub incoming: BTreeMap<String, Arc<Facts>>,
    /// The differences to confirm.
    pub doubts: BTreeMap<String, Doubt>,
    /// Members of an earlier life, with no facts.
    pub leftovers: BTreeMap<String, Arc<Facts>>,
}

/// Compares a list of members with the stored ones, which come page by page.
#[derive(Debug)]
pub(super) struct MemberComparison<'a> {
    /// The group once its own facts are written.
    group: &'a Facts,
    time: EventTime,
    /// The members that were not met in the table yet; none where they are not compared.
    listed: Option<BTreeMap<String, Member>>,
    diff: MemberDiff,
    /// The facts of the last member: most others have the same.
    last: Arc<Facts>,
}

impl<'a> MemberComparison<'a> {
    /// Begins a comparison.
    pub(super) fn new(
        group: &'a Facts,
        life: Life,
        roster: Option<Answer<Roster>>,
    ) -> Result<Self, Unusable> {
        let time = roster.as_ref().map(|roster| life.since(as_of(roster.asked_at)));
        let listed = roster.map(|roster| roster.value.members);
        if listed.iter().flat_map(BTreeMap::keys).any(|account| account.len() > ACCOUNT_MAX_BYTES) {
            return Err(Unusable::Account);
        }
        let time = time.unwrap_or(EventTime::from_millis(0));
        Ok(Self { group, time, listed, diff: MemberDiff::default(), last: Arc::default() })
    }

    /// Compares some stored members.
    pub(super) fn diff_members(&mut self, stored: impl IntoIterator<Item = (String, Facts)>) {
        for (account, stored) in stored {
            let listed = self.listed.as_mut().map(|listed| listed.remove(&account));
            match listed {
                Some(Some(member)) => self.diff_member(account, &stored, member),
                Some(None) if is_member(&stored, self.group) => {
                    self.diff.doubts.insert(account, Doubt::Absent(stored.event_time()));
                }
                _ if is_of_earlier_life(&stored, self.group) => {
                    self.diff.leftovers.insert(account, Arc::default());
                }
                _ => {}
            }
        }
    }

    /// Compares the members that are not stored at all, and ends.
    pub(super) fn finish(mut self) -> MemberDiff {
        let none = Facts::default();
        for (account, member) in self.listed.take().unwrap_or_default() {
            self.diff_member(account, &none, member);
        }
        self.diff
    }

    fn diff_member(&mut self, account: String, stored: &Facts, listed: Member) {
        let is_new = !is_member(stored, self.group);
        let mut incoming = if is_new { Facts::present(self.time) } else { Facts::default() };
        let role = listed.role.map(normal_role).filter(|role| !role.is_empty());
        for (name, value) in [(fact::ROLE, role), (fact::NAME_CARD, Some(listed.name_card))] {
            let stored = if is_new { "" } else { stored.value(name).unwrap_or_default() };
            if let Some(value) = value.filter(|value| value != stored) {
                incoming.set(name, Some(value), self.time);
            }
        }
        if incoming.is_empty() || !is_change(stored, &incoming, self.group) {
            return;
        }
        if incoming != *self.last {
            self.last = Arc::new(incoming);
        }
        let has_left_recently = stored.ended_at().is_some_and(|left_at| left_at + RECENTLY >= self.time);
        if is_new && has_left_recently {
            self.diff.doubts.insert(account, Doubt::Added(Arc::clone(&self.last)));
        } else {
            self.diff.incoming.insert(account, Arc::clone(&self.last));
        }
    }
}
#[cfg(test)]
mod tests {
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
        let life =
            |seconds, event_time| Life::compare(&created(seconds), at(10 * MINUTE), &there(event_time));
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
        let values =
            [(fact::TYPE, "Work"), (fact::NAME, "a"), (fact::INTRODUCTION, ""), (fact::FACE_URL, "")];
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
    fn diff(
        listed: &[(&str, Member)],
        group: &Facts,
        stored: impl IntoIterator<Item = (&'static str, Facts)>,
    ) -> Result<MemberDiff, Unusable> {
        let members: BTreeMap<_, _> =
            listed.iter().map(|(account, member)| ((*account).to_owned(), member.clone())).collect();
        let value = Roster { member_num: Some(members.len() as u64), members, is_snapshot: true };
        let roster = Answer { asked_at: crate::time::from_millis(TIME + 5_000), value };
        let mut comparison = MemberComparison::new(group, Life::Current, Some(roster))?;
        comparison.diff_members(stored.into_iter().map(|(account, facts)| (account.to_owned(), facts)));
        Ok(comparison.finish())
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
        let diff = diff(&listed, &there(2), stored).unwrap_or_default();
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
        let doubts = [
            ("absent", Doubt::Absent(Some(at(3)))),
            ("left just now", Doubt::Added(joined(TIME, "Member").into())),
        ];
        assert_eq!(diff.doubts, doubts.map(|(account, doubt)| (account.to_owned(), doubt)).into());
        let leftovers = ["absent, left in an earlier life", "absent, of an earlier life"];
        assert_eq!(diff.leftovers.into_keys().collect::<Vec<_>>(), leftovers);
    }

    #[test]
    fn members_who_say_the_same_share_it() {
        let listed = [("a", member("Member", "")), ("b", member("Member", ""))];
        let diff = diff(&listed, &there(2), []).unwrap_or_default();
        assert!(Arc::ptr_eq(&diff.incoming["a"], &diff.incoming["b"]));
    }

    #[test]
    fn an_account_that_has_no_room_in_the_key_makes_the_list_unusable() {
        let account = "a".repeat(ACCOUNT_MAX_BYTES + 1);
        let error = diff(&[(&account, Member::default())], &there(2), []).err();
        assert_eq!(error, Some(Unusable::Account));
    }
}
