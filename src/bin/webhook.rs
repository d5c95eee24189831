//! The Lambda function `webhook`: receives callbacks from an HTTP gateway.

use std::process::ExitCode;
use std::time::SystemTime;

use chat_groups::{
    Aws, Behind, ConfigError, Forwarder, GatewayResponse, Queue, Store, Webhook, WebhookSettings, webhook,
};
use lambda_http::lambda_runtime::{self, Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    chat_groups::init();
    let webhook = match build() {
        Ok(webhook) => webhook,
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

fn build() -> Result<Webhook, ConfigError> {
    let settings = WebhookSettings::from_env(&|name| std::env::var(name))?;
    let aws = Aws::new(settings.aws);
    aws.prefetch_dynamodb();
    let store = Store::new(aws.dynamodb(webhook::TABLE_TIMEOUTS), settings.table_name);
    let queue = |url| Queue::new(aws.sqs(webhook::QUEUE_TIMEOUTS), url);
    let forwarder = |url| Forwarder::new(url, aws.http(webhook::FORWARD_CONNECT_TIMEOUT));
    let behind = Behind {
        retry_queue: settings.retry_queue_url.map(queue),
        forwarder: settings.forward_url.map(forwarder),
        forward_queue: settings.forward_queue_url.map(queue),
    };
    Ok(Webhook::new(settings.sdk_app_id, settings.verifier, store, behind))
}
