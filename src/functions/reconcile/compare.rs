//! One group: compared with Chat's answers, and corrected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::diff::{Doubt, Life, MemberComparison, MemberDiff, Unusable, as_of, diff_group};
use super::pass::Pass;
use super::{Correction, ReconcileError};
use crate::chat::{Answer, ChatError, Class, GroupInfo, NOT_MEMBER, Paging, Roster};
use crate::event::{Event, Facts, GroupKey, is_av_chat_room};
use crate::store::{Effect, Listed, StoreError, is_change};
use crate::time::EventTime;

/// How often the members of a new group are listed at most.
const LISTS_MAX: usize = 4;

/// The result of comparing a group.
#[derive(Debug)]
pub(super) enum Compared {
    /// Nothing differs.
    Same,
    /// Something differed.
    Corrected(Correction),
    /// Chat knows no such group, as of this time.
    Gone(EventTime),
    /// It could not be compared, or not as a whole.
    Skipped(Option<Correction>, ReconcileError),
}

impl Pass<'_> {
    /// Compares a group, and corrects it. An error concerns the whole pass.
    pub(super) async fn compare(
        &self,
        group: &Listed,
        info: Result<GroupInfo, ChatError>,
        as_of: EventTime,
        is_due: bool,
    ) -> Result<Compared, ReconcileError> {
        let compared = match info {
            Ok(info) => self.compare_info(group, &info, as_of, is_due).await,
            Err(error) if error.class() == Class::NotFound => return Ok(Compared::Gone(as_of)),
            Err(error) => return Ok(Compared::Skipped(None, error.into())),
        };
        compared.or_else(|error| match error.is_of_one_group() {
            true => Ok(Compared::Skipped(None, error)),
            false => Err(error),
        })
    }

    /// Looks closer at a group that is new, differs or is due.
    async fn compare_info(
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
            return Ok(Compared::Same);
        }
        let members = if has_members { info.member_num.unwrap_or_default() } else { 0 };
        let _memory = self.reserve_members(members).await;
        self.check_time()?;
        let roster = match has_members {
            true => Some(self.list_members(key, info, life).await?),
            false => None,
        };
        self.correct(key.clone(), info, as_of, roster).await
    }

    /// Compares the answers with the items as they are by now, and writes the differences.
    async fn correct(
        &self,
        key: GroupKey,
        info: &GroupInfo,
        as_of: EventTime,
        roster: Option<Answer<Roster>>,
    ) -> Result<Compared, ReconcileError> {
        let deadline = self.table_deadline(roster.as_ref().map_or(0, |roster| roster.value.members.len()));
        let mut partition = self.store().read_partition(&key, deadline).await?;
        let life = Life::compare(info, as_of, &partition.group)?;
        if life == Life::Over {
            return Ok(Compared::Same);
        }
        let mut group = diff_group(info, as_of, life, &partition.group);
        if !is_change(&partition.group, &group, &Facts::default()) {
            group = Facts::default();
        }
        let after = partition.group_after(&group);
        let mut comparison = MemberComparison::new(&after, life, roster)?;
        while let Some(members) = partition.next_members(deadline).await? {
            comparison.diff_members(members);
        }
        let MemberDiff { incoming: members, doubts, leftovers } = comparison.finish();
        let mut event = Event { key, group, members };
        let error = self.resolve(&mut event, doubts).await.map(ReconcileError::from);
        match error {
            // A new group is created with all of its members or not at all.
            Some(error) if matches!(life, Life::New(_)) || !error.is_of_one_group() => Err(error),
            Some(error) => Ok(Compared::Skipped(self.write(event, leftovers).await?, error)),
            None => Ok(self.write(event, leftovers).await?.map_or(Compared::Same, Compared::Corrected)),
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

    /// Adds to an event the doubtful differences that Chat confirms. An account without an answer is left as it is; the
    /// last error of those is returned.
    async fn resolve(&self, event: &mut Event, mut doubts: BTreeMap<String, Doubt>) -> Option<ChatError> {
        if doubts.is_empty() {
            return None;
        }
        let accounts: Vec<&str> = doubts.keys().map(String::as_str).collect();
        let Answer { asked_at, value: roles } = match self.chat.roles(&event.key.group_id, &accounts).await {
            Ok(roles) => roles,
            Err(error) => return Some(error),
        };
        let departed = Arc::new(Facts::departed(as_of(asked_at), None));
        let mut last_error = None;
        for (account, role) in roles {
            let Some(doubt) = doubts.remove(&account) else { continue };
            let is_member = match role {
                Ok(role) => role != NOT_MEMBER,
                Err(error) => {
                    last_error = Some(error);
                    continue;
                }
            };
            match doubt {
                Doubt::Added(facts) if is_member => event.members.insert(account, facts),
                Doubt::Absent(since) if !is_member && departed.ended_at() >= since => {
                    event.members.insert(account, Arc::clone(&departed))
                }
                _ => None,
            };
        }
        last_error
    }

    /// Writes an event, and sweeps these leftovers and those of a life that has ended.
    pub(super) async fn write(
        &self,
        event: Event,
        leftovers: BTreeMap<String, Arc<Facts>>,
    ) -> Result<Option<Correction>, StoreError> {
        let dry_run = self.request.dry_run;
        let deadline = self.write_deadline(event.members.len() + leftovers.len());
        let mut is_changed = !event.is_empty();
        if !dry_run && is_changed {
            let applied = self.store().apply(&event, deadline).await?;
            is_changed = matches!(applied.effect, Effect::Stored | Effect::Replaced);
            if applied.has_leftovers {
                self.store().sweep(&event, deadline).await?;
            }
        }
        if !dry_run && !leftovers.is_empty() {
            let swept = Event { key: event.key.clone(), group: Facts::default(), members: leftovers };
            self.store().sweep(&swept, deadline).await?;
        }
        Ok(is_changed.then(|| Correction::new(event, dry_run)))
    }
}
