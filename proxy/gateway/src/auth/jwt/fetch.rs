//! Getting an issuer's published keys.

use std::{fs, io, path::PathBuf};

use reqwest::{Certificate, Client, StatusCode, Url};

use crate::{
    bounded_answer::{self, AnswerProblem},
    config::JwtConfig,
};

/// Why nothing can be fetched at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientProblem {
    #[error("cannot read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} has no certificates in PEM", .0.display())]
    NoCertificates(PathBuf),
    #[error("no HTTP client can be made of the settings")]
    Client(#[source] reqwest::Error),
}

/// A client for one address.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    url: Url,
    limit_bytes: usize,
}

impl Fetcher {
    pub(super) fn new(config: &JwtConfig, url: Url) -> Result<Self, ClientProblem> {
        let mut client =
            bounded_answer::client().timeout(config.jwks_timeout.get()).https_only(url.scheme() == "https");
        if let Some(path) = &config.jwks_ca_file {
            let pem = fs::read(path).map_err(|source| ClientProblem::Read { path: path.clone(), source })?;
            let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if certificates.is_empty() {
                return Err(ClientProblem::NoCertificates(path.clone()));
            }
            client = client.tls_certs_only(certificates);
        }
        let client = client.build().map_err(ClientProblem::Client)?;
        Ok(Self { client, url, limit_bytes: config.jwks_limit.as_usize() })
    }

    /// The document at the address.
    pub(super) async fn fetch(&self) -> Result<Vec<u8>, AnswerProblem> {
        let question = self.client.get(self.url.clone());
        bounded_answer::ask(question, |status| status == StatusCode::OK, self.limit_bytes).await
    }
}
