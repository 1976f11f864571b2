//! What a TLS connection to an upstream needs, read from files and checked before anything is served:
//! pingora looks at it only when it connects, and takes some of it on trust.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use pingora::{
    protocols::tls::CaType,
    upstreams::peer::HttpPeer,
    utils::tls::{CertKey, WrappedX509, parse_x509},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

use crate::config::UpstreamTlsConfig;

/// Certificates, key and name for connections to one upstream.
pub(crate) struct UpstreamTls {
    server_name: String,
    ca: Option<Arc<CaType>>,
    client: Option<Arc<CertKey>>,
    verify: bool,
}

/// Why an upstream's TLS files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamTlsProblem {
    /// A file cannot be read.
    #[error("cannot read {}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file is no PEM.
    #[error("{} is not valid PEM; write a file that begins with `-----BEGIN`", .file.display())]
    NotPem {
        /// The file.
        file: PathBuf,
        /// Where it goes wrong.
        #[source]
        source: pem::Error,
    },
    /// A file holds nothing of what it is for.
    #[error("{} holds no {what}; is it the right file?", .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// A certificate or key is not valid.
    #[error("{} cannot be used", .file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
}

impl UpstreamTls {
    /// Reads and checks the files; `host` is the name to expect when none is configured.
    ///
    /// # Errors
    /// When a file cannot be read or used, or certificate and key are no pair.
    pub(crate) fn load(config: &UpstreamTlsConfig, host: &str) -> Result<Self, UpstreamTlsProblem> {
        let ca = config.ca_file.as_deref().map(trusted).transpose()?;
        let client = match (&config.client_certificate, &config.client_key) {
            (Some(certificate), Some(key)) => Some(client_pair(certificate, key)?),
            _ => None,
        };
        let server_name = config.server_name.clone().unwrap_or_else(|| host.to_owned());
        Ok(Self { server_name, ca, client, verify: config.verify })
    }

    /// The name for a peer's SNI. Never empty: pingora would then check nothing.
    pub(crate) fn server_name(&self) -> &str {
        &self.server_name
    }

    pub(crate) fn apply(&self, peer: &mut HttpPeer) {
        peer.client_cert_key.clone_from(&self.client);
        peer.options.ca.clone_from(&self.ca);
        peer.options.verify_cert = self.verify;
        peer.options.verify_hostname = self.verify;
    }
}

fn trusted(file: &Path) -> Result<Arc<CaType>, UpstreamTlsProblem> {
    let certificates = certificates(file)?;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        let added = store.add(certificate.clone());
        added.map_err(|source| UpstreamTlsProblem::Unusable { file: file.to_owned(), source })?;
    }
    let wrapped = certificates.into_iter().map(|certificate| WrappedX509::new(certificate.to_vec(), parse_x509));
    Ok(wrapped.collect::<Vec<_>>().into())
}

fn client_pair(certificate: &Path, key: &Path) -> Result<Arc<CertKey>, UpstreamTlsProblem> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|source| match source {
        pem::Error::NoItemsFound => UpstreamTlsProblem::Empty { file: key.to_owned(), what: "private key" },
        source => UpstreamTlsProblem::NotPem { file: key.to_owned(), source },
    })?;
    // What rustls takes here it takes when it connects.
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            let builder = builder.with_root_certificates(RootCertStore::empty());
            builder.with_client_auth_cert(chain.clone(), private.clone_key())
        })
        .map_err(|source| UpstreamTlsProblem::Unusable { file: certificate.to_owned(), source })?;
    let chain = chain.into_iter().map(|certificate| certificate.to_vec()).collect();
    Ok(Arc::new(CertKey::new(chain, private.secret_der().to_vec())))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamTlsProblem> {
    let text = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|source| UpstreamTlsProblem::NotPem { file: file.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(UpstreamTlsProblem::Empty { file: file.to_owned(), what: "certificate" });
    }
    Ok(certificates)
}

fn read(file: &Path) -> Result<Vec<u8>, UpstreamTlsProblem> {
    std::fs::read(file).map_err(|source| UpstreamTlsProblem::Unreadable { file: file.to_owned(), source })
}
