//! The AWS clients, built from the environment that Lambda guarantees.
//!
//! The SDK's own chain of configuration sources takes milliseconds of every cold start to arrive at the same variables.

mod secret;

use std::sync::OnceLock;
use std::time::Duration;

use ::http::Uri;
use aws_runtime::invocation_id::InvocationIdInterceptor;
use aws_runtime::request_info::RequestInfoInterceptor;
use aws_runtime::user_agent::UserAgentInterceptor;
use aws_sdk_dynamodb::config::endpoint::{
    DefaultResolver, Endpoint, EndpointFuture, Params, ResolveEndpoint,
};
use aws_sdk_dynamodb::config::interceptors::BeforeSerializationInterceptorContextRef;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, ConfigBag, Credentials, IdentityCache, Intercept, Region, StalledStreamProtectionConfig,
};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::http::{SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::interceptors::disable_interceptor;
use aws_types::sdk_config::{SdkConfig, SharedCredentialsProvider};

use crate::http::{HttpClient, Resolver, Trust};
pub use secret::{Secret, SecretError};

/// A connection rests no longer between two requests. AWS keeps idle ones for longer, and its clients retry.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// The AWS SDK's own variables, as far as Lambda sets them. Profiles and instance roles have to be exported.
#[derive(Debug, Clone)]
pub struct AwsSettings {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`. Their `Debug` shows no secret.
    pub credentials: Credentials,
    /// `AWS_REGION`, else `AWS_DEFAULT_REGION`.
    pub region: String,
    /// `AWS_ENDPOINT_URL_DYNAMODB`, else `AWS_ENDPOINT_URL`.
    pub dynamodb_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_SQS`, else `AWS_ENDPOINT_URL`.
    pub sqs_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_EVENTBRIDGE`, else `AWS_ENDPOINT_URL`.
    pub eventbridge_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER`, else `AWS_ENDPOINT_URL`.
    pub secrets_manager_endpoint: Option<String>,
    /// `AWS_CA_BUNDLE`, else `SSL_CERT_FILE`, names a file with the roots to trust; `SSL_CERT_DIR` a folder.
    pub trust: Trust,
}

/// How long a client waits for one attempt. The callers retry, until their deadlines.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection, its TLS handshake included.
    pub connect: Duration,
    /// For one attempt, its connection included; `None` where the deadline is near enough.
    pub attempt: Option<Duration>,
}

/// The common part of all clients: credentials, region, DNS, trust. Each client has connections of its own.
#[derive(Debug, Clone)]
pub struct Aws {
    settings: AwsSettings,
    resolver: Resolver,
}

impl Aws {
    /// Nothing is connected yet.
    pub fn new(settings: AwsSettings) -> Self {
        Self { settings, resolver: Resolver::default() }
    }

    /// Prefetches DynamoDB's address, for a request that will come soon.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn prefetch_dynamodb(&self) {
        self.resolver.prefetch(&host(self.settings.dynamodb_endpoint.as_deref(), &self.settings.region));
    }

    /// A client for the table.
    pub fn dynamodb(&self, timeouts: Timeouts) -> aws_sdk_dynamodb::Client {
        let config = self.config(timeouts, self.settings.dynamodb_endpoint.as_deref());
        let config = aws_sdk_dynamodb::config::Builder::from(&config)
            .endpoint_resolver(ResolvedOnce::default())
            .interceptor(NoClientHeaders);
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// A client for the queues.
    pub fn sqs(&self, timeouts: Timeouts) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config(timeouts, self.settings.sqs_endpoint.as_deref()))
    }

    /// A client for the event bus.
    pub fn eventbridge(&self, timeouts: Timeouts) -> aws_sdk_eventbridge::Client {
        let endpoint = self.settings.eventbridge_endpoint.as_deref();
        aws_sdk_eventbridge::Client::new(&self.config(timeouts, endpoint))
    }

    /// A client for servers that are not AWS's.
    pub fn http(&self, connect_timeout: Duration) -> HttpClient {
        HttpClient::new(self.settings.trust.clone(), connect_timeout)
    }

    fn config(&self, timeouts: Timeouts, endpoint: Option<&str>) -> SdkConfig {
        let AwsSettings { credentials, region, trust, .. } = self.settings.clone();
        let http = HttpClient::with_resolver(&trust, timeouts.connect, IDLE_TIMEOUT, self.resolver.clone());
        let connector = SharedHttpConnector::new(http);
        let mut attempt = TimeoutConfig::builder();
        attempt.set_operation_attempt_timeout(timeouts.attempt);
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            // These credentials never change.
            .identity_cache(IdentityCache::no_cache())
            .region(Region::new(region))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .timeout_config(attempt.build())
            // `retry_until` repeats attempts until a deadline, and knows the last error.
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url(endpoint.map(str::to_owned));
        config.build()
    }
}

/// Resolves DynamoDB's endpoint once: for one client, whose requests name tables by their names, the rules of the SDK
/// always come to the same result. They take 15,000 instructions for each request.
#[derive(Debug, Default)]
struct ResolvedOnce {
    rules: DefaultResolver,
    endpoint: OnceLock<Endpoint>,
}

impl ResolveEndpoint for ResolvedOnce {
    fn resolve_endpoint<'a>(&'a self, params: &'a Params) -> EndpointFuture<'a> {
        EndpointFuture::new(async move {
            if let Some(endpoint) = self.endpoint.get() {
                return Ok(endpoint.clone());
            }
            let endpoint = ResolveEndpoint::resolve_endpoint(&self.rules, params).await?;
            Ok(self.endpoint.get_or_init(|| endpoint).clone())
        })
    }
}

/// Leaves out the headers that tell AWS about the client: User-Agent, amz-sdk-invocation-id and amz-sdk-request. They
/// decide about nothing, and take 60,000 instructions for each request.
#[derive(Debug)]
struct NoClientHeaders;

impl Intercept for NoClientHeaders {
    fn name(&self) -> &'static str {
        "NoClientHeaders"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let reason = "nobody reads it";
        let state = config.interceptor_state();
        state.store_put(disable_interceptor::<UserAgentInterceptor>(reason));
        state.store_put(disable_interceptor::<InvocationIdInterceptor>(reason));
        state.store_put(disable_interceptor::<RequestInfoInterceptor>(reason));
        Ok(())
    }
}

/// The host that the SDK will most likely ask for. A wrong guess (China, a FIPS endpoint) costs a lookup beside the one
/// that is needed.
fn host(endpoint: Option<&str>, region: &str) -> String {
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
        let host = |endpoint| host(endpoint, "eu-west-1");
        assert_eq!(host(None), "dynamodb.eu-west-1.amazonaws.com");
        assert_eq!(host(Some("http://localhost:8000")), "localhost");
        assert_eq!(host(Some("https://[::1]:8000/path")), "[::1]");
        assert_eq!(host(Some("no URL")), "");
    }
}
