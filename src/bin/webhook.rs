//! The Lambda function `webhook`: receives callbacks from an HTTP gateway.

use std::process::ExitCode;
use std::time::SystemTime;

use chat_groups::config::WebhookSettings;
use chat_groups::gateway::{GatewayResponse, Request};
use chat_groups::webhook::Webhook;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    chat_groups::log::init();
    chat_groups::log::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let webhook = &Webhook::from_settings(WebhookSettings::from_env(&|name| std::env::var(name))?);
    let handler = async move |event: LambdaEvent<Box<RawValue>>| -> Result<Option<GatewayResponse>, Error> {
        let now = SystemTime::now();
        let Some(request) = Request::read(&event.payload) else {
            chat_groups::webhook::ignored(now).write();
            return Ok(None);
        };
        let (response, record) = webhook.accept(&request, now).await;
        record.write();
        Ok(Some(GatewayResponse::new(request.gateway, response)))
    };
    lambda_runtime::run(service_fn(handler)).await
}
