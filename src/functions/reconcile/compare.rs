//! One group: compared with Chat's answers, and corrected.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::diff::{Life, MemberDiff, Unusable, diff_group};
use super::{Correction, Reconcile, ReconcileError, ReconcileRequest};
use crate::chat::{Answer, BoundedChat, ChatError, GroupInfo, NOT_MEMBER, Paging, Roster};
use crate::event::{Event, Facts, GroupKey, Members, is_av_chat_room};
use crate::store::{Effect, Listed, StoreError, is_change};
use crate::time::EventTime;

/// How often the members of a new group are listed at most.
const LISTS_MAX: usize = 4;

/// How many members are in memory at once, save for a group that has more.
pub(super) const MEMBERS_MAX: u32 = 20_000;

/// How long the table may take for one request, or for an event, and how much longer for each of its members: a partition
/// takes a thousand writes a second at best.
const TABLE_BUDGET: Duration = Duration::from_secs(40);
const MEMBER_BUDGET: Duration = Duration::from_millis(10);

/// How long a write may go on at least, though the call's time is over, so that it is told of.
const WRITE_GRACE: Duration = Duration::from_secs(5);

/// The fixed part of one call: compares groups, several at once, until its time is over.
pub(super) struct Comparer<'a> {
    pub reconcile: &'a Reconcile,
    pub request: &'a ReconcileRequest,
    pub chat: BoundedChat<'a>,
    /// When the call's time is over: whatever is under way then is cut off.
    pub end: Instant,
    members: Semaphore,
}

/// The result of comparing a group. One with an error may have been corrected in part.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub correction: Option<Correction>,
    pub error: Option<ReconcileError>,
}

impl<'a> Comparer<'a> {
    pub(super) fn new(reconcile: &'a Reconcile, request: &'a ReconcileRequest, end: Instant) -> Self {
        let members = Semaphore::new(MEMBERS_MAX as usize);
        Self { reconcile, request, chat: reconcile.chat.until(end), end, members }
    }

    /// When one request to the table must have been answered.
    pub(super) fn deadline(&self) -> Instant {
        (Instant::now() + TABLE_BUDGET).min(self.end)
    }

    /// Fails once the call's time is over: nothing is begun after that.
    pub(super) fn check_time(&self) -> Result<(), ReconcileError> {
        if Instant::now() >= self.end { Err(ReconcileError::OutOfTime) } else { Ok(()) }
    }

    /// Compares a group, and corrects it.
    pub(super) async fn compare(
        &self,
        group: &Listed,
        info: &GroupInfo,
        as_of: EventTime,
        is_due: bool,
    ) -> Compared {
        let compared = self.look_closer(group, info, as_of, is_due).await;
        compared.unwrap_or_else(|error| Compared { error: Some(error), ..Compared::default() })
    }

    /// Lists the members of a group that is new, differs or is due, and corrects it.
    async fn look_closer(
        &self,
        Listed { key, facts, .. }: &Listed,
        info: &GroupInfo,
        as_of: EventTime,
        is_due: bool,
    ) -> Result<Compared, ReconcileError> {
        let life = Life::compare(info, as_of, facts)?;
        let has_members = !is_av_chat_room(info.group_type());
        let is_same = diff_group(info, as_of, life, facts).is_empty();
        if life == Life::Over || (is_same && !(has_members && is_due)) {
            return Ok(Compared::default());
        }
        // Wait until there is memory for so many members more.
        let members = u32::try_from(info.member_num.unwrap_or_default()).unwrap_or(u32::MAX);
        let members = if has_members { members.clamp(1, MEMBERS_MAX) } else { 1 };
        let _memory = self.members.acquire_many(members).await.ok();
        self.check_time()?;
        let roster = if has_members { Some(self.list_members(key, info, life).await?) } else { None };
        self.correct(key, info, as_of, roster).await
    }

    /// Compares the answers with the items as they are by now, and writes the differences.
    async fn correct(
        &self,
        key: &GroupKey,
        info: &GroupInfo,
        as_of: EventTime,
        roster: Option<Answer<Roster>>,
    ) -> Result<Compared, ReconcileError> {
        let mut partition = self.reconcile.store.read_partition(key, self.deadline()).await?;
        let life = Life::compare(info, as_of, &partition.group)?;
        let mut group = diff_group(info, as_of, life, &partition.group);
        if life == Life::Over {
            return Ok(Compared::default());
        }
        if !is_change(&partition.group, &group, &Facts::default()) {
            group = Facts::default();
        }
        let after = partition.group_after(&group);
        let mut diff = MemberDiff::new(&after, life, roster)?;
        while let Some(members) = partition.next_members(self.deadline()).await? {
            diff.compare(members);
        }
        diff.compare_rest();
        let MemberDiff { incoming: mut members, doubtful, leftovers, .. } = diff;
        let error = self.confirm(key, doubtful, &mut members).await.err().map(ReconcileError::from);
        match error {
            // A new group is created with all of its members or not at all.
            Some(error) if matches!(life, Life::New(_)) => Err(error),
            error => {
                let event = Event { key: key.clone(), group, members };
                Ok(Compared { correction: self.write(event, leftovers).await?, error })
            }
        }
    }

    /// The members of a group. Pages are no snapshot, and a new group must miss nobody: it is listed again until one page,
    /// or two lists together, hold as many members as Chat counts. About an account that only one of two lists names, Chat
    /// is asked once more. While members come and go, lists may lack as many as they disagree about: each of those has a
    /// callback of its own, which is newer.
    async fn list_members(
        &self,
        key: &GroupKey,
        info: &GroupInfo,
        life: Life,
    ) -> Result<Answer<Roster>, ReconcileError> {
        let paging = Paging::of(info.group_type());
        let list = async || self.chat.members(&key.group_id, paging).await;
        let mut roster = list().await?;
        if !matches!(life, Life::New(_)) {
            return Ok(roster);
        }
        for _ in 1..LISTS_MAX {
            if roster.value.members.is_empty() {
                roster.value.member_num = roster.value.member_num.max(info.member_num);
            }
            if roster.value.is_snapshot && roster.value.missing() == 0 {
                return Ok(roster);
            }
            let again = list().await?.value;
            let disputed = self.settle_disputed(key, &mut roster.value, again).await?;
            if roster.value.missing() <= disputed && !roster.value.members.is_empty() {
                return Ok(roster);
            }
        }
        Err(Unusable::Incomplete.into())
    }

    /// Unites a list of members with another one, without those of whom Chat says that they are none. Returns the number
    /// of accounts that only one of them names.
    async fn settle_disputed(
        &self,
        key: &GroupKey,
        roster: &mut Roster,
        again: Roster,
    ) -> Result<u64, ReconcileError> {
        let (first, second): (BTreeSet<_>, BTreeSet<_>) =
            (roster.members.keys().collect(), again.members.keys().collect());
        let disputed: Vec<String> = first.symmetric_difference(&second).map(|id| (*id).clone()).collect();
        let accounts: Vec<&str> = disputed.iter().map(String::as_str).collect();
        let roles = self.chat.roles(&key.group_id, &accounts).await?.value;
        roster.members.extend(again.members);
        roster.member_num = roster.member_num.min(again.member_num).or(again.member_num);
        for (account, role) in roles {
            if role? == NOT_MEMBER {
                roster.members.remove(&account);
            }
        }
        Ok(disputed.len() as u64)
    }

    /// Adds the doubtful differences that Chat confirms. An account without an answer is left as it is; the last error of
    /// those is returned.
    async fn confirm(
        &self,
        key: &GroupKey,
        mut doubtful: Members,
        confirmed: &mut Members,
    ) -> Result<(), ChatError> {
        if doubtful.is_empty() {
            return Ok(());
        }
        let accounts: Vec<&str> = doubtful.keys().map(String::as_str).collect();
        let roles = self.chat.roles(&key.group_id, &accounts).await?.value;
        let mut result = Ok(());
        for (account, role) in roles {
            match (role, doubtful.remove(&account)) {
                (Ok(role), Some(facts)) if (role == NOT_MEMBER) == facts.ended.is_some() => {
                    confirmed.insert(account, facts);
                }
                (Err(error), _) => result = Err(error),
                (Ok(_), _) => {}
            }
        }
        result
    }

    /// Writes an event, and sweeps these leftovers and those of a life that has ended.
    pub(super) async fn write(
        &self,
        event: Event,
        leftovers: Members,
    ) -> Result<Option<Correction>, StoreError> {
        let members = u32::try_from(event.members.len() + leftovers.len()).unwrap_or(u32::MAX);
        let budget = TABLE_BUDGET.saturating_add(MEMBER_BUDGET.saturating_mul(members));
        let now = Instant::now();
        let deadline = (now + budget).min(self.end).max(self.end.min(now) + WRITE_GRACE);
        let leftovers = Event { key: event.key.clone(), group: Facts::default(), members: leftovers };
        let mut is_changed = !event.is_empty();
        if !self.request.dry_run && is_changed {
            let applied = self.reconcile.store.apply(&event, deadline).await?;
            is_changed = matches!(applied.effect, Effect::Stored | Effect::Replaced);
            if applied.has_leftovers {
                self.reconcile.store.sweep(&event, deadline).await?;
            }
        }
        if !self.request.dry_run && !leftovers.members.is_empty() {
            self.reconcile.store.sweep(&leftovers, deadline).await?;
        }
        Ok(is_changed.then(|| Correction::new(event, self.request.dry_run)))
    }
}
