//! TLS towards endpoints: whom they must show a certificate of.
//!
//! In: a destination's settings and, where it names one, a PEM file of authorities. Out: what a TLS handshake needs. The file is
//! read here; nothing else is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::plugin::Destination;
use crate::plugin::transport::HttpVersion;

/// Why there can be no TLS with a destination's settings. The source says more.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities cannot be read.
    #[error("tls_ca: {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is no PEM file.
    #[error("tls_ca: {} is not a PEM file of certificates", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate in it is none.
    #[error("tls_ca: {} has a certificate that cannot be used", path.display())]
    NotCertificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// It has no certificate.
    #[error("tls_ca: {} has no certificate", .0.display())]
    Empty(PathBuf),
    /// The host's own authorities cannot be had.
    #[error("the host's root certificates cannot be used")]
    Host(#[source] rustls::Error),
}

/// What tells one content of a file from the next.
pub(super) type Stamp = Option<(SystemTime, u64)>;

/// The stamp of a file; `None` when it cannot be looked at.
pub(super) fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Checks a destination's file of authorities, if it has one.
///
/// # Errors
/// [`TlsError`] says what is wrong with it.
pub fn check_authorities(destination: &Destination) -> Result<(), TlsError> {
    destination
        .transport
        .tls_ca
        .as_deref()
        .map_or(Ok(()), |path| authorities(path).map(drop))
}

pub(super) fn client_config(destination: &Destination) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Host)?;
    let builder = if !destination.tls_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else if let Some(path) = &destination.transport.tls_ca {
        builder.with_root_certificates(authorities(path)?)
    } else {
        builder.with_platform_verifier().map_err(TlsError::Host)?
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = match destination.transport.http_version {
        HttpVersion::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        HttpVersion::One => vec![b"http/1.1".to_vec()],
        HttpVersion::Two => vec![b"h2".to_vec()],
    };
    Ok(config)
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let pem = std::fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|source| TlsError::NotPem {
            path: path.to_owned(),
            source,
        })?;
        roots
            .add(certificate)
            .map_err(|source| TlsError::NotCertificate {
                path: path.to_owned(),
                source,
            })?;
    }
    if roots.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    Ok(roots)
}

/// Believes everybody, as the plugin did: for `tls_verify: false`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
