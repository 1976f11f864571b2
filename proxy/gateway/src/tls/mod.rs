//! TLS on the gateway's own listeners: which certificate a client gets, and how a new one comes into
//! force without a restart.
//!
//! [`Certificates`] holds what is in force and chooses from it for each handshake; [`Reload`]
//! replaces it when the files change. A file that cannot be used changes nothing: the old
//! certificate goes on being served, which is better than none until it expires, and a metric and
//! the log say so.

mod certificate;
mod certificates;
mod metrics;
mod reload;

use std::sync::Arc;

use rustls::{ServerConfig, server::ResolvesServerCert, version};

pub use certificate::CertificateError;
pub(crate) use certificates::Certificates;
pub(crate) use metrics::TlsMetrics;
pub(crate) use reload::Reload;

use crate::config::{TlsConfig, TlsVersion};

/// HTTP/1.1 in the handshake's list of protocols (RFC 7301).
pub(crate) const HTTP1: &[u8] = b"http/1.1";
/// HTTP/2 in the handshake's list of protocols (RFC 9113, section 3.2).
pub(crate) const HTTP2: &[u8] = b"h2";

/// What a TLS acceptor needs: versions, certificates, and the protocols offered, best first.
pub(crate) fn server_config(
    config: &TlsConfig,
    certificates: Arc<Certificates>,
    protocols: &[&[u8]],
) -> Arc<ServerConfig> {
    let versions: &[_] = match config.minimum_version {
        TlsVersion::Tls12 => &[&version::TLS12, &version::TLS13],
        TlsVersion::Tls13 => &[&version::TLS13],
    };
    let resolver: Arc<dyn ResolvesServerCert> = certificates;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(server)
}

/// The cryptography of every TLS connection of the gateway.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Makes it that of libraries too which ask for the process's own, such as the client of Redis.
pub(crate) fn install_provider() {
    // Fails only when there is one already, which is this one: nobody else installs any.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
