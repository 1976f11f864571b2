use std::path::{Path, PathBuf};

use layered_config::{Report, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

/// How to connect to an upstream by TLS. Files are relative to the configuration file and read once,
/// at the start.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTlsConfig {
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The name that the upstream's certificate must be for, also sent as SNI. The host of its first
    /// address unless given.
    pub server_name: Option<String>,
    /// The chain (PEM) that the gateway shows to the upstream.
    pub client_certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub client_key: Option<PathBuf>,
    /// Whether the upstream's certificate is checked. Without, anybody between can read and change
    /// everything.
    pub verify: bool,
}

impl Default for UpstreamTlsConfig {
    fn default() -> Self {
        Self { ca_file: None, server_name: None, client_certificate: None, client_key: None, verify: true }
    }
}

impl UpstreamTlsConfig {
    /// Makes its files relative to this folder.
    pub(crate) fn resolve_files(&mut self, folder: &Path) {
        for file in [&mut self.ca_file, &mut self.client_certificate, &mut self.client_key].into_iter().flatten() {
            *file = folder.join(&*file);
        }
    }
}

impl Validate for UpstreamTlsConfig {
    fn validate(&self, report: &mut Report) {
        if self.server_name.as_ref().is_some_and(|name| rustls::pki_types::ServerName::try_from(name.as_str()).is_err())
        {
            report.problem("server_name", "it is no host name", "write a name such as \"lambda.internal\"");
        }
        match (&self.client_certificate, &self.client_key) {
            (Some(_), None) => report.problem("client_key", "it is missing", "name the file of the certificate's key"),
            (None, Some(_)) => {
                report.problem("client_certificate", "it is missing", "name the file of the key's certificate");
            }
            _ => {}
        }
        if !self.verify && self.ca_file.is_some() {
            let fix = "remove `ca_file`, or write verify = true";
            report.problem("ca_file", "nothing is checked against it, because `verify` is false", fix);
        }
    }
}
