//! Removes what an earlier life of a group left downstream.

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Known, MAX_PARALLEL, Store, chunks, item, revision, text_of};
use crate::event::{Attributes, Event};
use crate::retry::retry_until;

impl Store {
    /// Removes the members of an earlier life that were there before the event was written. A sweep that is not finished
    /// is no failure: what is left is out of sight, and the next one finds it.
    pub(super) async fn sweep(&self, event: &Event, known: &Known, deadline: Instant) {
        for leftovers in chunks(known.leftovers(event), MAX_PARALLEL) {
            if Instant::now() >= deadline {
                break;
            }
            join_all(leftovers.into_iter().map(|item| self.remove(item, deadline))).await;
        }
    }

    /// Removes an item if it is still the one that was read.
    async fn remove(&self, found: &Attributes, deadline: Instant) {
        let of = |name| text_of(found, name).unwrap_or_default();
        let request = self
            .client
            .delete_item()
            .table_name(&self.table_name)
            .set_key(Some(item::key(of("pk"), of("sk"))));
        let request = match revision(found) {
            Some(revision) => request
                .condition_expression("revision = :revision")
                .expression_attribute_values(":revision", revision.clone()),
            None => request.condition_expression("attribute_not_exists(revision)"),
        };
        if let Err(error) = retry_until(deadline, || request.clone().send()).await {
            tracing::debug!(%error, "an item of an earlier life is left");
        }
    }
}
