//! The answers: an HTTP status, and the vendor's three fields in JSON.

use lambda_http::Body;
use lambda_http::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use lambda_http::http::{Response, StatusCode};
use serde::Serialize;

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

/// The answer to what is refused; `error_info` says why.
pub fn fail((status, error_code): (StatusCode, u32), error_info: &str) -> Response<Body> {
    let mut response = answer(status, &Answer { action_status: "FAIL", error_info, error_code });
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// The relayed answer of the downstream receiver, which is JSON.
pub fn relayed(json: String) -> Response<Body> {
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
