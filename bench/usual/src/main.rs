//! The same service as Rust functions are usually written: every default of the SDK, of its TLS and of lambda_http.

use std::time::{Duration, SystemTime};

use chat_groups::callback::{Delivery, Query};
use chat_groups::config::{Application, Reception};
use chat_groups::group::GroupCreated;
use chat_groups::store::Store;
use lambda_http::{Body, Error, Request, Response, run, service_fn, tracing};
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let env = |name: &str| std::env::var(name);
    let application = Application::from_env(&env)?;
    let reception = Reception::from_env(&env)?;
    let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let store = Store::new(aws_sdk_dynamodb::Client::new(&config), application.table_name);
    let (store, verifier, sdk_app_id) = (&store, &reception.verifier, &application.sdk_app_id);
    run(service_fn(async move |request: Request| {
        let now = u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
        let query = Query::parse(request.uri().query().unwrap_or_default());
        verifier.verify(query.sign()?, query.request_time()?, now / 1000)?;
        let delivery = Delivery::new(&query, *sdk_app_id, now)?;
        let event = GroupCreated::parse(request.body(), delivery)?;
        store.put(&event, Instant::now() + Duration::from_millis(1500)).await?;
        let answer = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;
        Ok::<_, Error>(
            Response::builder().header("content-type", "application/json").body(Body::from(answer))?,
        )
    }))
    .await
}
