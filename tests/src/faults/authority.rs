//! Certificates that are right, and wrong in one way each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use tempfile::TempDir;

use crate::tls::{Identity, server};

/// What is wrong with a certificate that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Its time is over.
    Expired,
    /// It is another host's.
    OtherName,
    /// Nobody knows who signed it.
    Stranger,
}

/// An authority of the test's own, and the certificates that an endpoint may show.
#[derive(Debug)]
pub(super) struct Authority {
    right: Arc<ServerConfig>,
    expired: Arc<ServerConfig>,
    other_name: Arc<ServerConfig>,
    stranger: Arc<ServerConfig>,
    file: PathBuf,
    _directory: TempDir,
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

impl Authority {
    /// Makes one, with certificates for `host`.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(super) fn new(host: &str) -> anyhow::Result<Self> {
        let (known, unknown) = (issuer()?, issuer()?);
        let directory = tempfile::Builder::new().prefix("kongtap-authority.").tempdir()?;
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, known.pem())?;
        let right = CertificateParams::new(vec![host.to_owned()])?;
        let mut expired = right.clone();
        expired.not_after = date_time_ymd(2020, 1, 1);
        let other_name = CertificateParams::new(vec!["other.lab.test".to_owned()])?;
        Ok(Self {
            right: signed(&right, &known)?,
            expired: signed(&expired, &known)?,
            other_name: signed(&other_name, &known)?,
            stranger: signed(&right, &unknown)?,
            file,
            _directory: directory,
        })
    }

    /// What a server runs with.
    #[must_use]
    pub(super) fn server(&self, shown: Option<Shown>) -> Arc<ServerConfig> {
        Arc::clone(match shown {
            None => &self.right,
            Some(Shown::Expired) => &self.expired,
            Some(Shown::OtherName) => &self.other_name,
            Some(Shown::Stranger) => &self.stranger,
        })
    }

    /// Its own certificate, as a file of PEM.
    #[must_use]
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

fn issuer() -> anyhow::Result<Issuer> {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate()?).context("make an authority")
}

fn signed(parameters: &CertificateParams, issuer: &Issuer) -> anyhow::Result<Arc<ServerConfig>> {
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, issuer).context("make a certificate")?;
    server(&Identity {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    })
}
