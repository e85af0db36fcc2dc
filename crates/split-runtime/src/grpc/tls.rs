//! TLS 1.3 and nothing older, on both ends, from PEM texts.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What an edge shows and whom it lets in, as PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub struct EdgePem {
    /// Its certificate and those between it and the root.
    pub chain: Vec<u8>,
    /// The key of the first of them.
    pub key: Vec<u8>,
    /// Roots of the devices' certificates; with them a device without a certificate is refused.
    pub device_roots: Option<Vec<u8>>,
}

/// Whom a device trusts and what it shows, as PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub struct DevicePem {
    /// Roots of the edges' certificates. There are no others: those of the system are not asked.
    pub edge_roots: Vec<u8>,
    /// Certificate chain and key of the device.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Which of the PEM texts an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsSource {
    /// The certificate chain.
    Chain,
    /// The private key.
    Key,
    /// The roots of the peers.
    Roots,
}

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A text isn't PEM.
    #[error("{what:?}: not readable as PEM: {source}")]
    Pem {
        /// Which text.
        what: TlsSource,
        /// What was wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// A text holds nothing of the kind that is needed.
    #[error("{what:?}: no certificate in it")]
    Empty {
        /// Which text.
        what: TlsSource,
    },
    /// Certificates or key are refused.
    #[error("{what:?}: {source}")]
    Refused {
        /// Which text.
        what: TlsSource,
        /// By what rule.
        source: rustls::Error,
    },
    /// The roots can't be used to check peers.
    #[error("roots can't be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl TlsError {
    /// Which text it is about.
    #[must_use]
    pub const fn about(&self) -> TlsSource {
        match self {
            Self::Pem { what, .. } | Self::Empty { what } | Self::Refused { what, .. } => *what,
            Self::Verifier(_) => TlsSource::Roots,
        }
    }
}

impl EdgePem {
    /// TLS 1.3 with `h2`, without early data, since that could be replayed.
    ///
    /// # Errors
    /// [`TlsError`] naming the text and what is wrong with it.
    pub fn to_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder
            .with_protocol_versions(&[&TLS13])
            .map_err(refused(TlsSource::Chain))?;
        let builder = match &self.device_roots {
            Some(pem) => {
                let roots = Arc::new(roots(pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
            None => builder.with_no_client_auth(),
        };
        let chain = certificates(&self.chain, TlsSource::Chain)?;
        let mut config = builder
            .with_single_cert(chain, key(&self.key)?)
            .map_err(refused(TlsSource::Key))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

impl DevicePem {
    /// TLS 1.3 with `h2`.
    ///
    /// # Errors
    /// [`TlsError`] naming the text and what is wrong with it.
    pub fn to_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(refused(TlsSource::Roots))?
            .with_root_certificates(roots(&self.edge_roots)?);
        let mut config = match &self.identity {
            Some((chain, secret)) => builder
                .with_client_auth_cert(certificates(chain, TlsSource::Chain)?, key(secret)?)
                .map_err(refused(TlsSource::Key))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Named, not looked up: `builder()` panics where two providers are linked in.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn refused(what: TlsSource) -> impl Fn(rustls::Error) -> TlsError {
    move |source| TlsError::Refused { what, source }
}

fn certificates(pem: &[u8], what: TlsSource) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|source| TlsError::Pem { what, source })?;
    if found.is_empty() {
        return Err(TlsError::Empty { what });
    }
    Ok(found)
}

fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let what = TlsSource::Key;
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| TlsError::Pem { what, source })
}

fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let what = TlsSource::Roots;
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem, what)? {
        store.add(certificate).map_err(refused(what))?;
    }
    Ok(store)
}
