//! The Lambda function `publish`: tells of changes, by the table's stream, or by hand as a snapshot.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use chat_groups::config::PublishSettings;
use chat_groups::log::error_chain;
use chat_groups::publish::Publish;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use tokio::time::Instant;

/// The most time that a call takes.
const BUDGET: Duration = Duration::from_secs(45);

/// The time that is left to the answer, before the function's timeout.
const RESERVE: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    chat_groups::log::init();
    chat_groups::log::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let publish = &Publish::from_settings(PublishSettings::from_env(&|name| std::env::var(name))?);
    let handler = async move |event: LambdaEvent<Value>| -> Result<Value, Error> {
        let now = SystemTime::now();
        let time_left = event.context.deadline().duration_since(now).unwrap_or_default();
        let deadline = Instant::now() + time_left.saturating_sub(RESERVE).min(BUDGET);
        // On the heap: the compiler can't see to the end of so many futures in one another.
        let call = Box::pin(publish.run(&event.payload, now, deadline));
        let (answer, record) = call.await;
        chat_groups::log::write(&record.to_line());
        answer.map_err(|error| error_chain(&error).into())
    };
    lambda_runtime::run(service_fn(handler)).await
}
