//! The one HTTP client: for AWS, for the downstream receiver, for Chat's REST API.
//!
//! HTTP/1.1 alone: a request that is dropped closes its connection, so that no connection that died in silence takes
//! another one.

mod connect;
mod dns;
mod tls;

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::{Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::TokioExecutor;

use self::connect::{Answered, Connect, ConnectTimeout};
pub(crate) use dns::Resolver;
pub use tls::Trust;

/// A connection rests no longer between two requests: servers close idle ones after 5 s (Node.js, uvicorn) or more, and a
/// request that meets the close on its way is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Posts to http and https URLs and keeps connections alive. It follows no redirect and retries nothing.
///
/// The caller sets the deadline: a request that is dropped takes its connection with it.
#[derive(Debug, Clone)]
pub struct HttpClient {
    pooled: Client<Connect, SdkBody>,
    /// Makes a connection for each request.
    unpooled: Client<Connect, SdkBody>,
}

impl HttpClient {
    /// A client that trusts these roots. The timeout covers a connection's DNS lookup and its TLS handshake.
    pub fn new(trust: Trust, connect_timeout: Duration) -> Self {
        Self::with_resolver(&trust, connect_timeout, IDLE_TIMEOUT, Resolver::default())
    }

    pub(crate) fn with_resolver(
        trust: &Trust,
        connect_timeout: Duration,
        idle_timeout: Duration,
        resolver: Resolver,
    ) -> Self {
        let connect = Connect::new(trust, connect_timeout, resolver);
        let mut builder = Client::builder(TokioExecutor::new());
        let pooled = builder.pool_idle_timeout(idle_timeout).build(connect.clone());
        Self { pooled, unpooled: builder.pool_max_idle_per_host(0).build(connect) }
    }

    /// Posts a body and waits for the response's head. Headers are names and values.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, &'static str)],
        body: &[u8],
    ) -> Result<Response, HttpError> {
        send(&self.pooled, post(url, headers, body)?).await.map(Response)
    }

    /// Like [`Self::post`], on a new connection.
    pub async fn post_anew(
        &self,
        url: &str,
        headers: &[(&'static str, &'static str)],
        body: &[u8],
    ) -> Result<Response, HttpError> {
        send(&self.unpooled, post(url, headers, body)?).await.map(Response)
    }
}

/// For the AWS SDK.
impl HttpConnector for HttpClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.pooled.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            send(&client, request).await.map_err(|error| match error.is_timeout() {
                true => ConnectorError::timeout(error.into()),
                false => ConnectorError::io(error.into()),
            })
        })
    }
}

fn post(
    url: &str,
    headers: &[(&'static str, &'static str)],
    body: &[u8],
) -> Result<http::Request<SdkBody>, HttpError> {
    let url = parse(url).ok_or(HttpError::Url)?;
    let request = http::Request::post(url).header(header::CONTENT_LENGTH, body.len());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body.into()).map_err(|_| HttpError::Url)
}

async fn send(
    client: &Client<Connect, SdkBody>,
    mut request: http::Request<SdkBody>,
) -> Result<HttpResponse, HttpError> {
    let connection = capture_connection(&mut request);
    match start(client, request).await {
        Ok(response) => response
            .map(SdkBody::from_body_1_x)
            .try_into()
            .map_err(|error| HttpError::Connector(Box::new(error))),
        Err(error) => {
            let is_answered = connection.connection_metadata().as_ref().map(Answered::of);
            Err(match is_answered {
                Some(false) => HttpError::Unanswered(error.into()),
                Some(true) | None => HttpError::Connector(error.into()),
            })
        }
    }
}

/// Not inlined, so that hyper's client is compiled into the library alone, and not into each function once more.
#[inline(never)]
fn start(client: &Client<Connect, SdkBody>, request: http::Request<SdkBody>) -> ResponseFuture {
    client.request(request)
}

/// Reads an http or https URL with a host, without credentials and without a fragment.
pub fn parse(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let (authority, host) = (url.authority()?.as_str(), url.host()?);
    let is_port = authority.ends_with(host) || url.port_u16().is_some();
    let is_plain = !host.is_empty() && !authority.contains('@') && !text.contains('#');
    (matches!(url.scheme_str(), Some("http" | "https")) && is_port && is_plain).then_some(url)
}

/// Whether a URL is one of https, or of a host that is near enough to go without.
pub fn is_https_or(url: &Uri, is_near: fn(IpAddr) -> bool) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    url.scheme_str() == Some("https") || host == "localhost" || host.parse().is_ok_and(is_near)
}

/// The head of a response, with a body that may be read or dropped.
#[derive(Debug)]
pub struct Response(HttpResponse);

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// The value of a header; `None` if it is absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)
    }

    /// Reads the body, up to a limit.
    pub async fn body(self, max_bytes: usize) -> Result<Vec<u8>, HttpError> {
        let body = Limited::new(self.0.into_body(), max_bytes).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => HttpError::TooLarge { max_bytes },
            false => HttpError::Body(error),
        })?;
        Ok(body.to_bytes().into())
    }
}

/// Why there is no response. It never shows the URL, whose query may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL can't be used.
    #[error("URL: expected http or https, with a host")]
    Url,
    /// There is no connection, or no valid head of a response.
    #[error("no response")]
    Connector(#[source] Box<dyn Error + Send + Sync>),
    /// The connection broke before any byte of a response.
    #[error("the connection broke before a response")]
    Unanswered(#[source] Box<dyn Error + Send + Sync>),
    /// The response ended before its body did.
    #[error("the response's body ended early")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    /// The body is larger than the caller's limit.
    #[error("the response's body is larger than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
}

impl HttpError {
    /// Whether a connection was not made in time.
    pub fn is_timeout(&self) -> bool {
        let mut next: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = next {
            if error.is::<ConnectTimeout>() {
                return true;
            }
            next = error.source();
        }
        false
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests;
