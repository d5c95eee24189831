//! What an event costs: requests on the path before the answer, and write units, as DynamoDB counts them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextMut, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::batch_execute_statement::{
    BatchExecuteStatementInput, BatchExecuteStatementOutput,
};
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};
use chat_groups::callback::{Origin, Query, RosterCommand};
use chat_groups::event::Event;
use chat_groups::store::Store;
use chat_groups::time::from_millis;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{SDK_APP_ID, Table, body};

#[derive(Debug, Default, Clone)]
struct Meter(Arc<Mutex<Bill>>);

#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Bill {
    requests: u32,
    write_units: f64,
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "meter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        if let Some(input) = input.downcast_mut::<BatchExecuteStatementInput>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
        } else if let Some(input) = input.downcast_mut::<PutItemInput>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut bill = self.0.lock().unwrap();
        bill.requests += 1;
        let Some(Ok(output)) = context.output_or_error() else { return Ok(()) };
        let units = ConsumedCapacity::capacity_units;
        if let Some(output) = output.downcast_ref::<BatchExecuteStatementOutput>() {
            bill.write_units += output.consumed_capacity().iter().filter_map(units).sum::<f64>();
        } else if let Some(output) = output.downcast_ref::<PutItemOutput>() {
            bill.write_units += output.consumed_capacity().and_then(units).unwrap();
        }
        Ok(())
    }
}

/// What these events cost, one after the other.
async fn bills(events: &[(RosterCommand, Value)]) -> Vec<Bill> {
    let table = Table::start().await;
    let meter = Meter::default();
    let config = table.client().config().to_builder().interceptor(meter.clone()).build();
    let store = Store::new(aws_sdk_dynamodb::Client::from_conf(config), "groups".to_owned());
    let query = Query::parse("");
    let origin = Origin::new(&query, SDK_APP_ID, from_millis(1)).unwrap();
    let mut bills = Vec::new();
    for (command, body) in events {
        let mut body = body.clone();
        body["CallbackCommand"] = command.name().into();
        let event = Event::parse(*command, body.to_string().as_bytes(), &origin).unwrap().unwrap();
        *meter.0.lock().unwrap() = Bill::default();
        store.apply(&event, Instant::now() + Duration::from_secs(60)).await.unwrap();
        bills.push(*meter.0.lock().unwrap());
    }
    bills
}

fn created(members: usize) -> (RosterCommand, Value) {
    let accounts: Vec<String> = (0..members).map(|n| format!("user-{n:04}")).collect();
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    (RosterCommand::AfterCreateGroup, body("@TGS#2Z4CLQE5CM", 1, &accounts))
}

#[tokio::test]
async fn a_creation_costs_two_units_an_item_and_a_request_for_25_members() {
    // A single member is a plain put; above 25, the partition is read first.
    for (members, requests) in [(0, 1), (1, 2), (2, 2), (25, 2), (26, 4), (99, 6), (500, 22)] {
        let expected = Bill { requests, write_units: f64::from(2 * (1 + u32::try_from(members).unwrap())) };
        assert_eq!(bills(&[created(members)]).await, [expected], "{members} members");
    }
}

#[tokio::test]
async fn a_repeat_costs_what_it_is_refused() {
    let bills = bills(&[created(0), created(0)]).await;
    assert_eq!(bills[1].requests, 1);
}

#[tokio::test]
async fn one_join_is_a_request_and_two_units_and_one_exit_a_read_and_a_write() {
    let group = json!({ "GroupId": "@TGS#2Z4CLQE5CM", "Type": "Public" });
    let with = |field: &str, time: u64| {
        let mut body = group.clone();
        body[field] = json!([{ "Member_Account": "ann" }]);
        body["EventTime"] = time.into();
        body
    };
    let bills = bills(&[
        (RosterCommand::AfterNewMemberJoin, with("NewMemberList", 2)),
        (RosterCommand::AfterMemberExit, with("ExitMemberList", 3)),
    ])
    .await;
    assert_eq!(bills, [Bill { requests: 1, write_units: 2.0 }, Bill { requests: 2, write_units: 2.0 }]);
}
