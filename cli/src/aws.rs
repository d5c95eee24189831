//! Clients with the operator's own credentials.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use chat_groups::aws::{Aws, AwsSettings, Timeouts};
use chat_groups::config::aws_settings;

const TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(5), attempt: Some(Duration::from_secs(15)) };

/// How to get what the SDK's variables hold.
const HINT: &str = "Credentials come from the environment. With a profile or SSO, export them first:\n\
    eval \"$(aws configure export-credentials --format env)\"; export AWS_REGION=…";

/// A client for tables.
pub fn dynamodb() -> Result<Client, String> {
    let settings = aws_settings(&|name| std::env::var(name)).map_err(|error| format!("{error}\n{HINT}"))?;
    Ok(of(settings))
}

/// The same with these settings. The functions retry for themselves, against a deadline; here the SDK does, while
/// somebody waits.
pub fn of(settings: AwsSettings) -> Client {
    let client = Aws::new(settings).dynamodb(TIMEOUTS);
    let retries =
        RetryConfig::standard().with_max_attempts(4).with_initial_backoff(Duration::from_millis(200));
    Client::from_conf(client.config().to_builder().retry_config(retries).build())
}
