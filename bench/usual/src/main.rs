//! The same service as Rust functions are usually written: every default of the SDK, of its TLS and of lambda_http.

use std::time::SystemTime;

use chat_groups::callback::{Application, Token, Unsigned, Verifier};
use chat_groups::gateway;
use chat_groups::queue::Queue;
use chat_groups::store::Store;
use chat_groups::webhook::{Outlets, Webhook};
use lambda_http::{Error, Request, run, service_fn, tracing};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let env = std::env::var;
    let tokens = vec![Token::new(&env("CALLBACK_TOKENS")?).ok_or("CALLBACK_TOKENS: expected a token")?];
    let verifier = Verifier { tokens, unsigned: Unsigned::Refused, max_age_seconds: 60 };
    let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let store = Store::new(aws_sdk_dynamodb::Client::new(&config), env("TABLE_NAME")?);
    let sqs = aws_sdk_sqs::Client::new(&config);
    let queue = Queue::new(|| sqs, env("RETRY_QUEUE_URL")?);
    let outlets = Outlets { retry_queue: Some(queue), ..Outlets::default() };
    let application = Application { sdk_app_id: env("SDK_APP_ID")?.parse()?, keep_client_ip: false };
    let webhook = &Webhook::new(application, verifier, store, outlets);
    run(service_fn(async move |request: Request| {
        let query = request.uri().query().unwrap_or_default();
        let request = gateway::Request::post(query, request.body().to_vec());
        let (response, record) = webhook.accept(&request, SystemTime::now()).await;
        record.write();
        Ok::<_, Error>(response)
    }))
    .await
}
