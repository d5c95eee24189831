//! The URL side of the protocol: the parameters that Chat sends.

use std::borrow::Cow;
use std::time::SystemTime;

use thiserror::Error;

use super::{Application, Callback, Command};
use crate::time::from_millis;

/// The URL parameters of a request, decoded but not yet trusted.
///
/// Unknown parameters (`contenttype`, the operator's own) are ignored.
#[derive(Debug)]
pub struct Query<'a> {
    raw: &'a str,
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// Reads a raw query string. Never fails: a missing or malformed parameter is an error of its own getter.
    pub fn parse(raw: &'a str) -> Self {
        let pairs = form_urlencoded::parse(raw.as_bytes()).collect();
        Self { raw, pairs }
    }

    /// The application the request is meant for.
    pub fn sdk_app_id(&self) -> Result<u64, ParameterError> {
        self.decisive("SdkAppid")?
            .and_then(decimal)
            .ok_or(ParameterError { name: "SdkAppid", expected: "a decimal number" })
    }

    /// The command, as the URL names it.
    pub fn callback_command(&self) -> Result<&str, ParameterError> {
        self.decisive("CallbackCommand")?
            .ok_or(ParameterError { name: "CallbackCommand", expected: "the name of a callback command" })
    }

    /// The kind of the command.
    pub fn command(&self) -> Result<Command, ParameterError> {
        self.callback_command().map(Command::parse)
    }

    /// The signature, absent where authentication is off.
    pub fn sign(&self) -> Result<Option<&str>, ParameterError> {
        self.decisive("Sign")
    }

    /// The time of the request, absent where authentication is off.
    pub fn request_time(&self) -> Result<Option<RequestTime<'_>>, ParameterError> {
        let Some(text) = self.decisive("RequestTime")? else {
            return Ok(None);
        };
        let seconds = decimal(text).ok_or(ParameterError {
            name: "RequestTime",
            expected: "seconds since the Unix epoch, decimal",
        })?;
        Ok(Some(RequestTime { text, seconds }))
    }

    /// The end user's address; the caller's own is never in the URL.
    pub fn client_ip(&self) -> Option<&str> {
        self.first("ClientIP")
    }

    /// The end user's platform; unknown ones are fine.
    pub fn opt_platform(&self) -> Option<&str> {
        self.first("OptPlatform")
    }

    /// Chat's undocumented request id. Group events spell it `RequestID`, others `RequestId`.
    pub fn request_id(&self) -> Option<&str> {
        self.first("RequestID").or_else(|| self.first("RequestId"))
    }

    /// The raw query string without these parameters, and otherwise as it came.
    pub fn without(&self, names: &[&str]) -> String {
        let is_named = |part: &&str| {
            form_urlencoded::parse(part.as_bytes())
                .next()
                .is_some_and(|(name, _)| names.contains(&name.as_ref()))
        };
        let kept: Vec<&str> = self.raw.split('&').filter(|part| !is_named(part)).collect();
        kept.join("&")
    }

    /// A value that decides the result. Two different values are refused: which of them a proxy or a forger meant
    /// can't be known.
    fn decisive(&self, name: &'static str) -> Result<Option<&str>, ParameterError> {
        let mut values = self.values(name);
        let first = values.next();
        if values.any(|value| Some(value) != first) {
            return Err(ParameterError { name, expected: "one value, not several that differ" });
        }
        Ok(first)
    }

    /// A value for the log only. An operator's own parameter of the same name must not cost an event.
    fn first(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs
            .iter()
            .filter(move |(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_ref())
    }
}

/// A number of digits and nothing else; `u64::from_str` would take a sign too.
pub fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// `RequestTime` as sent, as `Sign` covers it, and as a number of seconds.
#[derive(Debug, Clone, Copy)]
pub struct RequestTime<'a> {
    /// The digits as they stand in the URL.
    pub text: &'a str,
    /// Seconds since the Unix epoch.
    pub seconds: u64,
}

/// The origin of a callback: its URL and its times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// The application, checked to be ours.
    pub sdk_app_id: u64,
    /// The parameters of the URL.
    pub query: &'a Query<'a>,
    /// The end user's address, if it is to be stored.
    pub client_ip: Option<&'a str>,
    /// When Chat sent it, to the second.
    pub request_time: Option<SystemTime>,
    /// When it first arrived here.
    pub received_at: SystemTime,
}

impl<'a> Origin<'a> {
    /// Takes a callback that is addressed to the application.
    pub(crate) fn new(callback: &Callback<'a>, application: &Application) -> Self {
        let Callback { query, received_at, .. } = *callback;
        let request_time = query.request_time().ok().flatten();
        Self {
            sdk_app_id: application.sdk_app_id,
            query,
            client_ip: query.client_ip().filter(|_| application.keep_client_ip),
            request_time: request_time.map(|time| from_millis(time.seconds.saturating_mul(1000))),
            received_at,
        }
    }
}

/// A URL parameter that is missing, malformed or contradictory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("URL parameter {name}: expected {expected}")]
pub struct ParameterError {
    /// The parameter, spelt as Chat spells it.
    pub name: &'static str,
    /// The expected value.
    pub expected: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_in_any_order_and_encoding() {
        let query = Query::parse(
            "team=a%26b&RequestID=r-1&OptPlatform=RESTAPI&contenttype=json&ClientIP=%3A%3A1\
             &CallbackCommand=Group.CallbackAfterCreateGroup&SdkAppid=1400000001&team=c&Sdk%41ppid=1400000001",
        );
        assert_eq!(query.sdk_app_id(), Ok(1_400_000_001));
        assert_eq!(query.command(), Ok(Command::Roster(crate::callback::RosterCommand::AfterCreateGroup)));
        assert_eq!(query.client_ip(), Some("::1"));
        assert_eq!(query.opt_platform(), Some("RESTAPI"));
        assert_eq!(query.request_id(), Some("r-1"));
        assert_eq!(query.sign(), Ok(None));
        assert!(query.request_time().is_ok_and(|time| time.is_none()));
    }

    #[test]
    fn a_decisive_parameter_with_two_values_is_refused() {
        let query = Query::parse("SdkAppid=1&SdkAppid=2");
        assert_eq!(query.sdk_app_id().map_err(|error| error.name), Err("SdkAppid"));
    }

    #[test]
    fn an_informing_parameter_with_two_values_is_not() {
        assert_eq!(Query::parse("ClientIP=a&ClientIP=b").client_ip(), Some("a"));
    }

    #[test]
    fn numbers_are_digits_only() {
        for text in ["+1", "-1", "1.0", "0x1", "", "１", "99999999999999999999"] {
            let raw = format!("SdkAppid={text}");
            assert!(Query::parse(&raw).sdk_app_id().is_err(), "{text}");
        }
    }

    #[test]
    fn the_query_is_kept_without_sign_and_otherwise_as_it_was() {
        let query = Query::parse("a=1%20&Sign=abc&RequestTime=5&S%69gn=def&&z");
        assert_eq!(query.without(&["Sign"]), "a=1%20&RequestTime=5&&z");
        assert_eq!(query.without(&["Sign", "RequestTime"]), "a=1%20&&z");
    }
}
