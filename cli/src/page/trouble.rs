//! What went wrong with the table, in words that say what to do.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chat_groups::log::error_chain;
use serde::Serialize;
use serde_json::json;

/// An error that a person reads.
#[derive(Debug, Clone, Serialize)]
pub struct Trouble {
    code: &'static str,
    message: String,
}

impl Trouble {
    pub(super) fn new(code: &'static str, message: String) -> Self {
        Self { code, message }
    }

    pub(super) fn missing(name: &str) -> Self {
        Self::new("missing", format!("{name} is missing."))
    }

    /// Tells an error of DynamoDB, by what has to be done about it. `action` is the right that it took.
    pub(super) fn of_table<E>(error: SdkError<E>, table: &str, action: &str) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let said = error.message().unwrap_or_default().to_owned();
        match error.code().unwrap_or_default() {
            "ResourceNotFoundException" => Self::new(
                "no_table",
                format!(
                    "There is no table {table} here. Check TABLE_NAME, HISTORY_TABLE_NAME, AWS_REGION and the account."
                ),
            ),
            "AccessDeniedException" => Self::new(
                "no_rights",
                format!(
                    "These credentials lack the right dynamodb:{action} on the table {table}. AWS says: {said}"
                ),
            ),
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "ExpiredTokenException"
            | "IncompleteSignatureException"
            | "MissingAuthenticationTokenException" => Self::new(
                "no_credentials",
                format!(
                    "AWS does not accept these credentials. Export new ones and start again. AWS says: {said}"
                ),
            ),
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "ThrottlingError"
            | "RequestLimitExceeded" => Self::new(
                "throttled",
                format!(
                    "The table {table} is throttled: it gets more requests than it takes. Try again in a moment."
                ),
            ),
            "ValidationException" => Self::new(
                "other_table",
                format!("The table {table} is not one of this program's. AWS says: {said}"),
            ),
            "" => Self::new(
                "unreachable",
                format!(
                    "DynamoDB gave no answer: {}. Check the network and AWS_REGION.",
                    error_chain(&error)
                ),
            ),
            code => Self::new("failed", format!("DynamoDB refused the request ({code}): {said}")),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Trouble {}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let status = match self.code {
            "missing" => StatusCode::BAD_REQUEST,
            "throttled" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        (status, Json(json!({ "error": self }))).into_response()
    }
}
