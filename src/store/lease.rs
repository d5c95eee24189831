//! The lease that lets only one pass over all groups go on, and the checkpoint that the next one goes on from.
//!
//! Both stand in an item of their own, whose `pk` no group can have: a group's begins with the SdkAppid and `#`.

use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::write::is_refused;
use super::{Store, StoreError, item, text_of};
use crate::event::{Attributes, number, text};
use crate::retry::retry_until;
use crate::time::to_millis;

/// How long a lease lasts: as long as the longest call of a Lambda function. Each checkpoint renews it. A pass that was
/// killed holds up the next one for this long.
const LEASE: Duration = Duration::from_secs(15 * 60);

/// How long a write of the item may take.
const BUDGET: Duration = Duration::from_secs(20);

/// A kind of pass. Each kind has a lease and a checkpoint of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PassKind {
    /// Corrects the table.
    Real,
    /// Only tells the differences.
    DryRun,
}

/// The right to run a pass over an application's groups.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    sdk_app_id: u64,
    kind: PassKind,
    holder: String,
}

impl Lease {
    /// A lease that is not acquired yet.
    pub(crate) fn new(sdk_app_id: u64, kind: PassKind) -> Self {
        Self { sdk_app_id, kind, holder: format!("{:016x}", fastrand::u64(..)) }
    }
}

impl Store {
    /// Acquires a lease that is free, expired, or ours already, and reads the last checkpoint: the default one if there is
    /// none, or none that can be read. `None` while another pass holds the lease.
    pub(crate) async fn acquire<T: DeserializeOwned + Default>(
        &self,
        lease: &Lease,
    ) -> Result<Option<T>, StoreError> {
        let request = self
            .update_lease(lease)
            .update_expression("SET lease_holder = :holder, lease_until = :until")
            .condition_expression(
                "attribute_not_exists(lease_until) OR lease_until < :now OR lease_holder = :holder",
            )
            .expression_attribute_values(":until", number(to_millis(SystemTime::now() + LEASE)))
            .expression_attribute_values(":now", number(to_millis(SystemTime::now())));
        let checkpoint = |item| text_of(&item, "place").and_then(|text| serde_json::from_str(text).ok());
        Ok(update(&request).await?.map(|item| checkpoint(item).unwrap_or_default()))
    }

    /// Writes a checkpoint and renews the lease; `false` if another pass has acquired it.
    pub(crate) async fn save(&self, lease: &Lease, checkpoint: &impl Serialize) -> Result<bool, StoreError> {
        // Strings and numbers always serialize.
        let checkpoint = serde_json::to_string(checkpoint).unwrap_or_default();
        let request = self
            .update_lease(lease)
            .update_expression("SET place = :place, lease_until = :until")
            .condition_expression("lease_holder = :holder")
            .expression_attribute_values(":until", number(to_millis(SystemTime::now() + LEASE)))
            .expression_attribute_values(":place", text(checkpoint));
        Ok(update(&request).await?.is_some())
    }

    /// Gives the lease back; a lease that is not ours stays as it is.
    pub(crate) async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let request = self
            .update_lease(lease)
            .update_expression("REMOVE lease_until, lease_holder")
            .condition_expression("lease_holder = :holder");
        update(&request).await?;
        Ok(())
    }

    fn update_lease(&self, lease: &Lease) -> UpdateItemFluentBuilder {
        let pk = format!("{}!reconcile", lease.sdk_app_id);
        let sk = match lease.kind {
            PassKind::Real => "PLACE",
            PassKind::DryRun => "DRY_RUN",
        };
        self.client
            .update_item()
            .table_name(&self.table_name)
            .set_key(Some(item::key(&pk, sk)))
            .expression_attribute_values(":holder", text(&lease.holder))
    }
}

/// Updates an item, and returns it; `None` if the condition does not hold.
async fn update(request: &UpdateItemFluentBuilder) -> Result<Option<Attributes>, StoreError> {
    let request = request.clone().return_values(ReturnValue::AllNew);
    let attempt = async || match request.clone().send().await {
        Ok(answer) => Ok(Some(answer.attributes.unwrap_or_default())),
        Err(error) if is_refused(&error) => Ok(None),
        Err(error) => Err(error),
    };
    Ok(retry_until(Instant::now() + BUDGET, attempt).await?)
}
