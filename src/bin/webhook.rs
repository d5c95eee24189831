//! The Lambda function `webhook`: receives callbacks from an HTTP gateway.

use std::process::ExitCode;
use std::time::SystemTime;

use chat_groups::{GatewayResponse, Webhook, WebhookSettings};
use lambda_http::lambda_runtime::{self, Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    chat_groups::init();
    chat_groups::exit(run().await)
}

async fn run() -> Result<(), Error> {
    let webhook = &Webhook::from_settings(WebhookSettings::from_env(&|name| std::env::var(name))?);
    let handler = async move |event: LambdaEvent<Box<RawValue>>| -> Result<GatewayResponse, Error> {
        let request = chat_groups::request(&event.payload)?;
        let (response, record) = webhook.accept(&request, SystemTime::now()).await;
        chat_groups::write(&record.to_line());
        Ok(GatewayResponse::new(&request, response))
    };
    lambda_runtime::run(service_fn(handler)).await
}
