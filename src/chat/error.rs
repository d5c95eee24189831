//! Why Chat's REST API gave no answer, grouped by what to do next.

use super::command::Command;
use crate::callback::BodyError;
use crate::http::HttpError;

/// How much of Chat's ErrorInfo an error repeats, in characters.
const INFO_MAX_CHARS: usize = 200;

/// A question that was not answered.
#[derive(Debug, thiserror::Error)]
#[error("Chat's REST API, {command}")]
pub struct ChatError {
    /// What was asked.
    pub command: Command,
    /// Why there is no answer.
    #[source]
    pub reason: Reason,
}

impl ChatError {
    /// What to do next.
    pub fn class(&self) -> Class {
        self.reason.class()
    }

    /// Whether the same question may be answered later.
    pub fn is_transient(&self) -> bool {
        matches!(self.class(), Class::Again | Class::TooFrequent)
    }
}

/// What to do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Transient: ask again, with backoff.
    Again,
    /// The quota is used up: pause, then ask again.
    TooFrequent,
    /// There is no such group.
    Gone,
    /// Wrong settings: stop, no repeat can succeed.
    Settings,
    /// The answer would be too large: ask for less.
    TooLarge,
    /// Refused for good.
    Other,
}

/// Why there is no answer. No text of it holds the request's URL.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// Chat answered with an ErrorCode.
    #[error("ErrorCode {code}, {info:?}{}", advice(*.code))]
    Refused {
        /// ErrorCode.
        code: u64,
        /// The beginning of ErrorInfo.
        info: String,
    },
    /// Chat always answers 200, so that another status comes from elsewhere.
    #[error("HTTP status {0}: expected 200; check that CHAT_API_URL is the base URL of the data centre")]
    Status(u16),
    /// The body is no answer of Chat's.
    #[error("body: expected a JSON object with ErrorCode")]
    NotChat,
    /// A field can't be read.
    #[error(transparent)]
    Unreadable(#[from] BodyError),
    /// The time was up.
    #[error("no answer in time")]
    TimedOut,
    /// The request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Reason {
    pub(super) fn refused(code: u64, info: &str) -> Self {
        Self::Refused { code, info: info.chars().take(INFO_MAX_CHARS).collect() }
    }

    pub(super) fn unreadable(field: &str, expected: &str) -> Self {
        BodyError::Field { field: field.to_owned(), expected: expected.to_owned() }.into()
    }

    /// What to do next.
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Refused { code, .. } => class(*code),
            Self::Status(408 | 429 | 500..) | Self::NotChat | Self::TimedOut => Class::Again,
            Self::Status(_) => Class::Settings,
            Self::Http(HttpError::Connector(_) | HttpError::Unanswered(_) | HttpError::Body(_)) => {
                Class::Again
            }
            Self::Http(HttpError::TooLarge { .. }) => Class::TooLarge,
            Self::Http(HttpError::Url) => Class::Settings,
            Self::Unreadable(_) => Class::Other,
        }
    }
}

/// What an operator should look at, if anything.
fn advice(code: u64) -> &'static str {
    match code {
        10007 | 60010 => "; check that CHAT_ADMIN_ACCOUNT is an App admin of SDK_APP_ID",
        60021 => "; check the console's list of addresses that may call the REST API",
        70001 => "; check this machine's clock, and that the secret key is the one of SDK_APP_ID",
        70013 | 60004 | 60005 => "; check CHAT_ADMIN_ACCOUNT",
        60006 | 60012 | 70014 | 70016 | 70020 => {
            "; check SDK_APP_ID, and that CHAT_API_URL is the base URL of its data centre"
        }
        _ if class(code) == Class::Settings => {
            "; check that CHAT_SECRET_KEY or CHAT_SECRET_KEY_ID, SDK_APP_ID and CHAT_ADMIN_ACCOUNT belong together"
        }
        _ => "",
    }
}

/// The vendor's codes; those that it does not list are refusals for good.
fn class(code: u64) -> Class {
    match code {
        10002 | 60008 => Class::Again,
        60007 | 60011 | 60018 | 60019 => Class::TooFrequent,
        10010 => Class::Gone,
        10018 => Class::TooLarge,
        10007 | 60004..=60006 | 60010 | 60012 | 60021 => Class::Settings,
        70000..=70009 | 70013 | 70014 | 70016 | 70020 => Class::Settings,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_the_class_that_the_vendor_says() {
        for (codes, expected) in [
            (&[10002, 60008][..], Class::Again),
            (&[60007, 60011, 60018, 60019], Class::TooFrequent),
            (&[10010], Class::Gone),
            (&[10018], Class::TooLarge),
            (&[10007, 60010, 60021, 70001, 70003, 70009, 70014], Class::Settings),
            (&[0, 10004, 10015, 80001, u64::MAX], Class::Other),
        ] {
            for code in codes {
                assert_eq!(class(*code), expected, "{code}");
            }
        }
    }

    #[test]
    fn every_refusal_over_settings_says_what_to_check() {
        for code in (0..100_000).filter(|code| class(*code) == Class::Settings) {
            assert!(Reason::refused(code, "no").to_string().contains("; check "), "{code}");
        }
        assert_eq!(
            Reason::refused(10010, "group not exist").to_string(),
            r#"ErrorCode 10010, "group not exist""#
        );
    }

    #[test]
    fn a_long_info_is_cut() {
        let text = Reason::refused(1, &"é".repeat(1000)).to_string();
        assert_eq!(text.chars().filter(|c| *c == 'é').count(), INFO_MAX_CHARS);
    }

    #[test]
    fn what_did_not_come_from_chat_is_tried_again_unless_it_tells_of_a_wrong_url() {
        let class = |reason: Reason| reason.class();
        for status in [408, 429, 500, 502, 599] {
            assert_eq!(class(Reason::Status(status)), Class::Again, "{status}");
        }
        for status in [204, 301, 400, 403, 404] {
            assert_eq!(class(Reason::Status(status)), Class::Settings, "{status}");
        }
        assert_eq!(class(Reason::NotChat), Class::Again);
        assert_eq!(class(Reason::TimedOut), Class::Again);
        assert_eq!(class(Reason::Http(HttpError::Url)), Class::Settings);
        assert_eq!(class(Reason::Http(HttpError::TooLarge { max_bytes: 1 })), Class::TooLarge);
        assert_eq!(class(Reason::unreadable("Next", "a number")), Class::Other);
    }
}
