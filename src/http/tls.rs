//! Which root certificates the AWS clients trust.
//!
//! Amazon's own roots come first: every endpoint of AWS chains to them, and reading the system's hundred and more costs
//! milliseconds of each cold start. If they don't match (a third-party endpoint, a new root), the system's are read and
//! used from then on. A bundle that is set replaces both.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Resolver;

/// Amazon Root CA 1 to 4 and Starfield Services Root CA G2, which Amazon Trust Services says to trust.
const AMAZON_ROOTS: &str = include_str!("amazon-roots.pem");

/// Which roots to trust.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Amazon's and, once they don't match, the system's.
    AmazonFirst,
    /// The system's.
    System,
    /// These alone, in PEM.
    Bundle(String),
}

impl Trust {
    /// The certificates of a bundle that can be roots, if there are any. The others are left out: a connector panics
    /// over them.
    pub fn bundle(pem: &[u8]) -> Option<Self> {
        let roots = valid_roots(pem);
        (!roots.is_empty()).then_some(Self::Bundle(roots))
    }

    /// None at all: for connections without TLS.
    pub const fn none() -> Self {
        Self::Bundle(String::new())
    }

    /// The roots to trust for a server that is not AWS's. The system's are read with the first connection.
    fn roots(&self) -> TrustStore {
        match self {
            Self::AmazonFirst | Self::System => TrustStore::default(),
            Self::Bundle(pem) if pem.is_empty() => TrustStore::empty(),
            Self::Bundle(pem) => TrustStore::empty().with_pem_certificate(pem.as_str()),
        }
    }

    /// How TLS is spoken with such a server.
    pub fn tls(&self) -> (Provider, TlsContext) {
        tls(self.roots())
    }
}

/// The HTTP client that all AWS clients share.
pub(crate) fn http_client(trust: &Trust, resolver: Resolver) -> SharedHttpClient {
    match trust {
        Trust::Bundle(_) | Trust::System => trusting(trust.roots(), resolver),
        Trust::AmazonFirst => {
            let system = trusting(TrustStore::default(), resolver.clone());
            falling_back(trusting(TrustStore::empty().with_pem_certificate(AMAZON_ROOTS), resolver), system)
        }
    }
}

/// How TLS is spoken with a server whose certificate chains to one of these roots.
fn tls(roots: TrustStore) -> (Provider, TlsContext) {
    // Not aws-lc: its entropy collector takes 30 ms of a full CPU before the first handshake.
    let provider = Provider::Rustls(CryptoMode::Ring);
    (provider, TlsContext::builder().with_trust_store(roots).build().unwrap_or_default())
}

/// Uses `first` until it refuses a certificate, and `second` from then on.
fn falling_back(first: SharedHttpClient, second: SharedHttpClient) -> SharedHttpClient {
    let refused = Arc::new(AtomicBool::new(false));
    // Called for each attempt: the one after the refused certificate is the second's.
    http_client_fn(move |settings, components| {
        if refused.load(Ordering::Relaxed) {
            return second.http_connector(settings, components);
        }
        let inner = first.http_connector(settings, components);
        SharedHttpConnector::new(CertificateWatch { inner, refused: Arc::clone(&refused) })
    })
}

fn trusting(roots: TrustStore, resolver: Resolver) -> SharedHttpClient {
    let (provider, context) = tls(roots);
    let client = aws_smithy_http_client::Builder::new()
        .tls_provider(provider)
        .tls_context(context)
        .build_with_resolver(resolver);
    // Not the client itself: asked to check its settings, it would build a connector for each AWS client and drop it.
    http_client_fn(move |settings, components| client.http_connector(settings, components))
}

fn valid_roots(bundle: &[u8]) -> String {
    let is_root = |block: &&str| {
        CertificateDer::from_pem_slice(block.as_bytes())
            .is_ok_and(|certificate| RootCertStore::empty().add(certificate).is_ok())
    };
    String::from_utf8_lossy(bundle).split_inclusive("-----END CERTIFICATE-----").filter(is_root).collect()
}

/// Notes a certificate that is not trusted.
#[derive(Debug)]
struct CertificateWatch {
    inner: SharedHttpConnector,
    refused: Arc<AtomicBool>,
}

impl HttpConnector for CertificateWatch {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (call, refused) = (self.inner.call(request), Arc::clone(&self.refused));
        HttpConnectorFuture::new(async move {
            call.await.inspect_err(|error| {
                if is_about_certificate(error) {
                    refused.store(true, Ordering::Relaxed);
                }
            })
        })
    }
}

fn is_about_certificate(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        next = match error.downcast_ref::<std::io::Error>() {
            // Its source is the one of the error in it, which would be passed over.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use aws_sdk_dynamodb::config::retry::RetryConfig;
    use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
    use chat_groups_testkit::tls::Authority;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn all_of_amazons_roots_can_be_used() {
        assert_eq!(valid_roots(AMAZON_ROOTS.as_bytes()).matches("BEGIN").count(), 5);
    }

    #[test]
    fn a_broken_certificate_costs_only_itself() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let bundle = [b"\xff a comment\n", broken.as_bytes(), AMAZON_ROOTS.as_bytes(), b"the end"].concat();
        assert_eq!(valid_roots(&bundle).matches("BEGIN").count(), 5);
        assert_eq!(valid_roots(broken.as_bytes()), "");
    }

    /// An endpoint whose certificate is of an authority of its own: its port, that authority, and the number of
    /// handshakes that it began.
    async fn endpoint() -> (u16, String, Arc<AtomicUsize>) {
        let authority = Authority::new().unwrap();
        let acceptor = authority.acceptor(b"http/1.1").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let handshakes = Arc::new(AtomicUsize::new(0));
        let begun = Arc::clone(&handshakes);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                begun.fetch_add(1, Ordering::Relaxed);
                // Who refuses the certificate leaves.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
                    stream.flush().await.unwrap();
                }
            }
        });
        (port, authority.pem(), handshakes)
    }

    /// Asks for the tables twice, and returns which times that worked.
    async fn ask_twice(http_client: SharedHttpClient, port: u16, attempts: u32) -> [bool; 2] {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
            // The SDK counts retries by region, for the whole process.
            .region(Region::new(port.to_string()))
            .endpoint_url(format!("https://localhost:{port}"))
            .http_client(http_client)
            .retry_config(
                RetryConfig::standard().with_max_attempts(attempts).with_initial_backoff(Duration::ZERO),
            )
            .build();
        let client = aws_sdk_dynamodb::Client::from_conf(config);
        let ask = async || client.list_tables().send().await.is_ok();
        [ask().await, ask().await]
    }

    #[tokio::test]
    async fn a_refused_certificate_is_tried_with_the_other_roots_and_only_once() {
        let (port, authority, handshakes) = endpoint().await;
        let amazon = || TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
        let own = || TrustStore::empty().with_pem_certificate(authority.as_str());
        let client = |roots| trusting(roots, Resolver::default());

        assert_eq!(ask_twice(falling_back(client(amazon()), client(own())), port, 2).await, [true, true]);
        assert_eq!(handshakes.swap(0, Ordering::Relaxed), 2);
        assert_eq!(ask_twice(falling_back(client(own()), client(amazon())), port, 2).await, [true, true]);
        assert_eq!(handshakes.swap(0, Ordering::Relaxed), 1);
        // The attempt with the first roots counts.
        assert_eq!(ask_twice(falling_back(client(amazon()), client(own())), port, 1).await, [false, true]);
        assert_eq!(ask_twice(client(amazon()), port, 2).await, [false, false]);
    }
}
