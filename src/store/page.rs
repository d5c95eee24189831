//! Items page by page, as they stand: of one group, or of a whole application.

use tokio::time::Instant;

use super::{ScanKey, Store, StoreError, item, text_of};
use crate::event::{Attributes, GroupKey, text};
use crate::retry::retry_until;

impl Store {
    /// A page of a group's items after `start`, and the key of the next page; `None` after the last one.
    pub(crate) async fn group_page(
        &self,
        key: &GroupKey,
        start: Option<&ScanKey>,
        deadline: Instant,
    ) -> Result<(Vec<Attributes>, Option<ScanKey>), StoreError> {
        let request = self.query(key).set_exclusive_start_key(start.map(|(pk, sk)| item::key(pk, sk)));
        let answer = retry_until(deadline, || request.clone().send()).await?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key.as_ref().and_then(scan_key_of)))
    }

    /// A page of an application's items, in no order that means anything.
    pub(crate) async fn application_page(
        &self,
        sdk_app_id: u64,
        start: Option<&ScanKey>,
        deadline: Instant,
    ) -> Result<(Vec<Attributes>, Option<ScanKey>), StoreError> {
        let request = self
            .client
            .scan()
            .table_name(&self.table_name)
            .consistent_read(true)
            .filter_expression("begins_with(pk, :prefix)")
            .expression_attribute_values(":prefix", text(item::scoped_key(sdk_app_id, "")))
            .set_exclusive_start_key(start.map(|(pk, sk)| item::key(pk, sk)));
        let answer = retry_until(deadline, || request.clone().send()).await?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key.as_ref().and_then(scan_key_of)))
    }
}

fn scan_key_of(key: &Attributes) -> Option<ScanKey> {
    Some((text_of(key, "pk")?.to_owned(), text_of(key, "sk")?.to_owned()))
}
