//! The Lambda function `webhook`: receives callbacks from an HTTP gateway.

use std::process::ExitCode;
use std::time::SystemTime;

use chat_groups::app::Webhook;
use chat_groups::gateway::{self, Answer};
use chat_groups::log;
use lambda_http::lambda_runtime::{self, Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    log::init();
    let webhook = match Webhook::from_env(&|name| std::env::var(name)) {
        Ok(webhook) => webhook,
        Err(error) => return log::stop(&error),
    };
    let webhook = &webhook;
    let handler = service_fn(async move |event: LambdaEvent<Box<RawValue>>| -> Result<Answer, Error> {
        let request = gateway::request(&event.payload)?;
        let (response, record) = webhook.accept(&request, SystemTime::now()).await;
        log::write(&record.to_line());
        Ok(Answer::new(&request, response))
    });
    match lambda_runtime::run(handler).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => log::stop(error.as_ref()),
    }
}
