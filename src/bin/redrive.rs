//! The Lambda function `redrive`: finishes what waits in the queues.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use chat_groups::config::RedriveSettings;
use chat_groups::redrive::Redrive;
use futures_util::{StreamExt, stream};
use lambda_http::lambda_runtime::{self, Error, LambdaEvent, service_fn};
use tokio::time::Instant;

/// What all messages of a batch have together; the function's timeout is longer.
const BUDGET: Duration = Duration::from_secs(20);

/// How many messages are under way at once. Of events of the greatest size, the function has memory for so many.
const MAX_PARALLEL: usize = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    chat_groups::log::init();
    chat_groups::log::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let redrive = &Redrive::from_settings(RedriveSettings::from_env(&|name| std::env::var(name))?);
    let handler = async move |event: LambdaEvent<SqsEvent>| -> Result<SqsBatchResponse, Error> {
        let deadline = Instant::now() + BUDGET;
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = stream::iter(event.payload.records)
            .map(|message| finish(redrive, message, deadline))
            .buffer_unordered(MAX_PARALLEL)
            .filter_map(async |failure| failure)
            .collect()
            .await;
        Ok(response)
    };
    lambda_runtime::run(service_fn(handler)).await
}

/// Finishes one message; one that fails stays in the queue, and no other with it.
async fn finish(redrive: &Redrive, message: SqsMessage, deadline: Instant) -> Option<BatchItemFailure> {
    let body = message.body.unwrap_or_default();
    let (result, record) = redrive.finish(&body, SystemTime::now(), deadline).await;
    chat_groups::log::write(&record.to_line());
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = message.message_id.unwrap_or_default();
    result.is_err().then_some(failure)
}
