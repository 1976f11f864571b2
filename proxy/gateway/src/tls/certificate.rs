//! One certificate with its key, read from files and checked.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::config::CertificateConfig;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}; it must exist and be readable by the gateway's user", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The certificate's file holds none, or something else.
    #[error("{} holds no usable certificate ({problem}); it must be PEM, the site's own certificate first", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The key's file holds none, or something else.
    #[error("{} holds no usable private key ({problem}); it must be PEM: PKCS #8, PKCS #1 or SEC1, and not encrypted", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong; never the key itself.
        problem: String,
    },
    /// Key and certificate do not belong together.
    #[error("the key in {} is not the key of the certificate in {}; name the two files of one pair", .key.display(), .certificate.display())]
    NotAPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// The bytes of the two files.
#[derive(PartialEq, Eq)]
pub(super) struct PairBytes {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl PairBytes {
    pub(super) fn read(config: &CertificateConfig) -> Result<Self, CertificateError> {
        Ok(Self { certificate: read(&config.certificate)?, key: read(&config.key)? })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source })
}

/// A certificate that a handshake can use.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names it is for, in lower case; `*.example.org` stands for one label.
    pub(super) names: Vec<String>,
    /// The second, since 1970, after which clients refuse it.
    pub(super) expires_s: i64,
}

impl Certificate {
    pub(super) fn new(config: &CertificateConfig, bytes: &PairBytes) -> Result<Self, CertificateError> {
        let bad = |problem: String| CertificateError::NoCertificate { path: config.certificate.clone(), problem };
        let no_key = |problem: String| CertificateError::NoKey { path: config.key.clone(), problem };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes.certificate).collect();
        let chain = chain.map_err(|error| bad(error.to_string()))?;
        let first = chain.first().ok_or_else(|| bad("no CERTIFICATE section".to_owned()))?;
        let (_, parsed) = parse_x509_certificate(first).map_err(|error| bad(error.to_string()))?;
        let names = match parsed.subject_alternative_name() {
            Ok(found) => found.map_or_else(Vec::new, |extension| dns_names(&extension.value.general_names)),
            Err(error) => return Err(bad(error.to_string())),
        };
        let expires_s = parsed.validity().not_after.timestamp();
        let key = PrivateKeyDer::from_pem_slice(&bytes.key).map_err(|error| no_key(error.to_string()))?;
        let key = CertifiedKey::from_der(chain.clone(), key, &super::provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                CertificateError::NotAPair { certificate: config.certificate.clone(), key: config.key.clone() }
            }
            error => no_key(error.to_string()),
        })?;
        Ok(Self { key: Arc::new(key), names, expires_s })
    }
}

fn dns_names(names: &[GeneralName<'_>]) -> Vec<String> {
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    names.iter().filter_map(dns).collect()
}
