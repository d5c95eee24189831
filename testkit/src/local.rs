//! The AWS SDK's variables, for services that stand in on this machine.

use std::env::VarError;

/// Region and credentials. The stand-ins take any.
pub const CREDENTIALS: [(&str, &str); 3] =
    [("AWS_REGION", "local"), ("AWS_ACCESS_KEY_ID", "local"), ("AWS_SECRET_ACCESS_KEY", "local")];

/// A variable of an environment whose AWS services are all at this URL.
pub fn variable(name: &str, endpoint_url: &str) -> Result<String, VarError> {
    let endpoint = [("AWS_ENDPOINT_URL", endpoint_url)];
    let found = CREDENTIALS.into_iter().chain(endpoint).find(|(variable, _)| *variable == name);
    found.map(|(_, value)| value.to_owned()).ok_or(VarError::NotPresent)
}
