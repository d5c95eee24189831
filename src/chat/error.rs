//! The errors of Chat's REST API, grouped by the next step.

use std::sync::Arc;

use super::command::Command;
use crate::callback::BodyError;
use crate::http::HttpError;

/// How much of Chat's ErrorInfo an error repeats, in characters.
const INFO_MAX_CHARS: usize = 200;

/// Why a question has no answer. No text of it holds the request's URL.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChatError {
    /// Chat answered with an ErrorCode.
    #[error("Chat's REST API, {command}: ErrorCode {code}, {info:?}{}", describe(*.command, *.code).1)]
    Refused {
        /// The question.
        command: Command,
        /// ErrorCode.
        code: u64,
        /// The beginning of ErrorInfo.
        info: String,
    },
    /// Chat always answers 200, so that another status comes from elsewhere.
    #[error(
        "Chat's REST API: HTTP status {0}, expected 200; check that CHAT_API_URL is the base URL of the data centre"
    )]
    Status(u16),
    /// The body is no answer of Chat's.
    #[error("Chat's REST API: body: expected a JSON object with ErrorCode")]
    NotChat,
    /// A field can't be read.
    #[error("Chat's REST API: {0}")]
    Unreadable(#[from] BodyError),
    /// No attempt was answered within the request's budget.
    #[error("Chat's REST API: no answer in time")]
    TimedOut,
    /// The caller's time is over.
    #[error("Chat's REST API: the call's time is over")]
    OutOfTime,
    /// The request failed.
    #[error("Chat's REST API")]
    Http(#[source] Arc<HttpError>),
}

/// The next step after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Ask again, with backoff.
    Transient,
    /// The quota is used up: pause all questions, then ask again.
    RateLimited,
    /// There is no such group.
    NotFound,
    /// The answer would be too large: ask for less.
    TooLarge,
    /// Chat can't answer this question, whenever it is asked.
    Permanent,
    /// Chat refuses the UserSig: the secret key may have been changed.
    Unauthorized,
    /// No question can succeed before somebody has changed the settings.
    Misconfigured,
    /// Stop: the caller's time is over.
    OutOfTime,
}

impl ChatError {
    pub(super) fn refused(command: Command, code: u64, info: &str) -> Self {
        Self::Refused { command, code, info: info.chars().take(INFO_MAX_CHARS).collect() }
    }

    pub(super) fn unreadable(field: &str, expected: &str) -> Self {
        BodyError::Field { field: field.to_owned(), expected: expected.to_owned() }.into()
    }

    /// The next step.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused { command, code, .. } => describe(*command, *code).0,
            Self::Status(408 | 429 | 500..) | Self::NotChat | Self::TimedOut => Class::Transient,
            Self::Status(_) => Class::Misconfigured,
            Self::Unreadable(_) => Class::Permanent,
            Self::OutOfTime => Class::OutOfTime,
            Self::Http(error) => match **error {
                HttpError::Connector(_) | HttpError::Unanswered(_) | HttpError::Body(_) => Class::Transient,
                HttpError::TooLarge { .. } => Class::TooLarge,
                HttpError::Url => Class::Misconfigured,
            },
        }
    }

    /// Whether the same question may be answered later.
    pub fn is_transient(&self) -> bool {
        matches!(self.class(), Class::Transient | Class::RateLimited)
    }
}

impl From<HttpError> for ChatError {
    fn from(error: HttpError) -> Self {
        Self::Http(Arc::new(error))
    }
}

const CHECK_ADMIN: &str = "; check that CHAT_ADMIN_ACCOUNT is an App admin of SDK_APP_ID";
const CHECK_APPLICATION: &str =
    "; check SDK_APP_ID, and that CHAT_API_URL is the base URL of its data centre";
const CHECK_KEY: &str =
    "; check that CHAT_SECRET_KEY or CHAT_SECRET_KEY_ID, SDK_APP_ID and CHAT_ADMIN_ACCOUNT belong together";
const CHECK_CLOCK: &str = "; check this machine's clock, and that the secret key is the one of SDK_APP_ID";
const CHECK_CONSOLE: &str = "; check in the console that the application and its REST API are switched on";

/// The vendor's codes, each with the next step and the advice for an operator. A code that is not listed is permanent.
fn describe(command: Command, code: u64) -> (Class, &'static str) {
    match code {
        10002 | 60008 | 60013 | 60014 | 70169 | 70202 | 70500 => (Class::Transient, ""),
        10006 | 60007 | 60011 | 60018 | 60019 => (Class::RateLimited, ""),
        10010 => (Class::NotFound, ""),
        10018 => (Class::TooLarge, ""),
        // Asked about one group, it says that the group's type has no list of members.
        10007 if matches!(command, Command::MemberInfo | Command::Role) => (Class::Permanent, ""),
        10007 | 60010 => (Class::Misconfigured, CHECK_ADMIN),
        10026 => (Class::Misconfigured, "; check in the console that this command is switched on"),
        60004 | 60005 | 70013 => (Class::Misconfigured, "; check CHAT_ADMIN_ACCOUNT"),
        60006 | 60012 | 70014 | 70016 | 70020 => (Class::Misconfigured, CHECK_APPLICATION),
        60016 | 60017 => (Class::Misconfigured, CHECK_CONSOLE),
        60020 => (Class::Misconfigured, "; check in the console that the application's plan is still paid"),
        60021 => (
            Class::Misconfigured,
            "; check the console's list of addresses that may call the REST API: Lambda has none of its own",
        ),
        70001 => (Class::Unauthorized, CHECK_CLOCK),
        70050 => (
            Class::Misconfigured,
            "; Chat has seen too many bad UserSigs: check the secret key, then wait some minutes",
        ),
        70052 => (Class::Unauthorized, "; the UserSig was revoked: check the secret key"),
        70000..=70009 => (Class::Unauthorized, CHECK_KEY),
        _ => (Class::Permanent, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_the_class_that_the_vendor_says() {
        for (codes, expected) in [
            (&[10002, 60008, 60013, 60014, 70169, 70202, 70500][..], Class::Transient),
            (&[10006, 60007, 60011, 60018, 60019], Class::RateLimited),
            (&[10010], Class::NotFound),
            (&[10018], Class::TooLarge),
            (&[10007, 10026, 60010, 60016, 60017, 60020, 60021, 70014, 70050], Class::Misconfigured),
            (&[70001, 70003, 70009, 70052], Class::Unauthorized),
            (&[0, 10004, 10015, 10019, 80001, u64::MAX], Class::Permanent),
        ] {
            for code in codes {
                assert_eq!(describe(Command::GroupInfo, *code).0, expected, "{code}");
            }
        }
        for command in [Command::MemberInfo, Command::Role] {
            assert_eq!(describe(command, 10007).0, Class::Permanent, "a type without a list of members");
        }
    }

    #[test]
    fn every_refusal_over_settings_says_what_to_check() {
        for code in 0..100_000 {
            let (class, advice) = describe(Command::GroupList, code);
            let is_settings = matches!(class, Class::Misconfigured | Class::Unauthorized);
            assert_eq!(is_settings, advice.contains("check "), "{code}");
        }
        assert_eq!(
            ChatError::refused(Command::Role, 10010, "group not exist").to_string(),
            r#"Chat's REST API, get_role_in_group: ErrorCode 10010, "group not exist""#
        );
    }

    #[test]
    fn a_long_info_is_cut() {
        let text = ChatError::refused(Command::Role, 1, &"é".repeat(1000)).to_string();
        assert_eq!(text.chars().filter(|c| *c == 'é').count(), INFO_MAX_CHARS);
    }

    #[test]
    fn what_did_not_come_from_chat_is_tried_again_unless_it_tells_of_a_wrong_url() {
        for status in [408, 429, 500, 502, 599] {
            assert_eq!(ChatError::Status(status).class(), Class::Transient, "{status}");
        }
        for status in [204, 301, 400, 403, 404] {
            assert_eq!(ChatError::Status(status).class(), Class::Misconfigured, "{status}");
        }
        assert_eq!(ChatError::NotChat.class(), Class::Transient);
        assert_eq!(ChatError::TimedOut.class(), Class::Transient);
        assert_eq!(ChatError::from(HttpError::Url).class(), Class::Misconfigured);
        assert_eq!(ChatError::from(HttpError::TooLarge { max_bytes: 1 }).class(), Class::TooLarge);
        assert_eq!(ChatError::unreadable("Next", "a number").class(), Class::Permanent);
    }
}
