//! The AWS clients, built from the environment that Lambda guarantees.
//!
//! The SDK's own chain of configuration sources takes milliseconds of every cold start to arrive
//! at the same variables. Outside Lambda (profiles, SSO, instance roles) they have to be exported.

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Credentials, IdentityCache, Region, SharedHttpClient, StalledStreamProtectionConfig,
};
use lambda_http::http::Uri;

use crate::config::{ConfigError, Environment, optional, required};
use crate::lookup::Resolver;
use crate::trust;

/// How long a client waits and how often it tries.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection, its TLS handshake included.
    pub connect: Duration,
    /// For one attempt, its connection included.
    pub attempt: Duration,
    /// The number of attempts.
    pub attempts: u32,
    /// The longest pause before the second attempt; it doubles with each.
    pub backoff: Duration,
}

/// What all clients share: credentials, region, connections, trust.
#[derive(Debug, Clone)]
pub struct Aws {
    credentials: Credentials,
    region: Region,
    dynamodb_endpoint: Option<String>,
    sqs_endpoint: Option<String>,
    http_client: SharedHttpClient,
    resolver: Resolver,
}

impl Aws {
    /// Reads the AWS SDK's variables for credentials, region and endpoints.
    pub fn from_env(env: Environment<'_>) -> Result<Self, ConfigError> {
        let text = |text: &str| Some(text.to_owned());
        let endpoint = |variable| -> Result<Option<String>, ConfigError> {
            match optional(env, variable, "a URL", text)? {
                Some(url) => Ok(Some(url)),
                None => optional(env, "AWS_ENDPOINT_URL", "a URL", text),
            }
        };
        let credentials = Credentials::new(
            required(env, "AWS_ACCESS_KEY_ID", "an access key id; Lambda sets it", text)?,
            required(env, "AWS_SECRET_ACCESS_KEY", "the access key; Lambda sets it", text)?,
            optional(env, "AWS_SESSION_TOKEN", "a session token", text)?,
            None,
            "environment",
        );
        let region = optional(env, "AWS_DEFAULT_REGION", "an AWS region", text)?;
        let region = Region::new(match region {
            Some(region) => optional(env, "AWS_REGION", "an AWS region", text)?.unwrap_or(region),
            None => required(env, "AWS_REGION", "an AWS region; Lambda sets it", text)?,
        });
        let resolver = Resolver::default();
        Ok(Self {
            credentials,
            region,
            dynamodb_endpoint: endpoint("AWS_ENDPOINT_URL_DYNAMODB")?,
            sqs_endpoint: endpoint("AWS_ENDPOINT_URL_SQS")?,
            http_client: trust::http_client(env, resolver.clone())?,
            resolver,
        })
    }

    /// Begins to look up DynamoDB's address, for a request that will come soon.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn look_up_dynamodb(&self) {
        self.resolver.begin(&host(self.dynamodb_endpoint.as_deref(), &self.region));
    }

    /// A client for the table.
    pub fn dynamodb(&self, patience: Patience) -> aws_sdk_dynamodb::Client {
        let mut config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(self.credentials.clone())
            // These credentials never change.
            .identity_cache(IdentityCache::no_cache())
            .region(self.region.clone())
            .http_client(self.http_client.clone())
            .timeout_config(patience.timeouts())
            .retry_config(patience.retries())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url(self.dynamodb_endpoint.clone());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// A client for the retry queue.
    pub fn sqs(&self, patience: Patience) -> aws_sdk_sqs::Client {
        let mut config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(self.credentials.clone())
            // These credentials never change.
            .identity_cache(IdentityCache::no_cache())
            .region(self.region.clone())
            .http_client(self.http_client.clone())
            .timeout_config(patience.timeouts())
            .retry_config(patience.retries())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url(self.sqs_endpoint.clone());
        aws_sdk_sqs::Client::from_conf(config.build())
    }
}

impl Patience {
    fn timeouts(&self) -> TimeoutConfig {
        TimeoutConfig::builder().connect_timeout(self.connect).operation_attempt_timeout(self.attempt).build()
    }

    fn retries(&self) -> RetryConfig {
        RetryConfig::standard().with_max_attempts(self.attempts).with_initial_backoff(self.backoff)
    }
}

/// The host that the SDK will most likely ask for. A wrong guess (China, a table's ARN) costs a lookup beside the one
/// that is needed.
fn host(endpoint: Option<&str>, region: &Region) -> String {
    match endpoint {
        Some(url) => url.parse().ok().and_then(|url: Uri| url.host().map(str::to_owned)).unwrap_or_default(),
        None => format!("dynamodb.{region}.amazonaws.com"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_that_of_the_endpoint_or_of_aws() {
        let host = |endpoint| host(endpoint, &Region::new("eu-west-1"));
        assert_eq!(host(None), "dynamodb.eu-west-1.amazonaws.com");
        assert_eq!(host(Some("http://localhost:8000")), "localhost");
        assert_eq!(host(Some("https://[::1]:8000/path")), "[::1]");
        assert_eq!(host(Some("no URL")), "");
    }
}
