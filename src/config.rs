//! The settings, read once at the start from environment variables.

use std::env::VarError;
use std::fmt;

use crate::callback::decimal;
use crate::signature::{TOKEN_MAX_CHARS, Token, Unsigned, Verifier};

/// How far RequestTime may lie from now where nothing is set, in seconds: what the vendor asks for.
const DEFAULT_MAX_REQUEST_AGE_SECONDS: u64 = 60;

/// An environment to read: `std::env::var`, or a test's.
pub type Environment<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

/// What both functions have to know.
#[derive(Debug, Clone)]
pub struct Application {
    /// `SDK_APP_ID`: the application's SdkAppid.
    pub sdk_app_id: u64,
    /// `TABLE_NAME`: the name or ARN of the table.
    pub table_name: String,
}

impl Application {
    /// Reads the settings of both functions.
    pub fn from_env(env: Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            sdk_app_id: required(env, "SDK_APP_ID", "the application's SdkAppid, a decimal number", decimal)?,
            table_name: required(env, "TABLE_NAME", "the name or ARN of a DynamoDB table", |text| {
                let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-:/".contains(c);
                text.chars().all(is_name).then(|| text.to_owned())
            })?,
        })
    }
}

/// What only `webhook` has to know.
#[derive(Debug, Clone)]
pub struct Reception {
    /// `CALLBACK_TOKENS`, `ALLOW_UNSIGNED` and `MAX_REQUEST_AGE_SECONDS`: who is let in.
    pub verifier: Verifier,
    /// `RETRY_QUEUE_URL`: the queue for what the table did not take.
    pub retry_queue_url: Option<String>,
}

impl Reception {
    /// Reads the settings of `webhook`.
    pub fn from_env(env: Environment<'_>) -> Result<Self, ConfigError> {
        let unsigned = optional(env, "ALLOW_UNSIGNED", "true, false or nothing", |text| match text {
            "true" => Some(Unsigned::Accepted),
            "false" => Some(Unsigned::Refused),
            _ => None,
        })?
        .unwrap_or(Unsigned::Refused);
        let expected = "one or two callback authentication tokens of 1 to 128 characters, separated by white space \
                        (without any, ALLOW_UNSIGNED=true is needed)";
        const { assert!(TOKEN_MAX_CHARS == 128) };
        let tokens = optional(env, "CALLBACK_TOKENS", expected, |text| {
            let tokens: Vec<Token> = text.split_whitespace().map(Token::new).collect::<Option<_>>()?;
            (tokens.len() <= 2).then_some(tokens)
        })?
        .unwrap_or_default();
        if tokens.is_empty() && unsigned == Unsigned::Refused {
            return Err(ConfigError::new("CALLBACK_TOKENS", expected));
        }
        Ok(Self {
            verifier: Verifier {
                tokens,
                unsigned,
                max_age_seconds: optional(
                    env,
                    "MAX_REQUEST_AGE_SECONDS",
                    "a whole number of seconds",
                    decimal,
                )?
                .unwrap_or(DEFAULT_MAX_REQUEST_AGE_SECONDS),
            },
            retry_queue_url: optional(env, "RETRY_QUEUE_URL", "the URL of an SQS queue", |text| {
                let is_url = text.starts_with("https://") || text.starts_with("http://");
                is_url.then(|| text.to_owned())
            })?,
        })
    }
}

/// Reads a variable that must be set.
pub(crate) fn required<T>(
    env: Environment<'_>,
    variable: &'static str,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, ConfigError> {
    optional(env, variable, expected, parse)?.ok_or(ConfigError::new(variable, expected))
}

/// Reads a variable that may be missing or empty: deployment tools can't leave one out.
pub(crate) fn optional<T>(
    env: Environment<'_>,
    variable: &'static str,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ConfigError> {
    let error = ConfigError::new(variable, expected);
    match env(variable) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => parse(text.trim()).map(Some).ok_or(error),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(error),
    }
}

/// A setting that is missing or malformed. It never repeats the value, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigError {
    /// The environment variable.
    pub variable: &'static str,
    /// What it should hold.
    pub expected: &'static str,
}

impl ConfigError {
    fn new(variable: &'static str, expected: &'static str) -> Self {
        Self { variable, expected }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "environment variable {}: expected {}", self.variable, self.expected)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn reception(variables: &[(&str, &str)]) -> Result<Reception, ConfigError> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Reception::from_env(&|name| {
            variables.get(name).map(|value| (*value).to_owned()).ok_or(VarError::NotPresent)
        })
    }

    fn wrong_variable<T>(read: Result<T, ConfigError>) -> Option<&'static str> {
        read.err().map(|error| error.variable)
    }

    #[test]
    fn tokens_are_needed_unless_unsigned_requests_are_allowed() {
        assert_eq!(wrong_variable(reception(&[])), Some("CALLBACK_TOKENS"));
        assert_eq!(wrong_variable(reception(&[("CALLBACK_TOKENS", " ")])), Some("CALLBACK_TOKENS"));
        assert_eq!(wrong_variable(reception(&[("ALLOW_UNSIGNED", "false")])), Some("CALLBACK_TOKENS"));
        assert!(reception(&[("ALLOW_UNSIGNED", "true")]).is_ok());
    }

    #[test]
    fn one_or_two_tokens_are_taken() {
        let count =
            |text: &str| reception(&[("CALLBACK_TOKENS", text)]).map(|read| read.verifier.tokens.len());
        assert_eq!(count("a"), Ok(1));
        assert_eq!(count(" a\n\tb "), Ok(2));
        assert!(count("a b c").is_err());
        assert!(count(&"é".repeat(128)).is_ok());
        assert!(count(&"é".repeat(129)).is_err());
    }

    #[test]
    fn an_error_never_shows_the_value() {
        let error = reception(&[("CALLBACK_TOKENS", "hunter2 hunter3 hunter4")])
            .map_err(|error| error.to_string())
            .err()
            .unwrap_or_default();
        assert!(error.contains("CALLBACK_TOKENS") && !error.contains("hunter"), "{error}");
    }

    #[test]
    fn a_malformed_setting_is_named() {
        for (variable, value) in [
            ("ALLOW_UNSIGNED", "yes"),
            ("MAX_REQUEST_AGE_SECONDS", "-1"),
            ("MAX_REQUEST_AGE_SECONDS", "60s"),
            ("RETRY_QUEUE_URL", "arn:aws:sqs:eu-west-1:1:q"),
        ] {
            let read = reception(&[("CALLBACK_TOKENS", "t"), (variable, value)]);
            assert_eq!(wrong_variable(read), Some(variable));
        }
    }

    #[test]
    fn both_functions_need_a_table_and_an_application() {
        let read = |table: &'static str, id: &'static str| {
            Application::from_env(&move |name| match name {
                "TABLE_NAME" => Ok(table.to_owned()),
                "SDK_APP_ID" => Ok(id.to_owned()),
                _ => Err(VarError::NotPresent),
            })
        };
        assert!(read("groups", "1400000001").is_ok());
        assert!(read("arn:aws:dynamodb:eu-west-1:123456789012:table/groups", "1").is_ok());
        assert_eq!(wrong_variable(read("", "1")), Some("TABLE_NAME"));
        assert_eq!(wrong_variable(read("a table", "1")), Some("TABLE_NAME"));
        assert_eq!(wrong_variable(read("groups", "0x1")), Some("SDK_APP_ID"));
        assert_eq!(wrong_variable(read("groups", "")), Some("SDK_APP_ID"));
    }
}
