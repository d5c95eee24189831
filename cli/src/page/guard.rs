//! Who may ask: a browser on this machine, and no page but ours.
//!
//! Loopback alone is no protection. Any site that is open in the same browser can send requests to it, and
//! with DNS rebinding it can read the answers too.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Sent with every answer. Trusted Types make the browser refuse markup that comes from a string.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'",
    ),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

/// Refuses what does not come from our own page, and adds the headers that confine it.
pub async fn check(request: Request, next: Next) -> Response {
    let mut response = match refusal(&request) {
        Some(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn refusal(request: &Request) -> Option<&'static str> {
    let headers = request.headers();
    let Some(host) = text(headers, &HOST).filter(|host| is_loopback(host)) else {
        return Some("Host: expected a loopback address, such as 127.0.0.1\n");
    };
    if text(headers, &ORIGIN).is_some_and(|origin| origin != format!("http://{host}")) {
        return Some("Origin: expected this page\n");
    }
    // Reading costs money on a deployed table, so another site may not even cause it.
    if request.uri().path().starts_with("/api/") && is_from_elsewhere(headers) {
        return Some("Sec-Fetch-Site: expected same-origin\n");
    }
    // A form of another site can't send this type without asking first, and nobody here allows it.
    let kind = text(headers, &CONTENT_TYPE).unwrap_or_default();
    if request.method() == Method::POST && !kind.starts_with("application/json") {
        return Some("Content-Type: expected application/json\n");
    }
    None
}

/// Whether a browser says that another site asks. A port of its own is another site here.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    site.is_some_and(|site| site != "same-origin" && site != "none")
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_a_loopback_address_is_one() {
        for host in ["localhost", "LocalHost:1", "127.0.0.1:8789", "127.8.9.10", "[::1]:8789", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["", "@", "localhost.example", "127.0.0.1.example", "0.0.0.0", "10.0.0.1", "[::]", "[fe80::1]"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
