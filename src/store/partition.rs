//! What is known of a group before an event is written, and what the event would change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::item::{self, GROUP_SK};
use super::merge::{Merged, is_of_earlier_life, join, merge};
use super::{HEDGE_AFTER, Store, StoreError, text_of};
use crate::event::{Attributes, Event, Facts, GroupKey, Members, text};
use crate::retry::{hedged, retry_until};

/// The items of a group as they were read, by their range keys.
#[derive(Debug)]
pub(crate) struct Partition(pub(super) HashMap<String, Attributes>);

impl Partition {
    /// An item as it was read.
    pub(crate) fn item(&self, sk: &str) -> Option<&Attributes> {
        self.0.get(sk)
    }

    /// What is known of the group.
    pub(crate) fn group(&self) -> Facts {
        self.item(GROUP_SK).map(item::read).unwrap_or_default()
    }

    /// What is known of each account.
    pub(crate) fn members(&self) -> BTreeMap<String, Facts> {
        let members = self.0.iter().filter_map(|(sk, item)| Some((item::account(sk)?, item)));
        members.map(|(account, item)| (account.to_owned(), item::read(item))).collect()
    }

    /// What is known of the group once this is said.
    pub(crate) fn group_after(&self, said: &Facts) -> Facts {
        join(&self.group(), said)
    }

    /// The part of an event that is news here; the rest of it is known or outdated.
    pub(crate) fn news(&self, event: Event) -> Event {
        let after = self.group_after(&event.group);
        let is_news = |known: &Facts, said: &Facts| matches!(merge(known, said), Merged::Changed { .. });
        let (known, none) = (self.members(), Facts::default());
        let members = event.members.into_iter().filter(|(account, said)| {
            !is_of_earlier_life(said, &after) && is_news(known.get(account).unwrap_or(&none), said)
        });
        let members = members.collect();
        let group = if is_news(&self.group(), &event.group) { event.group } else { Facts::default() };
        Event { key: event.key, group, members }
    }

    /// The members whose items are of an earlier life, or of a destroyed group, once an event is written.
    pub(crate) fn leftovers(&self, event: &Event) -> Members {
        let group = self.group_after(&event.group);
        let is_left = |(account, facts): &(String, Facts)| {
            let incoming = event.members.get(account);
            let after = incoming.map_or_else(|| facts.clone(), |incoming| join(facts, incoming));
            is_of_earlier_life(&after, &group)
        };
        let leftovers = self.members().into_iter().filter(is_left);
        leftovers.map(|(account, facts)| (account, Arc::new(facts))).collect()
    }
}

impl Store {
    /// The items of one group.
    pub(crate) async fn read_partition(
        &self,
        key: &GroupKey,
        deadline: Instant,
    ) -> Result<Partition, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table_name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(item::partition_key(key)));
        let (mut items, mut start) = (HashMap::new(), None);
        loop {
            let page = || query.clone().set_exclusive_start_key(start.clone()).send();
            let page = retry_until(deadline, || hedged(HEDGE_AFTER, page)).await?;
            let by_sk = page.items.unwrap_or_default().into_iter();
            items.extend(by_sk.filter_map(|item| Some((text_of(&item, "sk")?.to_owned(), item))));
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(Partition(items));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::GroupKey;
    use crate::store::ItemKey;
    use crate::time::EventTime;

    #[test]
    fn what_is_said_of_a_members_earlier_life_is_no_news() {
        let key = GroupKey { sdk_app_id: 1, group_id: "g".to_owned() };
        let there = |millis| Facts::present(EventTime::from_millis(millis));
        let group = ItemKey { group: &key, account: None }.item(&there(10));
        let known = Partition(HashMap::from([(GROUP_SK.to_owned(), group)]));
        let members = [("early", 9), ("ana", 10), ("ben", 11)];
        let members = members.map(|(name, time)| (name.to_owned(), there(time).into()));
        let event = Event { key, group: there(10), members: members.into() };
        let news = known.news(event);
        assert!(news.group.is_empty());
        assert_eq!(news.members.into_keys().collect::<Vec<_>>(), ["ana", "ben"]);
    }
}
