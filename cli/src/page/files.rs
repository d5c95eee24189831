//! The static files, embedded: there is no build step and nothing to install.

use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const FILES: [(&str, &str, &str); 13] = [
    ("/", HTML, include_str!("index.html")),
    ("/style.css", CSS, include_str!("style.css")),
    ("/icon.svg", SVG, include_str!("icon.svg")),
    ("/page.js", JAVASCRIPT, include_str!("page.js")),
    ("/api.js", JAVASCRIPT, include_str!("api.js")),
    ("/element.js", JAVASCRIPT, include_str!("element.js")),
    ("/rows.js", JAVASCRIPT, include_str!("rows.js")),
    ("/groups.js", JAVASCRIPT, include_str!("groups.js")),
    ("/account.js", JAVASCRIPT, include_str!("account.js")),
    ("/history.js", JAVASCRIPT, include_str!("history.js")),
    ("/group.js", JAVASCRIPT, include_str!("group.js")),
    ("/arrivals.js", JAVASCRIPT, include_str!("arrivals.js")),
    ("/send.js", JAVASCRIPT, include_str!("send.js")),
];

/// Answers with the file of this path.
pub async fn serve(uri: Uri) -> Response {
    match FILES.iter().find(|(path, ..)| *path == uri.path()) {
        Some((_, kind, text)) => ([(CONTENT_TYPE, *kind)], *text).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
