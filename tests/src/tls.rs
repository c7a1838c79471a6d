//! Certificates for the lab's TLS ends, made anew for each run.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme, SupportedProtocolVersion};

/// A self-signed certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
}

/// A new certificate for the loopback names.
///
/// # Errors
/// When the certificate cannot be made.
pub fn self_signed() -> anyhow::Result<Identity> {
    let names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "api.lab.test".to_owned(),
    ];
    let made = rcgen::generate_simple_self_signed(names).context("make a self-signed certificate")?;
    Ok(Identity {
        certificate_pem: made.cert.pem(),
        key_pem: made.signing_key.serialize_pem(),
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What a TLS server of the lab runs with.
///
/// # Errors
/// When the certificate is not usable.
pub fn server(identity: &Identity) -> anyhow::Result<Arc<ServerConfig>> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
    let configuration = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Arc::new(configuration))
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2
    V12,
    /// TLS 1.3
    V13,
}

/// A client that takes any certificate, in any version: the lab's ends are its own, and a gateway that is named to it may be anybody's.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client() -> anyhow::Result<Arc<ClientConfig>> {
    client_with(rustls::DEFAULT_VERSIONS)
}

/// The same in one version.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client_of(version: Version) -> anyhow::Result<Arc<ClientConfig>> {
    client_with(&[match version {
        Version::V12 => &rustls::version::TLS12,
        Version::V13 => &rustls::version::TLS13,
    }])
}

fn client_with(versions: &[&'static SupportedProtocolVersion]) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = provider();
    let configuration = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Ok(Arc::new(configuration))
}

/// Verifies signatures, but not who signed.
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
