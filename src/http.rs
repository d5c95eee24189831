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
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
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
    match client.request(request).await {
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
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use chat_groups_testkit::tls::Authority;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::log::error_chain;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ndate: today\r\n\r\n{}";

    fn client() -> HttpClient {
        HttpClient::new(Trust::none(), Duration::from_secs(5))
    }

    /// A server that answers every request with these bytes and closes the connection after those that say so. Its
    /// URL, the number of its connections, and the last request.
    async fn server(address: &str, answer: &'static [u8]) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/path?secret", listener.local_addr().unwrap());
        let accepted = Arc::new(AtomicUsize::new(0));
        let connections = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, answer));
            }
        });
        (url, connections)
    }

    async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &'static [u8]) {
        let mut request = [0; 4096];
        while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
            if stream.write_all(answer).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            if answer.starts_with(b"HTTP/1.1 200 OK\r\nconnection: close") {
                return;
            }
        }
    }

    async fn post(client: &HttpClient, url: &str) -> Result<Vec<u8>, HttpError> {
        client.post(url, &[], b"{}").await?.body(1000).await
    }

    #[tokio::test]
    async fn method_path_headers_and_body_arrive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v4/path?a=b", listener.local_addr().unwrap());
        let received = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"the body") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(OK).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let headers = [("content-type", "application/json"), ("x-twice", "1"), ("x-twice", "2")];
        let response = client().post(&url, &headers, b"the body").await.unwrap();
        assert_eq!((response.status(), response.header("Date")), (200, Some("today")));
        assert_eq!(response.body(2).await.unwrap(), b"{}");
        let request = received.await.unwrap();
        assert!(request.starts_with("POST /v4/path?a=b HTTP/1.1\r\n"), "{request}");
        for header in ["content-type: application/json", "x-twice: 1", "x-twice: 2", "content-length: 8"] {
            assert!(request.contains(&format!("\r\n{header}\r\n")), "{header} in {request}");
        }
    }

    #[tokio::test]
    async fn a_connection_serves_many_requests() {
        let (url, connections) = server("127.0.0.1:0", OK).await;
        let client = client();
        for _ in 0..3 {
            assert_eq!(post(&client, &url).await.unwrap(), b"{}");
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_is_replaced() {
        let close = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        let (url, connections) = server("127.0.0.1:0", close).await;
        let client = client();
        for _ in 0..3 {
            assert_eq!(post(&client, &url).await.unwrap(), b"{}");
        }
        assert_eq!(connections.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_like_any_other() {
        let (url, connections) = server(
            "127.0.0.1:0",
            b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        assert_eq!(client().post(&url, &[], b"{}").await.unwrap().status(), 307);
        assert_eq!(connections.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_an_error() {
        let (url, _) = server("127.0.0.1:0", OK).await;
        let response = client().post(&url, &[], b"{}").await.unwrap();
        assert!(matches!(response.body(1).await, Err(HttpError::TooLarge { max_bytes: 1 })));
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n4\r\nabcd\r\n";
        let (url, _) = server("127.0.0.1:0", chunked).await;
        let response = client().post(&url, &[], b"{}").await.unwrap();
        assert!(matches!(response.body(7).await, Err(HttpError::TooLarge { max_bytes: 7 })));
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_an_error() {
        let cut = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\n{}";
        let (url, _) = server("127.0.0.1:0", cut).await;
        assert!(matches!(post(&client(), &url).await, Err(HttpError::Body(_))));
    }

    #[tokio::test]
    async fn headers_without_end_are_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let sent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut sent, mut head) = (0, &b"HTTP/1.1 200 OK\r\n"[..]);
            while stream.write_all(head).await.is_ok() {
                (sent, head) = (sent + head.len(), b"x-more: and more\r\n");
            }
            sent
        });
        let result = timeout(Duration::from_secs(10), post(&client(), &url)).await.unwrap();
        assert!(matches!(result, Err(HttpError::Connector(_))));
        // The buffers of both sockets hold more than was read.
        assert!(sent.await.unwrap() < 50_000_000);
    }

    #[tokio::test]
    async fn no_error_shows_the_url() {
        let (resets, _) = server("127.0.0.1:0", b"no HTTP").await;
        let client = client();
        for url in [
            "ftp://127.0.0.1/?secret",
            "/?secret",
            "http://?secret",
            "http://[::1/?secret",
            "http://127.0.0.1:1/?secret=<",
            "http://127.0.0.1:1/?secret",
            "https://127.0.0.1:1/?secret",
            "http://host.invalid/?secret",
            resets.as_str(),
            &resets.replace("http:", "https:"),
        ] {
            let error = post(&client, url).await.unwrap_err();
            let texts = [error_chain(&error), format!("{error:?}"), format!("{client:?}")];
            assert!(texts.iter().all(|text| !text.contains("secret")), "{url}: {texts:?}");
        }
    }

    /// Accepts TLS connections whose certificate the returned roots vouch for.
    fn acceptor() -> (TlsAcceptor, Trust) {
        let authority = Authority::new().unwrap();
        let trust = Trust::bundle(authority.pem().as_bytes()).unwrap();
        (authority.acceptor(b"http/1.1").unwrap(), trust)
    }

    #[tokio::test]
    async fn an_address_of_ip_version_6_is_reached_with_and_without_tls() {
        let (url, _) = server("[::1]:0", OK).await;
        assert!(url.starts_with("http://[::1]:"));
        assert_eq!(post(&client(), &url).await.unwrap(), b"{}");

        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let (acceptor, roots) = acceptor();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that refuses the certificate leaves.
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, OK).await;
                }
            }
        });
        let trusting = HttpClient::new(roots, Duration::from_secs(5));
        assert!(matches!(post(&client(), &url).await, Err(HttpError::Connector(_))), "an unknown authority");
        assert_eq!(post(&trusting, &url).await.unwrap(), b"{}");
    }

    #[tokio::test]
    async fn a_request_that_was_given_up_leaves_no_connection_to_the_next() {
        let (url, connections) = server("127.0.0.1:0", b"").await;
        let client = client();
        for expected in 1..=2 {
            assert!(timeout(Duration::from_millis(300), post(&client, &url)).await.is_err());
            assert_eq!(connections.load(Ordering::Relaxed), expected);
        }
    }

    #[tokio::test]
    async fn a_connection_that_rested_for_too_long_is_not_used_again() {
        let (url, connections) = server("127.0.0.1:0", OK).await;
        let idle_timeout = Duration::from_millis(200);
        let client = HttpClient::with_resolver(
            &Trust::none(),
            Duration::from_secs(5),
            idle_timeout,
            Resolver::default(),
        );
        for (rest, expected) in [(Duration::ZERO, 1), (idle_timeout / 4, 1), (idle_timeout * 2, 2)] {
            tokio::time::sleep(rest).await;
            assert_eq!(post(&client, &url).await.unwrap(), b"{}");
            assert_eq!(connections.load(Ordering::Relaxed), expected);
        }
    }

    /// Answers a connection's first request, and then cuts the second one's answer here.
    async fn cutting(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                for answer in [OK, answer] {
                    assert!(stream.read(&mut request).await.unwrap() > 0);
                    stream.write_all(answer).await.unwrap();
                }
                stream.set_zero_linger().unwrap();
            }
        });
        url
    }

    #[tokio::test]
    async fn a_connection_that_broke_before_any_byte_is_told_from_one_that_broke_later() {
        for (answer, is_unanswered) in [(&b""[..], true), (b"HTTP", false)] {
            let (client, url) = (client(), cutting(answer).await);
            assert_eq!(post(&client, &url).await.unwrap(), b"{}");
            let error = post(&client, &url).await.unwrap_err();
            assert_eq!(matches!(error, HttpError::Unanswered(_)), is_unanswered, "{error:?}");
            let anew = client.post_anew(&url, &[], b"{}").await.unwrap();
            assert_eq!(anew.body(2).await.unwrap(), b"{}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_nobody_accepts_ends_with_the_timeout() {
        // The handshake is never answered.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let client = HttpClient::new(Trust::none(), Duration::from_millis(200));
        let result = timeout(Duration::from_secs(5), post(&client, &url)).await.unwrap();
        assert!(result.is_err_and(|error| error.is_timeout()));
    }
}
