//! The answers: an HTTP status, and the vendor's three fields in JSON.

use lambda_http::Body;
use lambda_http::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use lambda_http::http::{Response, StatusCode};
use serde::Serialize;

/// Why a callback is answered FAIL. The numbers are of those (120001 to 130000) that Chat leaves to applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The body can't be read.
    UnreadableBody,
    /// URL parameters are missing, malformed, or contradict the body.
    BadParameter,
    /// The SdkAppid is another application's.
    OtherApplication,
    /// The sender is not known to be Chat.
    NotGenuine,
    /// The method is not POST.
    BadMethod,
    /// The body is too large.
    TooLarge,
    /// The event is neither where it belongs nor in a queue.
    Unavailable,
    /// A decision was asked for, and there is none.
    Undecided,
}

impl Code {
    /// ErrorCode.
    pub const fn error_code(self) -> u32 {
        match self {
            Self::UnreadableBody => 120_001,
            Self::BadParameter => 120_002,
            Self::OtherApplication => 120_003,
            Self::NotGenuine => 120_004,
            Self::BadMethod => 120_005,
            Self::TooLarge => 120_006,
            Self::Unavailable => 120_007,
            Self::Undecided => 120_008,
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::UnreadableBody | Self::BadParameter => StatusCode::BAD_REQUEST,
            Self::OtherApplication | Self::NotGenuine => StatusCode::FORBIDDEN,
            Self::BadMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable | Self::Undecided => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    action_status: &'a str,
    error_info: &'a str,
    error_code: u32,
}

/// The answer to what is taken care of.
pub fn ok() -> Response<Body> {
    answer(StatusCode::OK, &Answer { action_status: "OK", error_info: "", error_code: 0 })
}

/// The answer to what is refused, `error_info` says why.
pub fn fail(code: Code, error_info: &str) -> Response<Body> {
    let body = Answer { action_status: "FAIL", error_info, error_code: code.error_code() };
    let mut response = answer(code.status(), &body);
    if code == Code::BadMethod {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// The answer of the receiver behind, which is JSON.
pub fn hand_through(json: String) -> Response<Body> {
    response(StatusCode::OK, json)
}

fn answer(status: StatusCode, answer: &Answer<'_>) -> Response<Body> {
    // Strings and a number always serialize.
    response(status, serde_json::to_string(answer).unwrap_or_default())
}

fn response(status: StatusCode, json: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(json));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
