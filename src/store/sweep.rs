//! Removes what an earlier life of a group left behind.

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    GROUP_SK, ItemKey, MAX_PARALLEL, Partition, Store, chunks, group_after, is_of_earlier_life, item,
    known_after, revision,
};
use crate::event::{Attributes, Event, GroupKey};
use crate::retry::until;

impl Store {
    /// Removes the members of an earlier life that the partition held before the event was written. One that is not
    /// finished is no failure: what is left is out of sight, and the next sweep finds it.
    pub(super) async fn sweep(&self, event: &Event, partition: &Partition, deadline: Instant) {
        let group = group_after(event, partition);
        let leftovers = partition.iter().filter(|(sk, found)| {
            let Some(account) = item::account(sk) else {
                return false;
            };
            let key = ItemKey { group: &event.key, account: Some(account) };
            let said = event.members.get(account).cloned().unwrap_or_default();
            is_of_earlier_life(&known_after(key, Some(found), &said), &group)
        });
        for leftovers in chunks(leftovers.collect(), MAX_PARALLEL) {
            if Instant::now() >= deadline {
                break;
            }
            join_all(leftovers.into_iter().map(|(sk, found)| self.remove(&event.key, sk, found, deadline)))
                .await;
        }
    }

    /// Removes an item if it is still the one that was read.
    async fn remove(&self, group: &GroupKey, sk: &str, found: &Attributes, deadline: Instant) {
        debug_assert_ne!(sk, GROUP_SK);
        let attempt = async || {
            let request = self
                .client
                .delete_item()
                .table_name(&self.table_name)
                .set_key(Some(item::key(&item::partition_key(group), sk)));
            let request = match revision(found) {
                Some(revision) => request
                    .condition_expression("revision = :revision")
                    .expression_attribute_values(":revision", revision.clone()),
                None => request.condition_expression("attribute_not_exists(revision)"),
            };
            request.send().await
        };
        if let Err(error) = until(deadline, attempt).await {
            tracing::debug!(%error, "an item of an earlier life is left");
        }
    }
}
