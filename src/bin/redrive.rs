//! The Lambda function `redrive`: finishes the work that waits in the queues.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use chat_groups::config::RedriveSettings;
use chat_groups::redrive::{Finished, Redrive};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use tokio::time::Instant;

/// The time that all messages of a batch have together; the function's timeout is longer.
const BUDGET: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    chat_groups::log::init();
    chat_groups::log::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let redrive = &Redrive::from_settings(RedriveSettings::from_env(&|name| std::env::var(name))?);
    let handler = async move |event: LambdaEvent<SqsEvent>| -> Result<SqsBatchResponse, Error> {
        let deadline = Instant::now() + BUDGET;
        let records = event.payload.records.into_iter();
        let (ids, bodies): (Vec<_>, Vec<_>) = records
            .map(|message| (message.message_id.unwrap_or_default(), message.body.unwrap_or_default()))
            .unzip();
        let mut response = SqsBatchResponse::default();
        // A message that fails stays in the queue, and no other with it.
        let report = |index: usize, finished: Finished| {
            finished.record.write();
            if finished.result.is_err() {
                let mut failure = BatchItemFailure::default();
                failure.item_identifier = ids.get(index).cloned().unwrap_or_default();
                response.batch_item_failures.push(failure);
            }
        };
        redrive.finish(&bodies, SystemTime::now(), deadline, report).await;
        Ok(response)
    };
    lambda_runtime::run(service_fn(handler)).await
}
