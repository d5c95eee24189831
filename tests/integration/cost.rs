//! What an event costs: requests on the path before the answer, and write units, as DynamoDB counts them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextMut, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsInput, TransactWriteItemsOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};
use chat_groups::callback::Delivery;
use chat_groups::group::GroupCreated;
use chat_groups::store::Store;
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
        if let Some(input) = context.input_mut().downcast_mut::<TransactWriteItemsInput>() {
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
        if let Some(Ok(output)) = context.output_or_error()
            && let Some(output) = output.downcast_ref::<TransactWriteItemsOutput>()
        {
            let units = output.consumed_capacity().iter().filter_map(ConsumedCapacity::capacity_units);
            bill.write_units += units.sum::<f64>();
        }
        Ok(())
    }
}

async fn bill(members: usize) -> Bill {
    let table = Table::start().await;
    let meter = Meter::default();
    let config = table.client().config().to_builder().interceptor(meter.clone()).build();
    let store = Store::new(aws_sdk_dynamodb::Client::from_conf(config), "groups".to_owned());
    let accounts: Vec<String> = (0..members).map(|n| format!("user-{n:04}")).collect();
    let body = body("@TGS#2Z4CLQE5CM", 1, &accounts.iter().map(String::as_str).collect::<Vec<_>>());
    let delivery = Delivery {
        sdk_app_id: SDK_APP_ID,
        client_ip: Some("203.0.113.7".to_owned()),
        opt_platform: Some("RESTAPI".to_owned()),
        request_id: Some("3847361294-144115212345678901-0".to_owned()),
        request_time: None,
        received_at: 1,
    };
    let event = GroupCreated::parse(body.to_string().as_bytes(), delivery).unwrap();
    store.put(&event, Instant::now() + Duration::from_secs(60)).await.unwrap();
    let bill = *meter.0.lock().unwrap();
    println!("{members} members: {} requests, {} write units", bill.requests, bill.write_units);
    bill
}

#[tokio::test]
async fn a_group_of_up_to_99_members_costs_one_request() {
    for members in [0, 2, 99] {
        // Two units for each item of a transaction, one for its entry in the index.
        let items = 1 + u32::try_from(members).unwrap();
        assert_eq!(bill(members).await, Bill { requests: 1, write_units: f64::from(3 * items) });
    }
}

#[tokio::test]
async fn a_group_of_500_members_costs_a_look_five_parallel_requests_and_one_to_commit() {
    assert_eq!(bill(500).await, Bill { requests: 7, write_units: 1503.0 });
}
