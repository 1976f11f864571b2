//! Settings of TLS on a listener of the gateway.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use layered_config::{HumanDuration, Report, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS on a listener.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Where TLS is spoken. Without it the listener's own `bind` speaks TLS and nothing else; with
    /// it that one stays plain beside this one. Not for the admin listener, which is one or the other.
    pub bind: Option<SocketAddr>,
    /// Certificates and their keys. The client's server name chooses; the first is for clients that
    /// name no server or an unknown one.
    pub certificates: Vec<CertificateConfig>,
    /// The oldest version that is spoken.
    pub minimum_version: TlsVersion,
    /// The longest a client may take from connecting to the end of the handshake.
    pub handshake_timeout: HumanDuration,
    /// How often the files are looked at although no change was notified.
    pub poll_interval: HumanDuration,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// The certificate and then those that signed it, as PEM; relative to the configuration file.
    pub certificate: PathBuf,
    /// Its private key, as PEM; relative to the configuration file.
    pub key: PathBuf,
}

/// A version of TLS. Older ones are broken (RFC 8996).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            bind: None,
            certificates: Vec::new(),
            minimum_version: TlsVersion::Tls12,
            handshake_timeout: HumanDuration::from_secs(10),
            poll_interval: HumanDuration::from_secs(10),
        }
    }
}

impl TlsConfig {
    /// Makes the paths relative to the folder of the configuration file.
    pub(crate) fn resolve(&mut self, folder: &Path) {
        for pair in &mut self.certificates {
            pair.certificate = folder.join(&pair.certificate);
            pair.key = folder.join(&pair.key);
        }
    }
}

impl Validate for TlsConfig {
    fn validate(&self, report: &mut Report) {
        if self.certificates.is_empty() {
            let fix = "add `certificates = [{ certificate = \"tls/site.pem\", key = \"tls/site.key\" }]`";
            report.problem("certificates", "there is none, so no client could connect", fix);
        }
        for (index, pair) in self.certificates.iter().enumerate() {
            for (key, path) in [("certificate", &pair.certificate), ("key", &pair.key)] {
                if path.file_name().is_none() {
                    let fix = "write the path of a PEM file such as \"tls/site.pem\"";
                    report.problem(&format!("certificates[{index}].{key}"), "it names no file", fix);
                }
            }
        }
        for (key, duration) in [("handshake_timeout", self.handshake_timeout), ("poll_interval", self.poll_interval)] {
            if duration.get().is_zero() {
                report.problem(key, "it must not be zero", "write a duration such as \"10s\"");
            }
        }
    }
}
