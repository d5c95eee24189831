//! The root certificates that are trusted.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The roots to trust, ready for handshakes.
#[derive(Debug, Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Mozilla's roots. They are constant data: reading the system's hundred and more costs milliseconds of each cold start.
    pub fn mozilla() -> Self {
        Self::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() })
    }

    /// None at all: for connections without TLS.
    pub fn none() -> Self {
        Self::new(RootCertStore::empty())
    }

    /// The roots of a bundle in PEM; `None` if it holds none. The certificates that can't be roots are left out.
    pub fn bundle(pem: &[u8]) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
        (!roots.is_empty()).then(|| Self::new(roots))
    }

    /// The roots of all PEM files in a folder; `None` if there are none.
    pub fn folder(path: &Path) -> Option<Self> {
        let files = std::fs::read_dir(path).ok()?.filter_map(Result::ok);
        let files: Vec<Vec<u8>> = files.filter_map(|file| std::fs::read(file.path()).ok()).collect();
        Self::bundle(&files.join(&b'\n'))
    }

    fn new(roots: RootCertStore) -> Self {
        // Not aws-lc: its entropy collector takes 30 ms of a full CPU before the first handshake.
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        // ring has cipher suites for every version.
        let config = config.with_safe_default_protocol_versions().unwrap_or_else(|_| ClientConfig::builder());
        Self(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }

    pub(super) fn tls_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use chat_groups_testkit::tls::Authority;

    use super::*;

    fn root() -> String {
        Authority::new().unwrap().pem()
    }

    #[test]
    fn a_broken_certificate_costs_only_itself() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let bundle = [b"\xff a comment\n", broken.as_bytes(), root().as_bytes(), b"the end"].concat();
        assert!(Trust::bundle(&bundle).is_some());
        assert!(Trust::bundle(broken.as_bytes()).is_none());
        assert!(Trust::bundle(b"").is_none());
    }

    #[test]
    fn a_folder_holds_roots_in_any_of_its_files() {
        let folder = std::env::temp_dir().join(format!("roots-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("a folder")).unwrap();
        std::fs::write(folder.join("a note"), b"no root").unwrap();
        assert!(Trust::folder(&folder).is_none());
        std::fs::write(folder.join("root.pem"), root()).unwrap();
        assert!(Trust::folder(&folder).is_some());
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(Trust::folder(&folder).is_none());
    }
}
