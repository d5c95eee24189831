//! The place of a pass that goes through all groups, and the lease that lets only one pass go on.
//!
//! It is an item of its own, whose `pk` no group can have: a group's begins with the SdkAppid and `#`.

use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValue;
use tokio::time::Instant;

use super::{Store, StoreError, item, text_of};
use crate::event::{Attributes, number, text};
use crate::retry::retry_until;
use crate::time::to_millis;

/// How long a lease lasts. It is renewed long before; a pass that was killed holds up the next one for this long.
const LEASE: Duration = Duration::from_secs(120);

/// How long a write of the place may take.
const BUDGET: Duration = Duration::from_secs(20);

/// The right to go on from a place, held by one pass.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    sdk_app_id: u64,
    /// What kind of pass it is: each kind has a place of its own.
    kind: &'static str,
    holder: String,
}

impl Lease {
    /// A lease that is not taken yet.
    pub(crate) fn new(sdk_app_id: u64, kind: &'static str) -> Self {
        Self { sdk_app_id, kind, holder: format!("{:016x}", fastrand::u64(..)) }
    }
}

impl Store {
    /// Takes a lease, and returns the place that the last pass has left, as its JSON text; `None` if another pass holds
    /// the lease.
    pub(crate) async fn take_place(&self, lease: &Lease) -> Result<Option<Option<String>>, StoreError> {
        let request = self
            .update_place(lease, SystemTime::now() + LEASE)
            .update_expression("SET lease_holder = :holder, lease_until = :until")
            .condition_expression(
                "attribute_not_exists(lease_until) OR lease_until < :now OR lease_holder = :holder",
            )
            .expression_attribute_values(":now", number(to_millis(SystemTime::now())));
        let item = update(&request).await?;
        Ok(item.map(|item| text_of(&item, "place").map(str::to_owned)))
    }

    /// Writes the place and renews the lease, or gives it back; `false` if another pass has taken it over.
    pub(crate) async fn keep_place(
        &self,
        lease: &Lease,
        place: &str,
        is_renewed: bool,
    ) -> Result<bool, StoreError> {
        // A renewal that is late must not take back what was given back.
        let (until, next) = match is_renewed {
            true => (SystemTime::now() + LEASE, lease.holder.as_str()),
            false => (SystemTime::UNIX_EPOCH, "nobody"),
        };
        let request = self
            .update_place(lease, until)
            .update_expression("SET place = :place, lease_until = :until, lease_holder = :next")
            .condition_expression("lease_holder = :holder")
            .expression_attribute_values(":place", text(place))
            .expression_attribute_values(":next", text(next));
        Ok(update(&request).await?.is_some())
    }

    fn update_place(&self, lease: &Lease, until: SystemTime) -> UpdateItemFluentBuilder {
        let pk = format!("{}!reconcile", lease.sdk_app_id);
        self.client
            .update_item()
            .table_name(&self.table_name)
            .set_key(Some(item::key(&pk, lease.kind)))
            .expression_attribute_values(":holder", text(&lease.holder))
            .expression_attribute_values(":until", number(to_millis(until)))
    }
}

/// Updates an item, and returns it; `None` if the condition does not hold.
async fn update(request: &UpdateItemFluentBuilder) -> Result<Option<Attributes>, StoreError> {
    let request = request.clone().return_values(ReturnValue::AllNew);
    let attempt = async || match request.clone().send().await {
        Ok(answer) => Ok(Some(answer.attributes.unwrap_or_default())),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(None),
            _ => Err(error),
        },
    };
    Ok(retry_until(Instant::now() + BUDGET, attempt).await?)
}
