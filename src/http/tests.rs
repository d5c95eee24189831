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
    let client =
        HttpClient::with_resolver(&Trust::none(), Duration::from_secs(5), idle_timeout, Resolver::default());
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
