//! Private authorities: the PEM files that `tls_ca` names.
//!
//! In: a path. Out: certificates that the HTTP client takes, or what is wrong with the file. TLS itself is the HTTP client's.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use reqwest::{Certificate, Client};

use crate::plugin::Destination;

/// Why a file of authorities cannot be used. The source says more.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
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
        source: reqwest::Error,
    },
    /// A certificate in it is none.
    #[error("tls_ca: {} has a certificate that cannot be used", path.display())]
    NotCertificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// It has no certificate.
    #[error("tls_ca: {} has no certificate", .0.display())]
    Empty(PathBuf),
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

/// The authorities in a file.
pub(super) fn authorities(path: &Path) -> Result<Vec<Certificate>, TlsError> {
    let pem = std::fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|source| TlsError::NotPem {
        path: path.to_owned(),
        source,
    })?;
    if certificates.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    // What is inside of a certificate is looked at only when a client is made with it.
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only(certificates.iter().cloned())
        .build();
    match client {
        Ok(_usable) => Ok(certificates),
        Err(source) => Err(TlsError::NotCertificate {
            path: path.to_owned(),
            source,
        }),
    }
}
