//! What is known of a group before an event is written, and what the event would change.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{
    Applied, GROUP_SK, ItemKey, Merged, Partition, Store, StoreError, group_after, is_of_earlier_life, item,
    known_after, merge,
};
use crate::event::{Attributes, Event, Facts, GroupKey};

/// The items of a group as they were read.
#[derive(Debug)]
pub(crate) struct Known {
    key: GroupKey,
    partition: Partition,
}

/// What is known of a group by its item.
pub(crate) fn group_facts(key: &GroupKey, item: &Attributes) -> Facts {
    ItemKey { group: key, account: None }.read(item)
}

impl Known {
    /// What is known of the group.
    pub fn group(&self) -> Facts {
        self.partition.get(GROUP_SK).map(|item| group_facts(&self.key, item)).unwrap_or_default()
    }

    /// What is known of each account.
    pub fn members(&self) -> BTreeMap<String, Facts> {
        let members = self.partition.iter().filter_map(|(sk, item)| Some((item::account(sk)?, item)));
        members.map(|(account, item)| (account.to_owned(), self.member_key(account).read(item))).collect()
    }

    /// The part of an event that is news here; the rest of it is known or outdated.
    pub fn news(&self, event: Event) -> Event {
        let after = group_after(&event, &self.partition);
        let is_news = |known: &Facts, said: &Facts| matches!(merge(known, said), Merged::News { .. });
        let known = self.members();
        let none = Facts::default();
        let members = event.members.into_iter().filter(|(account, said)| {
            !is_of_earlier_life(said, &after) && is_news(known.get(account).unwrap_or(&none), said)
        });
        let members = members.collect();
        let group = if is_news(&self.group(), &event.group) { event.group } else { Facts::default() };
        Event { key: event.key, group, members }
    }

    /// Whether items of an earlier life, or of a destroyed group, are left.
    pub fn has_leftovers(&self) -> bool {
        let group = self.group();
        self.members().values().any(|member| is_of_earlier_life(member, &group))
    }

    /// What is known of the group once the event is written.
    pub fn group_after(&self, group: &Facts) -> Facts {
        known_after(ItemKey { group: &self.key, account: None }, self.partition.get(GROUP_SK), group)
    }

    fn member_key<'a>(&'a self, account: &'a str) -> ItemKey<'a> {
        ItemKey { group: &self.key, account: Some(account) }
    }
}

impl Store {
    /// Reads all items of a group.
    pub(crate) async fn known(&self, key: &GroupKey, deadline: Instant) -> Result<Known, StoreError> {
        Ok(Known { key: key.clone(), partition: self.partition(key, deadline).await? })
    }

    /// Writes an event over the items that were read, and removes those of an earlier life.
    pub(crate) async fn settle_over(
        &self,
        event: &Event,
        known: &Known,
        deadline: Instant,
    ) -> Result<Applied, StoreError> {
        let applied = self.write(event, Some(&known.partition), deadline).await?;
        self.sweep(event, &known.partition, deadline).await;
        Ok(Applied { has_leftovers: false, ..applied })
    }
}
