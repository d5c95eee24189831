//! One group: what Chat says of it, what differs, and the event that corrects it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::diff::{Life, Unusable, as_of, of_group, of_members};
use super::pass::{PARALLEL_GROUPS, Pass, State};
use super::{Correction, ReconcileError};
use crate::chat::{Answer, ChatError, Class, GroupInfo, Paging, Roster};
use crate::event::{Event, Facts, GroupKey, fact, is_av_chat_room};
use crate::store::{Effect, Listed, Partition, StoreError};
use crate::time::EventTime;

/// What Chat calls the role of an account that is no member.
const NOT_MEMBER: &str = "NotMember";

/// How often the members of a new group are listed.
const LISTS_MAX: usize = 4;

impl Pass<'_> {
    /// Compares groups with what Chat says of them.
    pub(super) async fn check(&self, groups: Vec<Listed>) -> Result<(), ReconcileError> {
        let ids: Vec<&str> = groups.iter().map(Listed::group_id).collect();
        let custom = self.custom_fields(&groups);
        let infos = self.reconcile.chat.group_infos(&ids, custom.as_ref(), self.time.end).await?;
        let (as_of, mut infos) = (as_of(infos.asked_at), infos.value);
        let work = groups.into_iter().filter_map(|group| {
            let info = infos.remove(&group.key.group_id)?;
            Some(self.check_group(group, info, as_of))
        });
        let work: Vec<_> = work.collect();
        self.drain(stream::iter(work).buffer_unordered(PARALLEL_GROUPS), |()| {}).await
    }

    /// The custom fields to ask for: those that the table has shown. All of them, if none of these groups is there or
    /// none has shown any.
    fn custom_fields(&self, groups: &[Listed]) -> Option<BTreeSet<String>> {
        let names = groups.iter().flat_map(|group| group.facts.values.keys());
        let names = names.filter_map(|name| name.strip_prefix(fact::USER_DEFINED)).map(str::to_owned);
        let known = self.with(|state| {
            state.custom_fields.extend(names);
            state.custom_fields.clone()
        });
        Some(known).filter(|known| !known.is_empty() && groups.iter().any(Listed::is_there))
    }

    /// Compares one group, or skips it.
    async fn check_group(
        &self,
        group: Listed,
        info: Result<GroupInfo, ChatError>,
        as_of: EventTime,
    ) -> Result<(), ReconcileError> {
        let group_id = group.key.group_id.clone();
        match info {
            Ok(info) => match self.compare(group, &info, as_of).await {
                Ok(()) => self.checked(),
                Err(error) if error.is_of_group() && !self.is_cut_off(&error) => self.skip(&group_id, &error),
                Err(error) => return Err(error),
            },
            Err(error) if error.class() == Class::Gone => {
                if group.is_there() {
                    let allow_destroy = self.request.allow_destroy;
                    self.with(|State { place, .. }| {
                        // Where all are destroyed, they are soon: the place has room for so many more.
                        let is_counted = place.is_full() && !allow_destroy;
                        place.note_gone(group_id, as_of, is_counted);
                    });
                }
                self.checked();
            }
            Err(error) => self.skip(&group_id, &error),
        }
        Ok(())
    }

    /// Looks closer at a group that is new, differs or has its turn.
    async fn compare(&self, group: Listed, info: &GroupInfo, as_of: EventTime) -> Result<(), ReconcileError> {
        let Listed { key, facts } = group;
        let life = Life::of(info, as_of, &facts)?;
        let has_members = !is_av_chat_room(info.group_type());
        let is_turn = self.with(|state| state.place.is_turn_of(&key.group_id));
        let is_same = of_group(info, as_of, life, &facts).is_empty();
        if life == Life::Over || (is_same && !(has_members && is_turn)) {
            return Ok(());
        }
        let members = if has_members { info.member_num.unwrap_or_default() } else { 0 };
        let _room = self.room(members).await;
        self.begin()?;
        let roster = if has_members { Some(self.list(&key, info, life).await?) } else { None };
        let known = self.reconcile.store.read_partition(&key, self.deadline(members)).await?;
        let (mut event, absent) = difference(key, (info, as_of), roster, &known)?;
        let (left, error) = self.left(&event.key, &absent).await;
        event.members.extend(left.into_iter().map(|(account, facts)| (account, Arc::new(facts))));
        self.write(event, &known).await?;
        error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The members of a group. Pages are no snapshot: those of a new group, which must miss nobody, are listed until a list
    /// names as many as there are, on one page or on the same pages as the list before it.
    async fn list(&self, key: &GroupKey, info: &GroupInfo, life: Life) -> Result<Answer<Roster>, ChatError> {
        let paging = Paging::of(info.group_type());
        let list = async || self.reconcile.chat.members(&key.group_id, paging, self.time.end).await;
        let mut roster = list().await?;
        for _ in 1..LISTS_MAX {
            let is_sure = roster.value.is_steady && roster.value.is_complete();
            if is_sure || !matches!(life, Life::New(_)) {
                break;
            }
            let mut again = list().await?;
            again.value.is_steady |= again.value.members.keys().eq(roster.value.members.keys());
            roster = again;
        }
        if roster.value.members.is_empty() {
            // Somebody may have left since the number was told, but not everybody.
            roster.value.member_num = roster.value.member_num.max(info.member_num);
        }
        Ok(roster)
    }

    /// Those of the accounts that are no members, which takes a question of its own: pages that shift may miss one. An
    /// account of which Chat says nothing is not among them.
    async fn left(&self, key: &GroupKey, absent: &[String]) -> (BTreeMap<String, Facts>, Option<ChatError>) {
        let accounts: Vec<&str> = absent.iter().map(String::as_str).collect();
        let roles = match self.reconcile.chat.roles(&key.group_id, &accounts, self.time.end).await {
            Ok(roles) => roles,
            Err(error) => return (BTreeMap::new(), Some(error)),
        };
        let time = as_of(roles.asked_at);
        let (mut left, mut error) = (BTreeMap::new(), None);
        for (account, role) in roles.value {
            match role {
                Ok(role) if role == NOT_MEMBER => drop(left.insert(account, Facts::departed(time, None))),
                Ok(_) => {}
                Err(unsaid) => error = Some(unsaid),
            }
        }
        (left, error)
    }

    /// Writes what is news of an event.
    pub(super) async fn write(&self, event: Event, known: &Partition) -> Result<(), StoreError> {
        let (dry_run, store) = (self.request.dry_run, &self.reconcile.store);
        let event = known.news(event);
        let has_work = !event.is_empty() || !known.leftovers(&event).is_empty();
        let is_written = match dry_run || !has_work {
            true => !event.is_empty(),
            false => {
                let deadline = self.deadline(event.members.len() as u64);
                let applied = store.apply(&event, deadline).await?;
                let members = known.leftovers(&event);
                if applied.has_leftovers || !members.is_empty() {
                    let leftovers = Event { key: event.key.clone(), group: Facts::default(), members };
                    store.sweep(&leftovers, deadline).await?;
                }
                matches!(applied.effect, Effect::Stored | Effect::Replaced)
            }
        };
        if is_written {
            self.correct(&Correction::new(event, dry_run));
        }
        Ok(())
    }
}

/// What differs from the items as they are by now, and the members that Chat did not list.
fn difference(
    key: GroupKey,
    (info, as_of): (&GroupInfo, EventTime),
    roster: Option<Answer<Roster>>,
    known: &Partition,
) -> Result<(Event, Vec<String>), Unusable> {
    let known_group = known.group();
    let life = Life::of(info, as_of, &known_group)?;
    let group = of_group(info, as_of, life, &known_group);
    let (members, absent) = match roster.filter(|_| life != Life::Over) {
        Some(Answer { asked_at, value: roster }) => {
            let after = known.group_after(&group);
            of_members(&roster, super::diff::as_of(asked_at), (life, &after), &known.members())?
        }
        None => Default::default(),
    };
    Ok((Event { key, group, members }, absent))
}
