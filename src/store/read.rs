//! Reading items by their keys.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use tokio::time::Instant;

use super::write::{Expected, ItemWrite};
use super::{HEDGE_AFTER, ItemKey, Store, StoreError, partition_key, text_of};
use crate::event::{Attributes, GroupKey, text};
use crate::retry::{Backoff, hedged, retry_until};

/// The most keys in one request.
pub(super) const BATCH_MAX_KEYS: usize = 100;

impl Store {
    /// A consistent Query of a group's item and those of its members after it.
    pub(super) fn query(&self, key: &GroupKey) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table_name).consistent_read(true);
        query
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(partition_key(key)))
    }

    /// One item, consistently.
    pub(super) async fn item(
        &self,
        key: ItemKey<'_>,
        deadline: Instant,
    ) -> Result<Option<Attributes>, StoreError> {
        let attempt = || {
            let request = self.client.get_item().table_name(&self.table_name).consistent_read(true);
            request.set_key(Some(key.attributes())).send()
        };
        Ok(retry_until(deadline, || hedged(HEDGE_AFTER, attempt)).await?.item)
    }

    /// Reads those items whose state is not known yet. One alone is left to [`Store::write_item`].
    pub(super) async fn read_expected(
        &self,
        writes: &mut [ItemWrite<'_>],
        deadline: Instant,
    ) -> Result<(), StoreError> {
        let mut unread: Vec<_> =
            writes.iter_mut().filter(|write| matches!(write.expected, Expected::Unread)).collect();
        if unread.len() < 2 {
            return Ok(());
        }
        for writes in unread.chunks_mut(BATCH_MAX_KEYS) {
            let keys = writes.iter().map(|write| write.key.attributes()).collect();
            let items = self.items(keys, true, deadline).await?;
            let sk = |item: Attributes| Some((text_of(&item, "sk")?.to_owned(), item));
            let mut by_sk: HashMap<String, Attributes> = items.into_iter().filter_map(sk).collect();
            for write in writes {
                write.expected = by_sk.remove(&write.key.sk()).map_or(Expected::Absent, Expected::Stored);
            }
        }
        Ok(())
    }

    /// At most 100 items, in any order; those that are absent are left out.
    pub(super) async fn items(
        &self,
        keys: Vec<Attributes>,
        is_consistent: bool,
        deadline: Instant,
    ) -> Result<Vec<Attributes>, StoreError> {
        let (mut items, mut backoff) = (Vec::with_capacity(keys.len()), Backoff::default());
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(is_consistent).build();
        let keys = keys.map_err(|error| StoreError::Refused(error.to_string()))?;
        let mut pending = HashMap::from([(self.table_name.clone(), keys)]);
        pending.retain(|_, request| !request.keys.is_empty());
        while !pending.is_empty() {
            let attempt = || self.client.batch_get_item().set_request_items(Some(pending.clone())).send();
            let answer = retry_until(deadline, || hedged(HEDGE_AFTER, attempt)).await?;
            items.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
            // DynamoDB answers with as many items as fit, or as it has capacity for, and names the rest.
            pending = answer.unprocessed_keys.unwrap_or_default();
            if !pending.is_empty() {
                backoff.wait(deadline).await;
            }
        }
        Ok(items)
    }
}
