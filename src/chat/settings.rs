//! Who asks Chat, and how fast.

use std::num::NonZeroU32;
use std::time::Duration;

use super::usersig::SecretKey;

/// Who asks, and where.
#[derive(Debug)]
pub struct ChatSettings {
    /// The base URL of the data centre.
    pub api_url: String,
    /// The application.
    pub sdk_app_id: u64,
    /// The UserID of an App admin.
    pub admin_account: String,
    /// The application's secret key.
    pub secret_key: SecretKey,
    /// How fast, and how long.
    pub limits: Limits,
}

/// How fast Chat may be asked, and how long an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The time between two pages of the list of groups.
    pub list_interval: Duration,
    /// The time between two other calls.
    pub call_interval: Duration,
    /// The time limit of one request.
    pub request_timeout: Duration,
}

impl Limits {
    /// The vendor's limits, and a share of the quota that the application uses for its own calls too.
    pub fn new(requests_per_second: NonZeroU32) -> Self {
        Self {
            // One a second is allowed; the rest is for requests that are not equally long on their way.
            list_interval: Duration::from_millis(1100),
            call_interval: Duration::from_secs(1) / requests_per_second.get(),
            // The vendor asks for more than three seconds.
            request_timeout: Duration::from_secs(10),
        }
    }
}
