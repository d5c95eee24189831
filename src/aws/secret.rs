//! A secret of Secrets Manager.

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::{Aws, Timeouts};
use crate::retry::{RetryError, retry_until};

/// How long reading a secret may take, repeated attempts included.
const BUDGET: Duration = Duration::from_secs(8);

/// A secret that is read when it is needed. Its `Debug` shows no more than its name.
#[derive(Debug)]
pub struct Secret {
    client: aws_sdk_secretsmanager::Client,
    id: String,
}

impl Aws {
    /// The secret of this name or ARN; nothing is read yet.
    pub fn secret(&self, id: String, timeouts: Timeouts) -> Secret {
        let endpoint = self.settings.secrets_manager_endpoint.as_deref();
        Secret { client: aws_sdk_secretsmanager::Client::new(&self.config(timeouts, endpoint)), id }
    }
}

impl Secret {
    /// Reads its present text, without white space around it.
    pub async fn read(&self) -> Result<String, SecretError> {
        let request = self.client.get_secret_value().secret_id(&self.id);
        let answer = retry_until(Instant::now() + BUDGET, || request.clone().send()).await?;
        let text = answer.secret_string.map(|text| text.trim().to_owned());
        text.filter(|text| !text.is_empty()).ok_or(SecretError::NoText)
    }
}

/// Why a secret could not be read. No text of it holds the secret.
#[derive(Debug, Error)]
pub enum SecretError {
    /// Secrets Manager, or the way to it, failed.
    #[error("the secret that CHAT_SECRET_KEY_ID names could not be read")]
    Failed(#[from] RetryError),
    /// The secret is binary, or empty.
    #[error("the secret that CHAT_SECRET_KEY_ID names: expected the application's secret key as text")]
    NoText,
}
