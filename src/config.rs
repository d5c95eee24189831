//! The settings of every function: environment variables, read once at the start.

mod publish;

use std::borrow::Cow;
use std::env::VarError;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use aws_sdk_dynamodb::config::Credentials;
use thiserror::Error;

pub use publish::{HistorySettings, PublishSettings};

use crate::aws::AwsSettings;
use crate::callback::{Application, Token, Unsigned, Verifier, decimal};
use crate::chat::{ChatSettings, Limits, SecretKey};
use crate::forward::ForwardUrl;
use crate::http::{self, Trust};

/// How far RequestTime may lie from now by default, in seconds, as the vendor asks for it.
const DEFAULT_MAX_REQUEST_AGE_SECONDS: u64 = 60;

/// The requests to Chat's REST API in a second by default: a tenth of the vendor's limit.
const DEFAULT_CHAT_REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// The expected value of `SDK_APP_ID`.
const SDK_APP_ID: &str = "the application's SdkAppid, a decimal number";

/// The expected value of a variable with the name of a table.
const TABLE_NAME: &str =
    "the name of a DynamoDB table: 3 to 255 letters, digits, dots, hyphens and underscores";

/// How long after the start of the last finished pass a scheduled call begins the next by default: a day.
const DEFAULT_RECONCILE_EVERY_SECONDS: u64 = 86_400;

/// An environment to read: `std::env::var`, or a test's.
pub type Environment<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

/// The settings of `webhook`.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// `SDK_APP_ID` and `KEEP_CLIENT_IP`.
    pub application: Application,
    /// `TABLE_NAME`.
    pub table_name: String,
    /// `CALLBACK_TOKENS`, `ALLOW_UNSIGNED` and `MAX_REQUEST_AGE_SECONDS`: who is let in.
    pub verifier: Verifier,
    /// `RETRY_QUEUE_URL`.
    pub retry_queue_url: Option<String>,
    /// `DEAD_LETTER_QUEUE_URL`, else `RETRY_QUEUE_URL`.
    pub dead_letter_queue_url: Option<String>,
    /// `FORWARD_URL`.
    pub forward_url: Option<ForwardUrl>,
    /// `FORWARD_QUEUE_URL`, else `RETRY_QUEUE_URL`.
    pub forward_queue_url: Option<String>,
    /// How to reach AWS.
    pub aws: AwsSettings,
}

impl WebhookSettings {
    /// Reads them.
    pub fn from_env(env: Environment<'_>) -> Result<Self, ConfigError> {
        let queue = |variable| queue_url(env, variable);
        let retry_queue_url = queue("RETRY_QUEUE_URL")?;
        Ok(Self {
            application: application(env)?,
            table_name: table_name(env)?,
            verifier: verifier(env)?,
            forward_url: forward_url(env)?,
            dead_letter_queue_url: queue("DEAD_LETTER_QUEUE_URL")?.or_else(|| retry_queue_url.clone()),
            forward_queue_url: queue("FORWARD_QUEUE_URL")?.or_else(|| retry_queue_url.clone()),
            retry_queue_url,
            aws: aws_settings(env)?,
        })
    }
}

/// The settings of `redrive`.
#[derive(Debug, Clone)]
pub struct RedriveSettings {
    /// `SDK_APP_ID` and `KEEP_CLIENT_IP`.
    pub application: Application,
    /// `TABLE_NAME`.
    pub table_name: String,
    /// `FORWARD_URL`.
    pub forward_url: Option<ForwardUrl>,
    /// The last of `CALLBACK_TOKENS`: it signs late deliveries.
    pub token: Option<Token>,
    /// `DEAD_LETTER_QUEUE_URL`.
    pub dead_letter_queue_url: Option<String>,
    /// How to reach AWS.
    pub aws: AwsSettings,
}

impl RedriveSettings {
    /// Reads them.
    pub fn from_env(env: Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            application: application(env)?,
            table_name: table_name(env)?,
            forward_url: forward_url(env)?,
            token: tokens(env, "one or two callback authentication tokens, or nothing")?.pop(),
            dead_letter_queue_url: queue_url(env, "DEAD_LETTER_QUEUE_URL")?,
            aws: aws_settings(env)?,
        })
    }
}

/// The settings of `reconcile`.
#[derive(Debug, Clone)]
pub struct ReconcileSettings {
    /// `TABLE_NAME`.
    pub table_name: String,
    /// `SDK_APP_ID`, `CHAT_API_URL`, `CHAT_ADMIN_ACCOUNT` and `CHAT_REQUESTS_PER_SECOND`.
    pub chat: ChatSettings,
    /// `CHAT_SECRET_KEY` or `CHAT_SECRET_KEY_ID`.
    pub secret_key: KeySource,
    /// `RECONCILE_EVERY_SECONDS`.
    pub every: Duration,
    /// How to reach AWS.
    pub aws: AwsSettings,
}

/// Where the application's secret key comes from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// The key itself.
    Key(SecretKey),
    /// The name or ARN of the Secrets Manager secret that holds it.
    Secret(String),
}

impl ReconcileSettings {
    /// Reads them.
    pub fn from_env(env: Environment<'_>) -> Result<Self, ConfigError> {
        let rate = optional(env, "CHAT_REQUESTS_PER_SECOND", "a whole number from 1 on", |text| {
            u32::try_from(decimal(text)?).ok().and_then(NonZeroU32::new)
        })?;
        let every = optional(env, "RECONCILE_EVERY_SECONDS", "a whole number of seconds", decimal)?;
        let url = "the base URL of Chat's data centre: https, or http on loopback, without a query";
        let admin = "the UserID of an App admin";
        Ok(Self {
            table_name: table_name(env)?,
            chat: ChatSettings {
                sdk_app_id: sdk_app_id(env)?,
                api_url: required(env, "CHAT_API_URL", url, base_url)?,
                admin_account: required(env, "CHAT_ADMIN_ACCOUNT", admin, any)?,
                limits: Limits::new(rate.unwrap_or(DEFAULT_CHAT_REQUESTS_PER_SECOND)),
            },
            secret_key: key_source(env)?,
            every: Duration::from_secs(every.unwrap_or(DEFAULT_RECONCILE_EVERY_SECONDS)),
            aws: aws_settings(env)?,
        })
    }
}

/// Reads the variables of the AWS SDK, as far as Lambda sets them. Profiles and instance roles have to be exported.
pub fn aws_settings(env: Environment<'_>) -> Result<AwsSettings, ConfigError> {
    let first = |variable, other, expected| match optional(env, variable, expected, any)? {
        Some(text) => Ok(Some(text)),
        None => optional(env, other, expected, any),
    };
    let endpoint = |variable| first(variable, "AWS_ENDPOINT_URL", "a URL");
    let region = first("AWS_REGION", "AWS_DEFAULT_REGION", "an AWS region")?;
    let credentials = Credentials::new(
        required(env, "AWS_ACCESS_KEY_ID", "an access key id; Lambda sets it", any)?,
        required(env, "AWS_SECRET_ACCESS_KEY", "the access key; Lambda sets it", any)?,
        optional(env, "AWS_SESSION_TOKEN", "a session token", any)?,
        None,
        "environment",
    );
    Ok(AwsSettings {
        credentials,
        region: region.ok_or_else(|| ConfigError::new("AWS_REGION", "an AWS region; Lambda sets it"))?,
        dynamodb_endpoint: endpoint("AWS_ENDPOINT_URL_DYNAMODB")?,
        sqs_endpoint: endpoint("AWS_ENDPOINT_URL_SQS")?,
        eventbridge_endpoint: endpoint("AWS_ENDPOINT_URL_EVENTBRIDGE")?,
        secrets_manager_endpoint: endpoint("AWS_ENDPOINT_URL_SECRETS_MANAGER")?,
        trust: trust(env)?,
    })
}

fn sdk_app_id(env: Environment<'_>) -> Result<u64, ConfigError> {
    required(env, "SDK_APP_ID", SDK_APP_ID, decimal)
}

fn table_name(env: Environment<'_>) -> Result<String, ConfigError> {
    required(env, "TABLE_NAME", TABLE_NAME, name_of_table)
}

fn name_of_table(text: &str) -> Option<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    ((3..=255).contains(&text.len()) && text.chars().all(is_name)).then(|| text.to_owned())
}

fn application(env: Environment<'_>) -> Result<Application, ConfigError> {
    Ok(Application { sdk_app_id: sdk_app_id(env)?, keep_client_ip: flag(env, "KEEP_CLIENT_IP")? })
}

/// Reads a variable that is off unless it says `true`.
fn flag(env: Environment<'_>, variable: &'static str) -> Result<bool, ConfigError> {
    let flag = optional(env, variable, "true, false or nothing", |text| text.parse().ok())?;
    Ok(flag.unwrap_or(false))
}

fn queue_url(env: Environment<'_>, variable: &'static str) -> Result<Option<String>, ConfigError> {
    let parse = |text: &str| http::parse(text).map(|_| text.to_owned());
    optional(env, variable, "the URL of an SQS queue", parse)
}

fn forward_url(env: Environment<'_>) -> Result<Option<ForwardUrl>, ConfigError> {
    let expected = "a URL: https, or http on a loopback or private address; without credentials and fragment";
    optional(env, "FORWARD_URL", expected, ForwardUrl::new)
}

fn base_url(text: &str) -> Option<String> {
    let url = http::parse(text)?;
    (http::is_https_or(&url, |address| address.is_loopback()) && url.query().is_none())
        .then(|| text.to_owned())
}

/// Any text.
fn any(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn key_source(env: Environment<'_>) -> Result<KeySource, ConfigError> {
    let expected = "the application's secret key, or CHAT_SECRET_KEY_ID with the name or ARN of its secret";
    if let Some(key) = optional(env, "CHAT_SECRET_KEY", expected, SecretKey::new)? {
        return Ok(KeySource::Key(key));
    }
    let id = optional(env, "CHAT_SECRET_KEY_ID", "a secret's name or ARN", any)?;
    id.map(KeySource::Secret).ok_or_else(|| ConfigError::new("CHAT_SECRET_KEY", expected))
}

fn verifier(env: Environment<'_>) -> Result<Verifier, ConfigError> {
    let unsigned = if flag(env, "ALLOW_UNSIGNED")? { Unsigned::Accepted } else { Unsigned::Refused };
    let expected = "one or two callback authentication tokens of 1 to 128 characters, separated by white space \
                    (without any, ALLOW_UNSIGNED=true is needed)";
    let tokens = tokens(env, expected)?;
    if tokens.is_empty() && unsigned == Unsigned::Refused {
        return Err(ConfigError::new("CALLBACK_TOKENS", expected));
    }
    let max_age_seconds = optional(env, "MAX_REQUEST_AGE_SECONDS", "a whole number of seconds", decimal)?;
    let max_age_seconds = max_age_seconds.unwrap_or(DEFAULT_MAX_REQUEST_AGE_SECONDS);
    Ok(Verifier { tokens, unsigned, max_age_seconds })
}

fn tokens(env: Environment<'_>, expected: &'static str) -> Result<Vec<Token>, ConfigError> {
    let tokens = optional(env, "CALLBACK_TOKENS", expected, |text| {
        let tokens: Vec<Token> = text.split_whitespace().map(Token::new).collect::<Option<_>>()?;
        (tokens.len() <= 2).then_some(tokens)
    })?;
    Ok(tokens.unwrap_or_default())
}

/// Reads the roots to trust: those of `AWS_CA_BUNDLE`, `SSL_CERT_FILE` or `SSL_CERT_DIR`, else Mozilla's.
pub fn trust(env: Environment<'_>) -> Result<Trust, ConfigError> {
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        if let Some(path) = optional(env, variable, "a file", any)? {
            let expected = format!("a readable file with at least one root certificate, in PEM, not {path}");
            let bundle = std::fs::read(&path).ok().and_then(|pem| Trust::bundle(&pem));
            return bundle.ok_or_else(|| ConfigError::new(variable, expected));
        }
    }
    let expected = "a folder with at least one root certificate, in PEM";
    let folder = optional(env, "SSL_CERT_DIR", expected, |path| Trust::folder(Path::new(path)))?;
    Ok(folder.unwrap_or_else(Trust::mozilla))
}

/// Reads a variable that must be set.
fn required<T>(
    env: Environment<'_>,
    variable: &'static str,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, ConfigError> {
    optional(env, variable, expected, parse)?.ok_or_else(|| ConfigError::new(variable, expected))
}

/// Reads a variable that may be missing or empty: deployment tools can't leave one out.
fn optional<T>(
    env: Environment<'_>,
    variable: &'static str,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ConfigError> {
    match env(variable) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => parse(text.trim()).map(Some).ok_or_else(|| ConfigError::new(variable, expected)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(ConfigError::new(variable, expected)),
    }
}

/// A setting that is missing or malformed. It never repeats a value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("environment variable {variable}: expected {expected}")]
pub struct ConfigError {
    /// The environment variable.
    pub variable: &'static str,
    /// The expected value.
    pub expected: Cow<'static, str>,
}

impl ConfigError {
    fn new(variable: &'static str, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { variable, expected: expected.into() }
    }
}

#[cfg(test)]
mod tests;
