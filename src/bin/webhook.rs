//! The Lambda function `webhook`: receives callbacks from an HTTP gateway.

use std::process::ExitCode;
use std::time::SystemTime;

use chat_groups::{GatewayResponse, Webhook, WebhookSettings};
use lambda_http::lambda_runtime::{self, Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    chat_groups::init();
    let webhook = match WebhookSettings::from_env(&|name| std::env::var(name)) {
        Ok(settings) => Webhook::from_settings(settings),
        Err(error) => return chat_groups::stop(&error),
    };
    let webhook = &webhook;
    let handler =
        service_fn(async move |event: LambdaEvent<Box<RawValue>>| -> Result<GatewayResponse, Error> {
            let request = chat_groups::request(&event.payload)?;
            let (response, record) = webhook.accept(&request, SystemTime::now()).await;
            chat_groups::write(&record.to_line());
            Ok(GatewayResponse::new(&request, response))
        });
    match lambda_runtime::run(handler).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => chat_groups::stop(error.as_ref()),
    }
}
