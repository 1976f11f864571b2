//! Getting an issuer's published keys.

use std::{fs, io, path::PathBuf};

use reqwest::{Certificate, Client, StatusCode, Url, redirect};

use crate::config::JwtConfig;

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchProblem {
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    #[error("the answer was {0}")]
    Status(StatusCode),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

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
        let mut client = Client::builder()
            .timeout(config.jwks_timeout.get())
            // Keys are where the operator said, nowhere else.
            .redirect(redirect::Policy::none())
            .https_only(url.scheme() == "https")
            .user_agent(concat!("gateway/", env!("CARGO_PKG_VERSION")));
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
    pub(super) async fn fetch(&self) -> Result<Vec<u8>, FetchProblem> {
        // The address may hold a password, and reqwest's errors show it.
        let failed = |error: reqwest::Error| FetchProblem::Request(error.without_url());
        let mut answer = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchProblem::Status(answer.status()));
        }
        let mut document = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if document.len() + chunk.len() > self.limit_bytes {
                return Err(FetchProblem::TooLong(self.limit_bytes));
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document)
    }
}
