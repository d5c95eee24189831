//! What an event costs: requests on the path before the answer, and write units, as DynamoDB counts them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextMut, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::batch_execute_statement::{
    BatchExecuteStatementInput, BatchExecuteStatementOutput,
};
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};
use chat_groups::callback::RosterCommand;
use chat_groups::event::Event;
use chat_groups::store::Store;
use chat_groups::time::to_millis;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{Table, body, event};

#[derive(Debug, Default, Clone)]
struct Meter(Arc<Mutex<Bill>>);

#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Bill {
    requests: u32,
    write_units: f64,
    read_units: f64,
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
        let (input, total) = (context.input_mut(), Some(ReturnConsumedCapacity::Total));
        if let Some(input) = input.downcast_mut::<BatchExecuteStatementInput>() {
            input.return_consumed_capacity = total;
        } else if let Some(input) = input.downcast_mut::<PutItemInput>() {
            input.return_consumed_capacity = total;
        } else if let Some(input) = input.downcast_mut::<GetItemInput>() {
            input.return_consumed_capacity = total;
        } else if let Some(input) = input.downcast_mut::<BatchGetItemInput>() {
            input.return_consumed_capacity = total;
        } else if let Some(input) = input.downcast_mut::<QueryInput>() {
            input.return_consumed_capacity = total;
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
        let units = |capacity: &[ConsumedCapacity]| -> f64 {
            capacity.iter().filter_map(ConsumedCapacity::capacity_units).sum()
        };
        if let Some(output) = output.downcast_ref::<BatchExecuteStatementOutput>() {
            // DynamoDB charges a refused INSERT like a write of the table; this one does not.
            let refused = output.responses().iter().filter(|response| response.error.is_some()).map(|_| 1.0);
            bill.write_units += units(output.consumed_capacity()) + refused.sum::<f64>();
        } else if let Some(output) = output.downcast_ref::<PutItemOutput>() {
            bill.write_units += units(output.consumed_capacity.as_slice());
        } else if let Some(output) = output.downcast_ref::<GetItemOutput>() {
            bill.read_units += units(output.consumed_capacity.as_slice());
        } else if let Some(output) = output.downcast_ref::<BatchGetItemOutput>() {
            bill.read_units += units(output.consumed_capacity());
        } else if let Some(output) = output.downcast_ref::<QueryOutput>() {
            bill.read_units += units(output.consumed_capacity.as_slice());
        }
        Ok(())
    }
}

/// A store whose requests are counted.
fn metered(table: &Table) -> (Store, Meter) {
    let meter = Meter::default();
    let config = table.client().config().to_builder().interceptor(meter.clone()).build();
    (Store::new(aws_sdk_dynamodb::Client::from_conf(config), "groups".to_owned()), meter)
}

fn read((command, body): &(RosterCommand, Value)) -> Event {
    let mut body = body.clone();
    body["CallbackCommand"] = command.name().into();
    event(*command, &body, to_millis(SystemTime::now()))
}

/// What these events cost, one after the other.
async fn bills(events: &[(RosterCommand, Value)]) -> Vec<Bill> {
    bills_in(&Table::start().await, events).await
}

async fn bills_in(table: &Table, events: &[(RosterCommand, Value)]) -> Vec<Bill> {
    let (store, meter) = metered(table);
    let mut bills = Vec::new();
    for event in events {
        *meter.0.lock().unwrap() = Bill::default();
        store.apply(&read(event), Instant::now() + Duration::from_secs(60)).await.unwrap();
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
    // A single member is a plain put.
    for (members, requests) in [(0, 1), (1, 2), (2, 2), (25, 2), (26, 3), (99, 5), (500, 21)] {
        let write_units = f64::from(2 * (1 + u32::try_from(members).unwrap()));
        let expected = Bill { requests, write_units, read_units: 0.0 };
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
    let now = chat_groups::time::to_millis(SystemTime::now());
    let bills = bills(&[
        (RosterCommand::AfterNewMemberJoin, with("NewMemberList", now)),
        (RosterCommand::AfterMemberExit, with("ExitMemberList", now + 1)),
    ])
    .await;
    assert_eq!(
        bills,
        [
            Bill { requests: 1, write_units: 2.0, read_units: 0.0 },
            Bill { requests: 2, write_units: 2.0, read_units: 1.0 }
        ]
    );
}

/// A body with one account more than the group's own first ones.
fn of_accounts(field: &str, time: u64, accounts: impl Iterator<Item = String>) -> Value {
    let accounts: Vec<Value> = accounts.map(|account| json!({ "Member_Account": account })).collect();
    json!({ "GroupId": "@TGS#2Z4CLQE5CM", "Type": "Public", "EventTime": time, field: accounts })
}

#[tokio::test]
async fn an_event_costs_the_same_in_a_group_of_any_size() {
    let account = |n: usize| format!("user-{n:04}");
    let with = |name: &str, value: &str| {
        let mut body = of_accounts("MemberList", 9, [].into_iter());
        body[name] = value.into();
        body
    };
    let events = [
        (RosterCommand::AfterNewMemberJoin, of_accounts("NewMemberList", 2, ["ann".to_owned()].into_iter())),
        (RosterCommand::AfterNewMemberJoin, of_accounts("NewMemberList", 3, (9000..9300).map(account))),
        (RosterCommand::AfterMemberExit, of_accounts("ExitMemberList", 4, [account(3)].into_iter())),
        (RosterCommand::AfterMemberExit, of_accounts("ExitMemberList", 5, (9000..9100).map(account))),
        (RosterCommand::AfterGroupInfoChanged, with("Name", "another")),
        (RosterCommand::AfterChangeGroupOwner, with("NewOwner_Account", "user-0001")),
        (RosterCommand::AfterGroupDestroyed, of_accounts("MemberList", 10, [].into_iter())),
    ];
    let mut of_size = Vec::new();
    for members in [10, 3_000] {
        let table = Table::start().await;
        bills_in(&table, &[created(members)]).await;
        of_size.push(bills_in(&table, &events).await);
    }
    assert_eq!(of_size[0], of_size[1]);
    let requests = of_size[0].iter().map(|bill| bill.requests).collect::<Vec<_>>();
    // Many departures are read at once and written one by one, each on its own condition.
    assert_eq!(requests, [2, 13, 2, 101, 2, 4, 2], "{:?}", of_size[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rivals_that_write_the_same_event_share_its_cost() {
    let table = Table::start().await;
    let (event, soon) = (read(&created(150)), Instant::now() + Duration::from_secs(60));
    let (store, meter) = metered(&table);
    join_all((0..8).map(|_| store.apply(&event, soon))).await.into_iter().for_each(|applied| {
        applied.unwrap();
    });
    assert_eq!(table.items().await.len(), 151);
    let bill = *meter.0.lock().unwrap();
    // Alone, each writes 302 units.
    assert!(bill.write_units < 3.0 * 302.0, "{bill:?}");
}
