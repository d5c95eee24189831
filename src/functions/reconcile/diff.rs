//! The differences between Chat's answers about a group and the table. No network, no clock.
//!
//! Absent equals empty. The type, and custom fields that Chat does not name, are not compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::chat::{Answer, GroupInfo, Member, Roster};
use crate::event::{ACCOUNT_MAX_BYTES, Facts, MAX_AHEAD, Members, fact, normal_role};
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
#[expect(missing_docs, reason = "the messages say it")]
pub enum Unusable {
    /// Without it, a group that is not in the table can't be created.
    #[error("CreateTime: expected a time that is not ahead, in seconds since the Unix epoch")]
    CreateTime,
    /// A group is created with all of its members or not at all.
    #[error("MemberList: expected as many members as MemberNum says")]
    Incomplete,
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

/// The members that differ from the stored ones, which come page by page.
#[derive(Debug)]
pub(super) struct MemberDiff<'a> {
    /// The facts to write.
    pub incoming: Members,
    /// The facts to write once another question has confirmed them. Pages that shift may miss a member; and an account that
    /// has left only recently may still be listed by a server that lags behind.
    pub doubtful: Members,
    /// Members of an earlier life, with no facts.
    pub leftovers: Members,
    /// The group once its own facts are written.
    group: &'a Facts,
    time: EventTime,
    /// The listed members that were not met in the table yet; none where they are not compared.
    listed: Option<BTreeMap<String, Member>>,
    /// The facts of the last member: most others have the same.
    last: Arc<Facts>,
    departed: Arc<Facts>,
}

impl<'a> MemberDiff<'a> {
    /// Begins a comparison.
    pub(super) fn new(
        group: &'a Facts,
        life: Life,
        roster: Option<Answer<Roster>>,
    ) -> Result<Self, Unusable> {
        let time = roster.as_ref().map_or(EventTime::default(), |roster| life.since(as_of(roster.asked_at)));
        let listed = roster.map(|roster| roster.value.members);
        if listed.iter().flat_map(BTreeMap::keys).any(|account| account.len() > ACCOUNT_MAX_BYTES) {
            return Err(Unusable::Account);
        }
        let (incoming, doubtful, leftovers) = Default::default();
        let (last, departed) = (Arc::default(), Facts::departed(time, None).into());
        Ok(Self { incoming, doubtful, leftovers, group, time, listed, last, departed })
    }

    /// Compares some stored members.
    pub(super) fn compare(&mut self, stored: impl IntoIterator<Item = (String, Facts)>) {
        for (account, stored) in stored {
            let listed = self.listed.as_mut().map(|listed| listed.remove(&account));
            match listed {
                Some(Some(member)) => self.compare_listed(account, &stored, member),
                _ if is_of_earlier_life(&stored, self.group) => {
                    self.leftovers.insert(account, Arc::default());
                }
                Some(None)
                    if is_member(&stored, self.group) && is_change(&stored, &self.departed, self.group) =>
                {
                    self.doubtful.insert(account, Arc::clone(&self.departed));
                }
                _ => {}
            }
        }
    }

    /// Compares the listed members that are not stored at all.
    pub(super) fn compare_rest(&mut self) {
        for (account, member) in self.listed.take().unwrap_or_default() {
            self.compare_listed(account, &Facts::default(), member);
        }
    }

    fn compare_listed(&mut self, account: String, stored: &Facts, listed: Member) {
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
        let members = if is_new && has_left_recently { &mut self.doubtful } else { &mut self.incoming };
        members.insert(account, Arc::clone(&self.last));
    }
}

#[cfg(test)]
mod tests;
