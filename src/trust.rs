//! Whom the AWS clients trust.
//!
//! Amazon's own roots come first: every end point of AWS chains to them, and reading the system's hundred and more
//! costs milliseconds of each cold start. Where they don't do (an end point of somebody else, a new root), the
//! system's are read and used from then on. A bundle that is set replaces both.

use std::error::Error;
use std::fs;
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

use crate::config::{ConfigError, Environment, optional};

/// Amazon Root CA 1 to 4 and Starfield Services Root CA G2, which Amazon Trust Services says to trust.
const AMAZON_ROOTS: &str = include_str!("amazon-roots.pem");

/// The HTTP client that all AWS clients share.
///
/// `AWS_CA_BUNDLE`, else `SSL_CERT_FILE`, names a file with the roots to trust instead; `SSL_CERT_DIR` a folder.
pub fn http_client(env: Environment<'_>) -> Result<SharedHttpClient, ConfigError> {
    let bundle = |variable| {
        optional(env, variable, "a readable file with at least one root certificate, in PEM", |path| {
            fs::read(path).ok().map(|bytes| usable(&bytes)).filter(|pem| !pem.is_empty())
        })
    };
    if let Some(pem) =
        bundle("AWS_CA_BUNDLE")?.map_or_else(|| bundle("SSL_CERT_FILE"), |pem| Ok(Some(pem)))?
    {
        return Ok(trusting(TrustStore::empty().with_pem_certificate(pem)));
    }
    let system = trusting(TrustStore::default());
    if optional(env, "SSL_CERT_DIR", "a folder with root certificates", |_| Some(()))?.is_some() {
        return Ok(system);
    }
    let amazon = trusting(TrustStore::empty().with_pem_certificate(AMAZON_ROOTS));
    let refused = Arc::new(AtomicBool::new(false));
    // Asked anew for each attempt: the one after a refused certificate is made with the system's roots.
    Ok(http_client_fn(move |settings, components| {
        if refused.load(Ordering::Relaxed) {
            return system.http_connector(settings, components);
        }
        let inner = amazon.http_connector(settings, components);
        SharedHttpConnector::new(Watched { inner, refused: Arc::clone(&refused) })
    }))
}

fn trusting(roots: TrustStore) -> SharedHttpClient {
    let client = aws_smithy_http_client::Builder::new()
        // Not aws-lc: its entropy collector takes 30 ms of a full CPU before the first handshake.
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(TlsContext::builder().with_trust_store(roots).build().unwrap_or_default())
        .build_https();
    // Not the client itself: asked to check its settings, it would build a connector for each AWS client and drop it.
    http_client_fn(move |settings, components| client.http_connector(settings, components))
}

/// The certificates of a bundle that can be roots. The others are left out: a connector panics over them.
fn usable(bundle: &[u8]) -> String {
    let is_root = |block: &&str| {
        CertificateDer::from_pem_slice(block.as_bytes())
            .is_ok_and(|certificate| RootCertStore::empty().add(certificate).is_ok())
    };
    String::from_utf8_lossy(bundle).split_inclusive("-----END CERTIFICATE-----").filter(is_root).collect()
}

/// Takes note of a certificate that is not trusted.
#[derive(Debug)]
struct Watched {
    inner: SharedHttpConnector,
    refused: Arc<AtomicBool>,
}

impl HttpConnector for Watched {
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
mod tests {
    use std::env::VarError;

    use super::*;

    #[test]
    fn all_of_amazons_roots_can_be_used() {
        assert_eq!(usable(AMAZON_ROOTS.as_bytes()).matches("BEGIN").count(), 5);
    }

    #[test]
    fn a_broken_certificate_costs_only_itself() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let bundle = [b"\xff a comment\n", broken.as_bytes(), AMAZON_ROOTS.as_bytes(), b"the end"].concat();
        assert_eq!(usable(&bundle).matches("BEGIN").count(), 5);
        assert_eq!(usable(broken.as_bytes()), "");
    }

    #[test]
    fn a_bundle_that_is_none_stops_the_start() {
        for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
            for path in ["/nowhere", "Cargo.toml"] {
                let env = |name: &str| {
                    if name == variable { Ok(path.to_owned()) } else { Err(VarError::NotPresent) }
                };
                assert_eq!(http_client(&env).err().map(|error| error.variable), Some(variable));
            }
        }
    }
}
