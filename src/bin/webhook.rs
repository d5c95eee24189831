//! The Lambda function `webhook`: receives callbacks from an HTTP gateway.

use std::process::ExitCode;
use std::time::SystemTime;

use chat_groups::config::WebhookSettings;
use chat_groups::gateway::GatewayResponse;
use chat_groups::webhook::Webhook;
use lambda_http::lambda_runtime::{self, Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    chat_groups::log::init();
    chat_groups::log::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let webhook = &Webhook::from_settings(WebhookSettings::from_env(&|name| std::env::var(name))?);
    let handler = async move |event: LambdaEvent<Box<RawValue>>| -> Result<GatewayResponse, Error> {
        let request = chat_groups::gateway::request(&event.payload)?;
        let (response, record) = webhook.accept(&request, SystemTime::now()).await;
        chat_groups::log::write(&record.to_line());
        Ok(GatewayResponse::new(&request, response))
    };
    lambda_runtime::run(service_fn(handler)).await
}
