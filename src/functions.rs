//! The four functions, and why a callback is refused.

pub mod gateway;
pub mod publish;
pub mod reconcile;
pub mod redrive;
pub mod webhook;

use http::StatusCode;
use thiserror::Error;

use crate::callback::{BODY_MAX_BYTES, BodyError, ParameterError, SignatureError};

/// Why a callback is answered FAIL.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("method: expected POST")]
    Method,
    #[error("body: expected at most {BODY_MAX_BYTES} bytes")]
    TooLarge,
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    #[error("URL parameter SdkAppid: expected the application of this receiver")]
    OtherApplication,
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// This service itself has forwarded it.
    #[error(
        "header x-chat-groups-forwarded: expected a callback of Chat's; FORWARD_URL must not lead back here"
    )]
    Loop,
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Neither delivered nor queued.
    #[error("the event could not be kept; please send it again")]
    Unavailable,
    /// A decision was asked for, and the downstream receiver gave none.
    #[error("there is no decision")]
    Undecided,
}

impl Refusal {
    /// The HTTP status, and the ErrorCode: one of those (120001 to 130000) that Chat leaves to applications.
    pub fn codes(&self) -> (StatusCode, u32) {
        match self {
            Self::Body(BodyError::Field { .. }) => (StatusCode::BAD_REQUEST, 120_001),
            Self::Parameter(_)
            | Self::Body(BodyError::OtherCommand)
            | Self::Signature(SignatureError::NoRequestTime(_)) => (StatusCode::BAD_REQUEST, 120_002),
            Self::OtherApplication => (StatusCode::FORBIDDEN, 120_003),
            Self::Signature(_) | Self::Loop => (StatusCode::FORBIDDEN, 120_004),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, 120_005),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 120_006),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, 120_007),
            Self::Undecided => (StatusCode::SERVICE_UNAVAILABLE, 120_008),
        }
    }
}
