//! Connections: DNS, TCP and TLS within one timeout.

use std::error::Error;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::{Resolver, Trust};

/// Makes connections, with TLS where the URL says https.
#[derive(Debug, Clone)]
pub(super) struct Connect {
    https: HttpsConnector<HttpConnector<Resolver>>,
    timeout: Duration,
}

impl Connect {
    pub(super) fn new(trust: &Trust, timeout: Duration, resolver: Resolver) -> Self {
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        Self { https: HttpsConnector::from((http, trust.tls_config())), timeout }
    }
}

impl Service<Uri> for Connect {
    type Response = TokioIo<Watched>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connect = timeout(self.timeout, self.https.call(url));
        Box::pin(async {
            let stream = connect.await.map_err(|_| ConnectTimeout)??;
            Ok(TokioIo::new(Watched { stream: TokioIo::new(stream), answered: Answered::default() }))
        })
    }
}

/// There was no connection in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection in time")]
pub(super) struct ConnectTimeout;

/// Whether a byte has been read since the last one was written.
#[derive(Debug, Clone, Default)]
pub(super) struct Answered(Arc<AtomicBool>);

impl Answered {
    /// That of the connection that a request has taken.
    pub(super) fn of(connected: &Connected) -> bool {
        let mut extensions = Extensions::new();
        connected.get_extras(&mut extensions);
        extensions.get::<Self>().is_some_and(|answered| answered.0.load(Ordering::Relaxed))
    }
}

/// A connection that notes whether a request was answered.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>,
    answered: Answered,
}

impl Connection for Watched {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.answered.clone())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > filled {
            self.answered.0.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answered.0.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    // A body is not copied behind its head.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.answered.0.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
