//! The Lambda function `redrive`: stores what waits in the retry queue.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use chat_groups::log;
use chat_groups::redrive::Redrive;
use futures_util::{StreamExt, stream};
use lambda_http::lambda_runtime::{self, Error, LambdaEvent, service_fn};
use tokio::time::Instant;

/// What all messages of a batch have together; the function's timeout is longer.
const BUDGET: Duration = Duration::from_secs(20);

/// How many messages are under way at once.
const MAX_PARALLEL: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    log::init();
    let redrive = match Redrive::from_env(&|name| std::env::var(name)) {
        Ok(redrive) => redrive,
        Err(error) => return log::stop(&error),
    };
    let redrive = &redrive;
    let handler = service_fn(async move |event: LambdaEvent<SqsEvent>| -> Result<SqsBatchResponse, Error> {
        let deadline = Instant::now() + BUDGET;
        let failures = stream::iter(event.payload.records)
            .map(|message| finish(redrive, message, deadline))
            .buffer_unordered(MAX_PARALLEL)
            .filter_map(async |failure| failure)
            .collect()
            .await;
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failures;
        Ok(response)
    });
    match lambda_runtime::run(handler).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => log::stop(error.as_ref()),
    }
}

/// Stores one message; one that fails stays in the queue, and no other with it.
async fn finish(redrive: &Redrive, message: SqsMessage, deadline: Instant) -> Option<BatchItemFailure> {
    let body = message.body.unwrap_or_default();
    let (stored, record) = redrive.finish(&body, SystemTime::now(), deadline).await;
    log::write(&record.to_line());
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = message.message_id.unwrap_or_default();
    stored.is_err().then_some(failure)
}
