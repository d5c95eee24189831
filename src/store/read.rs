//! Reading items: one, and those of one group.

use tokio::time::Instant;

use super::{ItemKey, Known, Store, StoreError, item, text_of};
use crate::event::{Attributes, Facts, GroupKey, text};
use crate::retry::retry_until;

impl Store {
    /// The items of one group, as they are.
    pub(crate) async fn known(&self, key: &GroupKey, deadline: Instant) -> Result<Known, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.table_name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(item::partition_key(key)));
        let items = pages(&query, deadline).await?;
        let by_sk = items.into_iter().filter_map(|item| Some((text_of(&item, "sk")?.to_owned(), item)));
        Ok(Known(by_sk.collect()))
    }

    /// One item, as it is.
    pub(super) async fn item(
        &self,
        key: ItemKey<'_>,
        deadline: Instant,
    ) -> Result<Option<Attributes>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table_name)
            .consistent_read(true)
            .set_key(Some(key.attributes()));
        let attempt = || super::hedged(super::HEDGE_AFTER, || request.clone().send());
        Ok(retry_until(deadline, attempt).await?.item)
    }
}

/// Whether a group of these facts is there.
pub(super) fn is_there(group: &Facts) -> bool {
    group.event_time.is_some() && group.gone_at.is_none()
}

/// All items of a query, page by page.
async fn pages(
    query: &aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder,
    deadline: Instant,
) -> Result<Vec<Attributes>, StoreError> {
    let (mut items, mut start) = (Vec::new(), None);
    loop {
        let page = || query.clone().set_exclusive_start_key(start.clone()).send();
        let answer = retry_until(deadline, || super::hedged(super::HEDGE_AFTER, page)).await?;
        items.extend(answer.items.unwrap_or_default());
        start = answer.last_evaluated_key;
        if start.is_none() {
            return Ok(items);
        }
    }
}
