//! A group's items, to be compared with a list of its members.

use std::mem;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use tokio::time::Instant;

use super::merge::{Merged, is_of_earlier_life, join, merge};
use super::{GROUP_SK, HEDGE_AFTER, Store, StoreError, item, text_of};
use crate::event::{Attributes, Facts, GroupKey};
use crate::retry::{hedged, retry_until};

/// A group and its members, read page by page: whatever its size, it takes the memory of one page.
#[derive(Debug)]
pub(crate) struct Partition {
    /// The group's facts.
    pub group: Facts,
    query: QueryFluentBuilder,
    /// The items of a page that was not taken yet.
    items: Vec<Attributes>,
    /// Where the next page begins.
    start: Option<Attributes>,
}

impl Store {
    /// Reads a group's item and the first of its members, consistently.
    pub(crate) async fn read_partition(
        &self,
        key: &GroupKey,
        deadline: Instant,
    ) -> Result<Partition, StoreError> {
        let query = self.query(key);
        let mut partition = Partition { group: Facts::default(), query, items: Vec::new(), start: None };
        partition.read_page(deadline).await?;
        // The group item comes before those of its members.
        let first = partition.items.first().filter(|item| text_of(item, "sk") == Some(GROUP_SK));
        partition.group = first.map(item::read).unwrap_or_default();
        Ok(partition)
    }
}

impl Partition {
    /// The next members, by their accounts; `None` after the last ones.
    pub(crate) async fn next_members(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<Vec<(String, Facts)>>, StoreError> {
        if self.items.is_empty() && self.start.is_some() {
            self.read_page(deadline).await?;
        }
        let items = mem::take(&mut self.items);
        let member =
            |item: &Attributes| Some((item::account(text_of(item, "sk")?)?.to_owned(), item::read(item)));
        let is_last = items.is_empty() && self.start.is_none();
        Ok((!is_last).then(|| items.iter().filter_map(member).collect()))
    }

    async fn read_page(&mut self, deadline: Instant) -> Result<(), StoreError> {
        let page = || self.query.clone().set_exclusive_start_key(self.start.clone()).send();
        let page = retry_until(deadline, || hedged(HEDGE_AFTER, page)).await?;
        self.items = page.items.unwrap_or_default();
        self.start = page.last_evaluated_key;
        Ok(())
    }

    /// The group's facts once these are written too.
    pub(crate) fn group_after(&self, incoming: &Facts) -> Facts {
        join(&self.group, incoming)
    }
}

/// Whether writing facts about a member of this group, or about the group itself, would change the item.
pub(crate) fn is_change(stored: &Facts, incoming: &Facts, group: &Facts) -> bool {
    !is_of_earlier_life(incoming, group) && matches!(merge(stored, incoming), Merged::Changed { .. })
}
