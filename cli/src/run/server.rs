//! The downstream receiver a plain HTTP server: the same handler code as in Lambda.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chat_groups::callback::BODY_MAX_BYTES;
use chat_groups::gateway;
use chat_groups::log::Record;
use chat_groups::webhook::Webhook;
use tokio::net::TcpListener;

/// Serves until the process ends; `report` sees the record and the body of each callback.
pub async fn serve<R>(listener: TcpListener, webhook: Arc<Webhook>, report: R) -> Result<(), std::io::Error>
where
    R: Fn(&Record, &[u8]) + Clone + Send + Sync + 'static,
{
    let handler = move |request: Request| answer(Arc::clone(&webhook), request, report.clone());
    axum::serve(listener, Router::new().fallback(handler)).await
}

async fn answer(webhook: Arc<Webhook>, request: Request, report: impl Fn(&Record, &[u8])) -> Response {
    let (parts, body) = request.into_parts();
    // A gateway takes more than the receiver does, so that the receiver is the one to refuse it.
    let Ok(body) = to_bytes(body, 2 * BODY_MAX_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let (method, query) = (parts.method.to_string(), parts.uri.query().unwrap_or_default());
    let request = gateway::Request { method, ..gateway::Request::post(query, body) };
    let (response, record) = webhook.accept(&request, SystemTime::now()).await;
    report(&record, &request.body);
    response.map(Body::from).into_response()
}
