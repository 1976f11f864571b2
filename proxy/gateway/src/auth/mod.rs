//! Who asks, and whether they may.
//!
//! A route says in its [`policy`] what a caller must show. [`credentials`] finds the one thing that is
//! shown, [`jwt`] or [`api_keys`] prove whose it is, and the result is an [`Identity`], which
//! [`identity_headers`] tells the upstream in words that no client can forge. Who may not pass gets
//! the answer of [`challenge`].

mod api_keys;
mod challenge;
mod credentials;
mod file;
mod identity;
mod identity_headers;
mod jwt;
mod key_watch;
mod metrics;
mod policy;
mod problem;
mod readings;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, header};
use pingora::http::RequestHeader;
use prometheus::Registry;
use tokio::{sync::mpsc, task::JoinSet};

pub use identity::{AuthMethod, Identity};
pub(crate) use identity_headers::IdentityHeaders;
pub(crate) use jwt::secret_problem;
pub use jwt::{Algorithm, UnknownAlgorithm};
pub(crate) use key_watch::KeyWatch;
use problem::AuthProblem;

use crate::{
    config::{Config, Require},
    refusal::Refused,
    route_table::{Route, RouteId},
};
use api_keys::{KeyFile, KeyFileProblem};
use credentials::Credential;
use jwt::{IssuerProblem, Tokens};
use metrics::AuthMetrics;
use policy::Policy;

/// Why nobody could prove anything.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AuthError(#[from] Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Issuer(#[from] IssuerProblem),
    #[error(transparent)]
    ApiKeys(#[from] KeyFileProblem),
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
}

/// Everything that proves who asks.
pub(crate) struct Authenticator {
    realm: String,
    headers: IdentityHeaders,
    /// Whether a token goes on to the upstream.
    forward_authorization: bool,
    /// By route.
    policies: Vec<Policy>,
    tokens: Tokens,
    api_keys: Option<KeyFile>,
    metrics: Arc<AuthMetrics>,
}

impl Authenticator {
    /// Reads the keys that settings name which have been checked.
    ///
    /// # Errors
    /// When a file with keys cannot be read or has none that can be used. Keys that are fetched may
    /// come later.
    pub(crate) fn new(config: &Config, registry: &Registry) -> Result<Self, AuthError> {
        Ok(Self::read(config, registry)?)
    }

    fn read(config: &Config, registry: &Registry) -> Result<Self, Cause> {
        let auth = &config.auth;
        let metrics = Arc::new(AuthMetrics::new(registry)?);
        let tokens = Tokens::new(auth, metrics.clone())?;
        // By name, so that no route can ever be guarded as another one wants it.
        let policy = |(_, route): (RouteId, &Route)| {
            let own = config.routes.iter().find(|config| config.name == route.name);
            let own = own.expect("the table is made of these routes").auth.as_ref();
            Policy::new(auth.of_route(own), |name| tokens.issuer_named(name))
        };
        let key_file = |keys| KeyFile::open(keys, metrics.source(api_keys::SOURCE));
        Ok(Self {
            realm: auth.realm.clone(),
            headers: IdentityHeaders::with_prefix(&auth.identity_header_prefix).expect("the prefix has been checked"),
            forward_authorization: auth.forward_authorization,
            policies: config.route_table().iter().map(policy).collect(),
            api_keys: auth.api_keys.as_ref().map(key_file).transpose()?,
            tokens,
            metrics,
        })
    }

    /// Who asks, on a route where that must be proven; nobody on others.
    pub(crate) async fn authenticate(
        &self,
        route: RouteId,
        headers: &HeaderMap,
        request_id: &str,
    ) -> Result<Option<Arc<Identity>>, Refused> {
        let policy = &self.policies[route.index()];
        if policy.require == Require::None {
            return Ok(None);
        }
        match self.identify(policy, headers, Utc::now()).await {
            Ok(identity) => {
                self.metrics.accepted(identity.method());
                Ok(Some(identity))
            }
            Err(problem) => {
                tracing::debug!(%request_id, %problem, "not admitted");
                self.metrics.refused(problem);
                Err(challenge::refused(problem, &self.realm, policy, self.api_key_header()))
            }
        }
    }

    async fn identify(
        &self,
        policy: &Policy,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Result<Arc<Identity>, AuthProblem> {
        let identity = match credentials::read(headers, policy.require, self.api_key_header())? {
            Credential::Token(token) => {
                let now_s = u64::try_from(now.timestamp()).unwrap_or_default();
                self.tokens.identify(token, &policy.issuers, now_s).await?
            }
            Credential::ApiKey(key) => {
                let keys = self.api_keys.as_ref().ok_or(AuthProblem::UnknownApiKey)?;
                keys.identify(key, now)?
            }
        };
        policy.admits(&identity)?;
        Ok(identity)
    }

    /// Makes the request say who asks, and nothing that the client claims about that.
    pub(crate) fn tell_upstream(
        &self,
        request: &mut RequestHeader,
        identity: Option<&Identity>,
    ) -> pingora::Result<()> {
        self.headers.remove_forged(request);
        let Some(identity) = identity else { return Ok(()) };
        if let Some(keys) = &self.api_keys
            && !keys.forward
        {
            request.remove_header(&keys.header);
        }
        if identity.method() == AuthMethod::Jwt && !self.forward_authorization {
            request.remove_header(&header::AUTHORIZATION);
        }
        self.headers.set(request, identity)
    }

    /// Reads the key files that have changed.
    fn reload(&self) {
        self.tokens.reload();
        if let Some(keys) = &self.api_keys {
            keys.reload();
        }
    }

    /// Spawns the tasks that fetch keys. `first_done` is gone when each has tried once.
    fn keep_fetched(&self, tasks: &mut JoinSet<()>, first_done: &mpsc::Sender<()>) {
        self.tokens.keep_fetched(tasks, first_done);
    }

    fn api_key_header(&self) -> Option<&HeaderName> {
        self.api_keys.as_ref().map(|keys| &keys.header)
    }
}
