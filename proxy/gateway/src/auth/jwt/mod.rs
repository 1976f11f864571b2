//! Signed tokens (RFC 7519), verified strictly.
//!
//! A token goes through these modules: [`jws`] takes it apart, its unverified `iss` chooses an
//! [`issuer`], [`claims`] are held against that issuer's rules, and [`key_set`] verifies the signature
//! with the one key that can have made it. Everything around the signature itself is done here, because
//! libraries are laxer about it than a gateway may be; the signature is `jsonwebtoken`'s work.

mod cache;
mod claims;
mod fetch;
mod issuer;
mod jws;
mod key;
mod key_set;
mod live_keys;
mod problem;
mod refresh;
mod strict_json;
mod weak_rsa;
#[cfg(test)]
mod wycheproof_tests;

use std::{collections::HashMap, sync::Arc, time::Instant};

use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};

pub(crate) use issuer::secret_problem;
pub use key::{Algorithm, UnknownAlgorithm};
pub(crate) use problem::TokenProblem;

use super::{AuthProblem, Identity, metrics::AuthMetrics, readings::Readings};
use crate::config::AuthConfig;
use cache::{TokenCache, Verified};
use issuer::{Issuer, SourceProblem};
use jws::Jws;

/// Every issuer, and the tokens that were good.
pub(super) struct Tokens {
    issuers: Vec<Arc<Issuer>>,
    by_iss: HashMap<String, usize>,
    limit_bytes: usize,
    cache: Option<TokenCache>,
    metrics: Arc<AuthMetrics>,
}

/// An issuer's keys cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the issuer `{name}` has no usable keys")]
pub(crate) struct IssuerProblem {
    name: String,
    #[source]
    problem: SourceProblem,
}

impl Tokens {
    /// The issuers of settings that have been checked.
    pub(super) fn new(config: &AuthConfig, metrics: Arc<AuthMetrics>) -> Result<Self, IssuerProblem> {
        let issuer = |(name, config): (&String, _)| {
            let issuer = Issuer::new(name, config, Readings::new(name, metrics.source(name)));
            issuer.map(Arc::new).map_err(|problem| IssuerProblem { name: name.clone(), problem })
        };
        let by_iss = config.jwt.values().enumerate().map(|(index, config)| (config.issuer.clone(), index));
        Ok(Self {
            issuers: config.jwt.iter().map(issuer).collect::<Result<_, _>>()?,
            by_iss: by_iss.collect(),
            limit_bytes: config.jwt_limit.as_usize(),
            cache: (config.cache.bytes() > 0).then(|| TokenCache::new(config.cache.bytes(), config.cache_ttl.get())),
            metrics,
        })
    }

    /// The place of the issuer with this name in the configuration.
    pub(super) fn issuer_named(&self, name: &str) -> Option<usize> {
        self.issuers.iter().position(|issuer| issuer.name == name)
    }

    /// Whose token this is, at this time in seconds since 1970. `taken` has the issuers whose tokens
    /// are taken; none for all.
    pub(super) async fn identify(
        &self,
        token: &str,
        taken: &[usize],
        now_s: u64,
    ) -> Result<Arc<Identity>, AuthProblem> {
        if token.len() > self.limit_bytes {
            return Err(TokenProblem::TooLong.into());
        }
        let is_taken = |issuer: &usize| taken.is_empty() || taken.contains(issuer);
        let Some(cache) = &self.cache else {
            let verified = self.verify(token, is_taken, now_s).await?;
            return Ok(verified.identity);
        };
        let digest = TokenCache::digest(token);
        if let Some(known) = cache.get(&digest).filter(|known| self.still_holds(known, now_s)) {
            self.metrics.cache_hits.inc();
            return if is_taken(&known.issuer) { Ok(known.identity) } else { Err(TokenProblem::Issuer.into()) };
        }
        self.metrics.cache_misses.inc();
        let verified = self.verify(token, is_taken, now_s).await?;
        let identity = verified.identity.clone();
        cache.put(digest, token, verified);
        Ok(identity)
    }

    async fn verify(
        &self,
        token: &str,
        is_taken: impl Fn(&usize) -> bool,
        now_s: u64,
    ) -> Result<Verified, AuthProblem> {
        let jws = Jws::parse(token, self.limit_bytes)?;
        let claims = jws.claims()?;
        let known = claims.get("iss").and_then(Value::as_str).and_then(|iss| self.by_iss.get(iss));
        let index = known.copied().filter(is_taken).ok_or(TokenProblem::Issuer)?;
        let issuer = &self.issuers[index];
        let (expires_s, generation) = issuer.verify(&jws, &claims, now_s).await?;
        Ok(Verified::new(index, generation, expires_s, Arc::new(Identity::of_token(&issuer.name, claims))))
    }

    /// Whether what was found out about a token is still true: it has not expired, and the keys are
    /// the same and not stale.
    fn still_holds(&self, known: &Verified, now_s: u64) -> bool {
        let keys = self.issuers[known.issuer].keys.get(Instant::now());
        let generation = keys.as_ref().and_then(|keys| keys.as_ref()).map(|generation| generation.number);
        (now_s as f64) < known.expires_s && generation == Some(known.generation)
    }

    /// Reads the key files that have changed.
    pub(super) fn reload(&self) {
        for issuer in &self.issuers {
            issuer.reload();
        }
    }

    /// Spawns the tasks that fetch keys. Each drops its sender after its first fetch.
    pub(super) fn keep_fetched(&self, tasks: &mut JoinSet<()>, first_done: &mpsc::Sender<()>) {
        for issuer in &self.issuers {
            let (issuer, first_done) = (issuer.clone(), first_done.clone());
            tasks.spawn(async move { issuer.keep_fetched(first_done).await });
        }
    }
}
