//! The actions of the store's transactions, each with the condition that makes it safe to come late.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::builders::DeleteBuilder;
use aws_sdk_dynamodb::types::{Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};

use crate::group::GroupCreated;
use crate::item;

/// A member's item is written or removed only by an event that is not older than it.
const NOT_NEWER: &str = "attribute_not_exists(event_time) OR event_time <= :time";

/// What a group item has to replace.
#[derive(Debug, Clone, Copy)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// The group item of this event_time.
    At(u64),
}

/// Makes the actions for one event on one table.
#[derive(Debug, Clone, Copy)]
pub struct Actions<'a> {
    /// The table.
    pub table_name: &'a str,
    /// The event.
    pub event: &'a GroupCreated,
}

impl Actions<'_> {
    /// Writes the group item. A refusal brings the item that is there.
    pub fn put_group(&self, expected: Expected) -> Result<TransactWriteItem, BuildError> {
        let put = Put::builder()
            .table_name(self.table_name)
            .set_item(Some(item::group(self.event)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = match expected {
            Expected::Absent => put.condition_expression("attribute_not_exists(pk)"),
            Expected::At(time) => put
                .condition_expression("event_time = :time")
                .expression_attribute_values(":time", item::number(time)),
        };
        Ok(TransactWriteItem::builder().put(put.build()?).build())
    }

    /// Removes the group item of an earlier event, so that readers see no group while its members change.
    pub fn delete_group(&self, time: u64) -> Result<TransactWriteItem, BuildError> {
        let delete = self
            .delete(item::GROUP_SK)
            .condition_expression("event_time = :time")
            .expression_attribute_values(":time", item::number(time));
        Ok(TransactWriteItem::builder().delete(delete.build()?).build())
    }

    /// Writes the item of a member.
    pub fn put_member(&self, account: &str) -> Result<TransactWriteItem, BuildError> {
        let put = Put::builder()
            .table_name(self.table_name)
            .set_item(Some(item::member(self.event, account)))
            .condition_expression(NOT_NEWER)
            .expression_attribute_values(":time", item::number(self.event.event_time));
        Ok(TransactWriteItem::builder().put(put.build()?).build())
    }

    /// Removes the item of a member that the event does not have.
    pub fn delete_member(&self, sk: &str) -> Result<TransactWriteItem, BuildError> {
        let delete = self
            .delete(sk)
            .condition_expression(NOT_NEWER)
            .expression_attribute_values(":time", item::number(self.event.event_time));
        Ok(TransactWriteItem::builder().delete(delete.build()?).build())
    }

    fn delete(&self, sk: &str) -> DeleteBuilder {
        let pk = item::partition_key(self.event.delivery.sdk_app_id, &self.event.group_id);
        Delete::builder().table_name(self.table_name).set_key(Some(item::key(&pk, sk)))
    }
}
