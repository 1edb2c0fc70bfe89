//! Certificates from files to what rustls works with: for our listeners, and
//! for connections that we open.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Certificates of this box and of those it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM: our certificate and those between it and a root.
    pub certificate: PathBuf,
    /// PEM: its key.
    pub key: PathBuf,
    /// PEM: who vouches for peers, besides the public authorities for those
    /// that we call. Without it no certificate is asked of callers.
    pub authorities: Option<PathBuf>,
    /// Callers without a certificate are refused.
    pub require_client_certificate: bool,
}

/// Which file is at fault, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate.
    Certificate(String),
    /// The key.
    Key(String),
    /// The authorities.
    Authorities(String),
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(reason) | Self::Key(reason) | Self::Authorities(reason) => {
                f.write_str(reason)
            }
        }
    }
}

impl std::error::Error for TlsFault {}

impl Tls {
    /// What our listeners work with.
    ///
    /// # Errors
    /// A file cannot be read, holds nothing of its kind, or the key is not the
    /// certificate's.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsFault> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions");
        let builder = match &self.authorities {
            None if self.require_client_certificate => {
                return Err(TlsFault::Certificate(
                    "callers are to have a certificate and nobody vouches for it: write authorities = \"FILE\"".into(),
                ));
            }
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                add(&mut roots, path)?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                let verifier = if self.require_client_certificate {
                    verifier
                } else {
                    verifier.allow_unauthenticated()
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| TlsFault::Authorities(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (chain, key) = self.own()?;
        let config = builder
            .with_single_cert(chain, key)
            .map_err(|error| TlsFault::Key(format!("does not fit the certificate: {error}")))?;
        Ok(Arc::new(config))
    }

    /// What connections that we open work with; `tls` is `None` without any
    /// certificate of our own.
    ///
    /// # Errors
    /// As [`Tls::server`].
    pub fn client(tls: Option<&Self>) -> Result<Arc<ClientConfig>, TlsFault> {
        Self::client_to(tls, None)
    }

    /// The same, to one for whom the authorities of a file vouch as well.
    ///
    /// # Errors
    /// As [`Tls::server`].
    pub fn client_to(
        tls: Option<&Self>,
        authorities: Option<&Path>,
    ) -> Result<Arc<ClientConfig>, TlsFault> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let ours = tls.and_then(|tls| tls.authorities.as_deref());
        for path in ours.into_iter().chain(authorities) {
            add(&mut roots, path)?;
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_root_certificates(roots);
        let config = match tls {
            None => builder.with_no_client_auth(),
            Some(tls) => {
                let (chain, key) = tls.own()?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| TlsFault::Key(error.to_string()))?
            }
        };
        Ok(Arc::new(config))
    }

    fn own(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsFault> {
        let chain = certificates(&self.certificate).map_err(TlsFault::Certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| {
            TlsFault::Key(format!("`{}` holds no key: {error}", self.key.display()))
        })?;
        Ok((chain, key))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsFault> {
    for certificate in certificates(path).map_err(TlsFault::Authorities)? {
        roots
            .add(certificate)
            .map_err(|error| TlsFault::Authorities(format!("`{}`: {error}", path.display())))?;
    }
    Ok(())
}

/// The certificates of a file, in its order.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error| format!("`{}` holds no certificate: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(wrong)?;
    if found.is_empty() {
        return Err(format!("`{}` holds no certificate", path.display()));
    }
    Ok(found)
}
