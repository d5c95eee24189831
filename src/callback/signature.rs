//! Whether a request is genuine: `Sign`, `RequestTime` and the authentication tokens.
//!
//! `Sign` is the lower-case hex SHA-256 of a token followed by RequestTime. It covers neither
//! the command nor the body, so only its age limits the use of a captured one.

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

use super::{ParameterError, RequestTime};
use crate::time::to_seconds;

/// The most characters that a token has in Chat's console.
const TOKEN_MAX_CHARS: usize = 128;

/// An authentication token. Its `Debug` does not show it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Checks the length; `None` where it can't be a token.
    pub fn new(text: &str) -> Option<Self> {
        (1..=TOKEN_MAX_CHARS).contains(&text.chars().count()).then(|| Self(text.to_owned()))
    }

    /// The `Sign` that Chat would send with this RequestTime.
    pub fn sign(&self, request_time: &str) -> String {
        let digest = Sha256::new().chain_update(&self.0).chain_update(request_time).finalize();
        hex::encode(digest)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// Decides who is let in.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// One token, or two while it is being changed; none only with [`Unsigned::Accepted`].
    pub tokens: Vec<Token>,
    /// The rule for requests without `Sign`.
    pub unsigned: Unsigned,
    /// How far RequestTime may lie from now, either way, in seconds.
    pub max_age_seconds: u64,
}

/// The rule for requests without `Sign`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsigned {
    /// It is let in.
    Accepted,
    /// It is refused.
    Refused,
}

/// An accepted sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// It knows a token.
    Genuine,
    /// Anybody who knows the URL.
    Anonymous,
}

/// The one of two tokens that made a `Sign`. The log shows it while the token is being changed: once the last one signs,
/// the first can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignedBy {
    /// The old token.
    First,
    /// The new token.
    Last,
}

impl Verifier {
    /// Checks `Sign` and its age.
    ///
    /// Without any token a `Sign` can't be checked; its sender is then as anonymous as one without.
    pub fn verify(
        &self,
        sign: Option<&str>,
        request_time: Option<RequestTime<'_>>,
        now: SystemTime,
    ) -> Result<Sender, SignatureError> {
        let sign = match (sign, self.unsigned) {
            (Some(sign), _) if !self.tokens.is_empty() => sign,
            (_, Unsigned::Accepted) => return Ok(Sender::Anonymous),
            (_, Unsigned::Refused) => return Err(SignatureError::NoSign),
        };
        let request_time = request_time.ok_or(SignatureError::NoRequestTime(ParameterError {
            name: "RequestTime",
            expected: "the time that Sign was made with",
        }))?;
        // Every token is tried, so that the time taken does not tell which one signed.
        let genuine = self.tokens.iter().fold(Choice::from(0), |found, token| {
            found | token.sign(request_time.text).as_bytes().ct_eq(sign.as_bytes())
        });
        if !bool::from(genuine) {
            return Err(SignatureError::WrongSign);
        }
        if request_time.seconds.abs_diff(to_seconds(now)) > self.max_age_seconds {
            return Err(SignatureError::NotFresh { max_age_seconds: self.max_age_seconds });
        }
        Ok(Sender::Genuine)
    }

    /// The token that made a `Sign`; `None` unless there are two and it is one of them.
    pub fn signed_by(&self, sign: &str, request_time: RequestTime<'_>) -> Option<SignedBy> {
        let [first, last] = self.tokens.as_slice() else { return None };
        let by = [(first, SignedBy::First), (last, SignedBy::Last)];
        by.into_iter().find_map(|(token, by)| (token.sign(request_time.text) == sign).then_some(by))
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SignatureError {
    #[error("URL parameter Sign: expected a signature, found none")]
    NoSign,
    /// There is a `Sign`, but no RequestTime to check it with: not a forgery, a broken URL.
    #[error(transparent)]
    NoRequestTime(ParameterError),
    #[error("URL parameter Sign: expected the lower-case hex SHA-256 of the token followed by RequestTime")]
    WrongSign,
    /// RequestTime is genuine but too far from now: a late retry, a replay, or a wrong clock.
    #[error("URL parameter RequestTime: expected at most {max_age_seconds} s from now")]
    NotFresh { max_age_seconds: u64 },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::from_millis;

    // The vendor's own vector, from the authentication section of its Webhook Overview.
    const TOKEN: &str = "xxxxyyyy";
    const REQUEST_TIME: RequestTime<'static> = RequestTime { text: "1669872112", seconds: 1_669_872_112 };
    const SIGN: &str = "17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061";

    fn at(seconds: u64) -> SystemTime {
        from_millis(seconds * 1000)
    }

    fn verifier(tokens: &[&str], unsigned: Unsigned) -> Verifier {
        Verifier {
            tokens: tokens.iter().filter_map(|text| Token::new(text)).collect(),
            unsigned,
            max_age_seconds: 60,
        }
    }

    #[test]
    fn the_vendors_vector_is_genuine() {
        let verifier = verifier(&[TOKEN], Unsigned::Refused);
        assert_eq!(
            verifier.verify(Some(SIGN), Some(REQUEST_TIME), at(REQUEST_TIME.seconds)),
            Ok(Sender::Genuine)
        );
    }

    #[test]
    fn either_of_two_tokens_signs() {
        for tokens in [["new", TOKEN], [TOKEN, "new"]] {
            let verifier = verifier(&tokens, Unsigned::Refused);
            assert_eq!(
                verifier.verify(Some(SIGN), Some(REQUEST_TIME), at(REQUEST_TIME.seconds)),
                Ok(Sender::Genuine)
            );
        }
    }

    #[test]
    fn a_request_time_is_fresh_up_to_the_limit_either_way() {
        let verifier = verifier(&[TOKEN], Unsigned::Refused);
        let verify = |seconds| verifier.verify(Some(SIGN), Some(REQUEST_TIME), at(seconds));
        let not_fresh = Err(SignatureError::NotFresh { max_age_seconds: 60 });
        assert_eq!(verify(REQUEST_TIME.seconds + 60), Ok(Sender::Genuine));
        assert_eq!(verify(REQUEST_TIME.seconds - 60), Ok(Sender::Genuine));
        assert_eq!(verify(REQUEST_TIME.seconds + 61), not_fresh);
        assert_eq!(verify(REQUEST_TIME.seconds - 61), not_fresh);
    }

    #[test]
    fn a_sign_that_is_not_exactly_right_is_wrong() {
        let verifier = verifier(&[TOKEN, "other"], Unsigned::Accepted);
        let upper_case = SIGN.to_uppercase();
        let longer = format!("{SIGN}0");
        for sign in ["0", &upper_case, &longer, &SIGN[1..], &SIGN.replace('1', "2"), "é"] {
            assert_eq!(
                verifier.verify(Some(sign), Some(REQUEST_TIME), at(REQUEST_TIME.seconds)),
                Err(SignatureError::WrongSign),
                "{sign}"
            );
        }
    }

    #[test]
    fn a_request_without_sign_is_let_in_only_where_that_is_set() {
        let accepted = verifier(&[TOKEN], Unsigned::Accepted);
        let refused = verifier(&[TOKEN], Unsigned::Refused);
        assert_eq!(accepted.verify(None, None, at(0)), Ok(Sender::Anonymous));
        assert_eq!(refused.verify(None, None, at(0)), Err(SignatureError::NoSign));
        assert!(matches!(refused.verify(Some(SIGN), None, at(0)), Err(SignatureError::NoRequestTime(_))));
    }

    #[test]
    fn without_a_token_nobody_is_genuine() {
        let verifier = verifier(&[], Unsigned::Accepted);
        assert_eq!(
            verifier.verify(Some(SIGN), Some(REQUEST_TIME), at(REQUEST_TIME.seconds)),
            Ok(Sender::Anonymous)
        );
    }

    #[test]
    fn a_token_is_not_shown() {
        let shown = format!("{:?}", verifier(&["hunter2"], Unsigned::Refused));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
