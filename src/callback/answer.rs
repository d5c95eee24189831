//! The answers: an HTTP status, and the vendor's three fields in JSON.

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    action_status: &'a str,
    error_info: &'a str,
    error_code: u32,
}

/// Accepts a callback.
pub fn ok() -> Response<String> {
    answer(StatusCode::OK, &Answer { action_status: "OK", error_info: "", error_code: 0 })
}

/// Refuses a callback.
pub fn fail(status: StatusCode, error_code: u32, error_info: &str) -> Response<String> {
    let mut response = answer(status, &Answer { action_status: "FAIL", error_info, error_code });
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// Relays the downstream receiver's answer, which is JSON.
pub fn relayed(json: String) -> Response<String> {
    response(StatusCode::OK, json)
}

fn answer(status: StatusCode, answer: &Answer<'_>) -> Response<String> {
    // Strings and a number always serialize.
    response(status, serde_json::to_string(answer).unwrap_or_default())
}

fn response(status: StatusCode, json: String) -> Response<String> {
    let mut response = Response::new(json);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
