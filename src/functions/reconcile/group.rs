//! One group: what Chat says of it, what differs, and the event that corrects it.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::difference::{Life, Unusable, of_group, of_members, said_at};
use super::pass::{PARALLEL_GROUPS, Pass};
use super::{Correction, ReconcileError};
use crate::chat::{Answer, ChatError, Class, GroupInfo, GroupInfos, Paging, Reason, Roster};
use crate::event::{AV_CHAT_ROOM, Event, Facts, GroupKey, name};
use crate::log::causes;
use crate::store::{Effect, Known, Listed, StoreError};
use crate::time::EventTime;

/// What Chat calls the role of an account that is no member.
const NOT_MEMBER: &str = "NotMember";

/// The most custom fields that are asked for; an application has no more than ten.
const CUSTOM_FIELDS_MAX: usize = 50;

/// Why a group was not compared.
enum Trouble {
    /// It concerns this group alone.
    Skip(String),
    /// It concerns all.
    Stop(ReconcileError),
}

impl From<ChatError> for Trouble {
    fn from(error: ChatError) -> Self {
        // 10007, asked about a group, may say that its type has no list of members.
        let is_of_group = matches!(&error.reason, Reason::Refused(refusal) if refusal.code == 10007);
        match error.class() == Class::Settings && !is_of_group {
            true => Self::Stop(error.into()),
            false => Self::Skip(causes(&error)),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Stop(error.into())
    }
}

impl From<Unusable> for Trouble {
    fn from(error: Unusable) -> Self {
        Self::Skip(error.to_string())
    }
}

impl Pass<'_> {
    /// Compares groups with what Chat says of them. A question that is refused for good is asked in halves: one id that
    /// Chat can't read must not hold up the others.
    pub(super) async fn check(&self, groups: Vec<Listed>) -> Result<(), ReconcileError> {
        let mut parts = vec![groups];
        while let Some(mut groups) = parts.pop() {
            let ids: Vec<&str> = groups.iter().map(|group| group.key.group_id.as_str()).collect();
            let names = groups.iter().flat_map(|group| group.facts.values.keys());
            let custom = names.filter_map(|name| name.strip_prefix(name::USER_DEFINED)).map(str::to_owned);
            let custom = self.custom_fields(custom);
            match self.infos(&ids, &custom).await {
                Ok(infos) => self.check_all(groups, infos).await?,
                Err(error) if error.class() == Class::Other && groups.len() > 1 => {
                    parts.push(groups.split_off(groups.len() / 2));
                    parts.push(groups);
                }
                Err(error) if error.class() == Class::Other => {
                    ids.into_iter().for_each(|group_id| self.skip(group_id, &causes(&error)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn check_all(&self, groups: Vec<Listed>, infos: Answer<GroupInfos>) -> Result<(), ReconcileError> {
        let Answer { asked_at, value: mut infos } = infos;
        let said_at = said_at(asked_at);
        let work = groups.into_iter().map(|group| {
            let info = infos.remove(&group.key.group_id);
            self.check_group(group, info, said_at)
        });
        let work: Vec<_> = work.collect();
        let mut done = stream::iter(work).buffer_unordered(PARALLEL_GROUPS);
        while let Some(count) = done.try_next().await? {
            self.checked(count);
        }
        Ok(())
    }

    async fn infos(&self, ids: &[&str], custom: &[String]) -> Result<Answer<GroupInfos>, ChatError> {
        let chat = &self.reconcile.chat;
        let custom: Vec<&str> = custom.iter().map(String::as_str).take(CUSTOM_FIELDS_MAX).collect();
        match chat.group_infos(ids, &custom, self.deadline()).await {
            // Perhaps a custom field was taken away from the application.
            Err(error) if error.class() == Class::Other && !custom.is_empty() => {
                chat.group_infos(ids, &[], self.deadline()).await
            }
            infos => infos,
        }
    }

    /// Compares one group; 1 if it could be compared.
    async fn check_group(
        &self,
        group: Listed,
        info: Option<Result<GroupInfo, ChatError>>,
        said_at: EventTime,
    ) -> Result<u64, ReconcileError> {
        let group_id = group.key.group_id.clone();
        let result = match info {
            Some(Ok(info)) => self.compare(group, &info, said_at).await,
            Some(Err(error)) if error.class() == Class::Gone => {
                if group.is_there() {
                    self.gone(group_id.clone(), said_at.as_millis());
                }
                Ok(())
            }
            Some(Err(error)) => Err(Trouble::Skip(causes(&error))),
            None => Err(Trouble::Skip("no answer".to_owned())),
        };
        match result {
            Ok(()) => Ok(1),
            Err(Trouble::Skip(error)) => {
                self.skip(&group_id, &error);
                Ok(0)
            }
            Err(Trouble::Stop(error)) => Err(error),
        }
    }

    /// Looks closer at a group that is new, differs or has its turn.
    async fn compare(&self, group: Listed, info: &GroupInfo, said_at: EventTime) -> Result<(), Trouble> {
        let life = Life::of(info, said_at, &group.facts)?;
        let said = of_group(info, said_at, life, &group.facts);
        let group_type = info.group_type.as_deref().or(group.facts.value(name::TYPE)).unwrap_or_default();
        let is_turn = self.is_turn_of(&group.key.group_id);
        if life == Life::Over || (said.is_empty() && (!is_turn || group_type == AV_CHAT_ROOM)) {
            return Ok(());
        }
        let roster = match group_type {
            AV_CHAT_ROOM => None,
            _ => Some(self.members(&group.key, group_type).await?),
        };
        let known = self.reconcile.store.known(&group.key, self.deadline()).await?;
        let event = self.difference(group.key, (info, said_at), roster, &known).await?;
        Ok(self.write(event, &known).await?)
    }

    async fn members(&self, key: &GroupKey, group_type: &str) -> Result<Answer<Roster>, ChatError> {
        self.reconcile.chat.members(&key.group_id, Paging::of(group_type), self.deadline()).await
    }

    /// What differs from the items as they are by now.
    async fn difference(
        &self,
        key: GroupKey,
        (info, said_at): (&GroupInfo, EventTime),
        roster: Option<Answer<Roster>>,
        known: &Known,
    ) -> Result<Event, Trouble> {
        let known_group = known.group();
        let life = Life::of(info, said_at, &known_group)?;
        let mut event =
            Event { key, group: of_group(info, said_at, life, &known_group), members: BTreeMap::new() };
        if let Some(Answer { asked_at, value: roster }) = roster
            && life != Life::Over
        {
            let after = known.group_after(&event.group);
            let listed_at = super::difference::said_at(asked_at);
            let (said, absent) = of_members(&roster, listed_at, (life, &after), &known.members())?;
            event.members = said;
            event.members.extend(self.left(&event.key, &absent).await?);
        }
        Ok(event)
    }

    /// Those of the accounts that are no members, which takes a question of its own: pages that shift may miss one.
    async fn left(&self, key: &GroupKey, absent: &[String]) -> Result<BTreeMap<String, Facts>, ChatError> {
        if absent.is_empty() {
            return Ok(BTreeMap::new());
        }
        let accounts: Vec<&str> = absent.iter().map(String::as_str).collect();
        let roles = self.reconcile.chat.roles(&key.group_id, &accounts, self.deadline()).await?;
        let time = said_at(roles.asked_at);
        let left = roles.value.into_iter().filter(|(_, role)| role == NOT_MEMBER);
        Ok(left.map(|(account, _)| (account, Facts::left(time))).collect())
    }

    /// Writes what is news of an event.
    async fn write(&self, event: Event, known: &Known) -> Result<(), StoreError> {
        let (dry_run, store) = (self.request.dry_run, &self.reconcile.store);
        let event = known.news(event);
        let has_work = !event.is_empty() || !known.leftovers(&event).is_empty();
        let is_written = match dry_run || !has_work {
            true => !event.is_empty(),
            false => {
                let applied = store.settle_over(&event, known, self.deadline()).await?;
                matches!(applied.effect, Effect::Stored | Effect::Replaced)
            }
        };
        if is_written {
            self.correct(&Correction::new(event, dry_run));
        }
        Ok(())
    }

    /// Those groups that Chat calls gone again, as of the first time.
    pub(super) async fn still_gone(
        &self,
        gone: &BTreeMap<String, u64>,
    ) -> Result<Vec<Event>, ReconcileError> {
        let ids: Vec<&str> = gone.keys().map(String::as_str).collect();
        let mut events = Vec::new();
        for ids in ids.chunks(super::pass::CHUNK) {
            let infos = self.infos(ids, &[]).await?.value;
            for (group_id, info) in infos {
                match info {
                    Err(error) if error.class() == Class::Gone => {
                        let time = gone.get(&group_id).copied().map(EventTime::from_millis);
                        let group = Facts { gone_at: time, ..Facts::default() };
                        let key = GroupKey { sdk_app_id: self.reconcile.sdk_app_id, group_id };
                        events.push(Event { key, group, members: BTreeMap::new() });
                    }
                    Err(error) => self.skip(&group_id, &causes(&error)),
                    Ok(_) => {}
                }
            }
        }
        Ok(events)
    }

    /// Destroys a group.
    pub(super) async fn destroy(&self, event: Event) -> Result<(), StoreError> {
        let known = self.reconcile.store.known(&event.key, self.deadline()).await?;
        self.write(event, &known).await
    }
}
