//! The page that shows groups, members, their history and what arrives: static files and a small JSON interface on loopback.
//!
//! Beside the local run it is live and can send; on a deployed table it only reads.

mod arrivals;
mod files;
mod guard;
mod sender;
mod table;
mod trouble;
mod view;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use chat_groups::event::GroupKey;
use chat_groups::log::error_chain;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use arrivals::Arrivals;
pub use sender::Sender;
pub use table::Table;
pub use trouble::Trouble;

use crate::history::History;
use crate::why;
use crate::words::nothing_told;

/// More than the receiver takes, so that the page can show how it refuses.
const SENT_MAX_BYTES: usize = 2 * 1024 * 1024;

const SAMPLES: &str = include_str!("page/samples.json");

/// The page, before it is served.
#[derive(Clone)]
pub struct Page {
    table: Arc<Table>,
    history: Option<History>,
    run: Option<Run>,
}

/// What only the local run has.
#[derive(Clone)]
struct Run {
    arrivals: Arrivals,
    /// Notified of new changes in the history.
    told: watch::Receiver<()>,
    sender: Arc<Sender>,
}

impl Page {
    /// The page of a table, and of its history if there is one. It has no route that writes.
    pub fn new(table: Table, history: Option<History>) -> Self {
        Self { table: Arc::new(table), history, run: None }
    }

    /// The same of a local run: live, and with a way to send. `told` is notified of new changes in the history.
    pub fn with_run(self, arrivals: Arrivals, told: watch::Receiver<()>, sender: Sender) -> Self {
        Self { run: Some(Run { arrivals, told, sender: Arc::new(sender) }), ..self }
    }

    /// Serves until the process ends. The listener has to be on loopback: nothing here asks who is looking.
    pub async fn serve(self, listener: TcpListener) -> Result<(), std::io::Error> {
        axum::serve(listener, self.router()).await
    }

    fn key(&self, group_id: String) -> GroupKey {
        GroupKey { sdk_app_id: self.table.sdk_app_id, group_id }
    }

    fn router(self) -> Router {
        let reading = Router::new()
            .route("/api/about", get(about))
            .route("/api/groups", get(groups))
            .route("/api/row", get(row))
            .route("/api/group", get(group))
            .route("/api/account", get(account))
            .route("/api/history", get(history))
            .route("/api/why", get(answer_why))
            .route("/api/search", get(search));
        let running = Router::new()
            .route("/api/live", get(live))
            .route("/api/arrivals/{id}", get(arrival))
            .route("/api/samples", get(|| async { ([(CONTENT_TYPE, "application/json")], SAMPLES) }))
            .route("/api/send", post(send))
            .layer(DefaultBodyLimit::max(SENT_MAX_BYTES));
        let routes = if self.run.is_some() { reading.merge(running) } else { reading };
        routes.fallback(files::serve).layer(middleware::from_fn(guard::check)).with_state(self)
    }
}

/// What is shown, and what listing it costs.
async fn about(State(page): State<Page>) -> Json<Value> {
    let table = &page.table;
    let size = if page.run.is_none() { table.size().await } else { None };
    Json(json!({
        "mode": if page.run.is_some() { "run" } else { "console" },
        "table": table.name,
        "region": table.region(),
        "sdk_app_id": table.sdk_app_id.to_string(),
        "size": size,
        "has_history": page.history.is_some(),
    }))
}

/// All groups, one line of JSON for each page of the Scan. It ends when the reader goes away.
async fn groups(State(page): State<Page>) -> Response {
    let pages = stream::unfold(Some(page.table.scan()), |scan| async {
        let mut scan = scan?;
        let (line, scan) = match scan.next_page().await {
            Ok(line) if scan.is_done() => (line, None),
            Ok(line) => (line, Some(scan)),
            Err(trouble) => (json!({ "error": trouble }), None),
        };
        Some((Ok::<_, Infallible>(Bytes::from(format!("{line}\n"))), scan))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pages)).into_response()
}

/// One group as a line of the list.
async fn row(State(page): State<Page>, RawQuery(query): RawQuery) -> Result<Json<Value>, Trouble> {
    let items = page.table.partition(&parameter(query.as_deref(), "group_id")?).await?;
    Ok(Json(view::row_of(&items)))
}

/// One group with its members, and what arrived for it.
async fn group(State(page): State<Page>, RawQuery(query): RawQuery) -> Result<Json<Value>, Trouble> {
    let group_id = parameter(query.as_deref(), "group_id")?;
    let mut shown = view::group(&page.table.partition(&group_id).await?);
    if let Some(run) = &page.run {
        shown["arrivals"] = run.arrivals.of_group(&group_id).into();
    }
    Ok(Json(shown))
}

/// The groups of one account, and what it is there.
async fn account(State(page): State<Page>, RawQuery(query): RawQuery) -> Result<Json<Value>, Trouble> {
    Ok(Json(page.table.groups_of(&parameter(query.as_deref(), "account")?).await?))
}

/// A page of the history of one group or of one account, the newest changes first.
async fn history(State(page): State<Page>, RawQuery(query): RawQuery) -> Result<Json<Value>, Trouble> {
    let history = page.history.as_ref().ok_or(Trouble::missing("a history"))?;
    let query = query.as_deref();
    let next = parameter(query, "next").ok();
    let found = match parameter(query, "group_id") {
        Ok(group_id) => history.of_group(&page.key(group_id), next.as_deref()).await,
        Err(_) => {
            let account = parameter(query, "account")?;
            history.of_account(page.table.sdk_app_id, &account, next.as_deref()).await
        }
    };
    let found = found.map_err(|error| Trouble::of_table(error, &history.table_name, "Query"))?;
    Ok(Json(json!({
        "changes": found.changes.iter().map(view::change).collect::<Vec<_>>(),
        "next": found.next,
        "nothing": nothing_told(Some(history.days)),
    })))
}

/// Why one account is in one group, or not.
async fn answer_why(State(page): State<Page>, RawQuery(query): RawQuery) -> Result<Json<Value>, Trouble> {
    let query = query.as_deref();
    let key = page.key(parameter(query, "group_id")?);
    let account = parameter(query, "account")?;
    let table = &page.table;
    let answer = why::answer(&table.client, &table.name, page.history.as_ref(), &key, &account).await;
    let answer = answer.map_err(|error| Trouble::new("failed", error_chain(error.as_ref())))?;
    Ok(Json(json!({ "answer": answer })))
}

/// The group of exactly this id, and the groups of exactly this account.
async fn search(State(page): State<Page>, RawQuery(query): RawQuery) -> Result<Json<Value>, Trouble> {
    let text = parameter(query.as_deref(), "text")?;
    let (group, found) = tokio::try_join!(page.table.partition(&text), page.table.groups_of(&text))?;
    Ok(Json(json!({ "group": view::row_of(&group), "account": found })))
}

/// What arrives, as server-sent events, and a notice of new changes in the history. A viewer that comes back goes on after
/// the last arrival that it saw.
async fn live(
    State(page): State<Page>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, StatusCode> {
    let run = page.run.ok_or(StatusCode::NOT_FOUND)?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    let told = stream::unfold(run.told, |mut told| async {
        told.changed().await.ok()?;
        Some((Ok(Event::default().event("told").data("history")), told))
    });
    let live = stream::select(run.arrivals.stream(last), told);
    Ok(Sse::new(live).keep_alive(KeepAlive::default()))
}

/// The body of one arrival.
async fn arrival(State(page): State<Page>, Path(id): Path<u64>) -> Result<Response, StatusCode> {
    let body = page.run.and_then(|run| run.arrivals.body(id)).ok_or(StatusCode::NOT_FOUND)?;
    let text = String::from_utf8_lossy(&body).into_owned();
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

#[derive(Deserialize)]
struct Callback {
    command: String,
    body: String,
}

/// Signs a callback and posts it to the receiver. The token stays here.
async fn send(
    State(page): State<Page>,
    Json(callback): Json<Callback>,
) -> Result<Json<sender::Answer>, Trouble> {
    let run = page.run.ok_or(Trouble::missing("a local run"))?;
    let answer = run.sender.send(&callback.command, callback.body).await;
    answer
        .map(Json)
        .map_err(|error| Trouble::new("not_sent", format!("The receiver gave no answer: {error}.")))
}

fn parameter(query: Option<&str>, name: &str) -> Result<String, Trouble> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value.into_owned())
        .ok_or_else(|| Trouble::missing(name))
}
