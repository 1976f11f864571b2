//! One issuer: its keys, and what its tokens must say.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use layered_config::Secret;
use serde_json::{Map, Value};

use super::{
    TokenProblem,
    claims::Rules,
    fetch::{ClientProblem, Fetcher},
    jws::Jws,
    key::{Algorithm, KeyProblem, VerificationKey},
    key_set::{KeySet, KeySetProblem, Origin},
    live_keys::LiveKeys,
    refresh::{Asked, Refresh, Times},
};
use crate::{
    auth::{
        AuthProblem,
        file::{self, ReadProblem},
        readings::Readings,
    },
    bounded_answer::AnswerProblem,
    config::JwtConfig,
};

/// Why an issuer's keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceProblem {
    #[error(transparent)]
    File(#[from] ReadProblem),
    #[error("cannot use the keys in {}", .path.display())]
    Document {
        path: PathBuf,
        #[source]
        problem: DocumentProblem,
    },
    #[error(transparent)]
    Fetch(#[from] AnswerProblem),
    #[error("cannot use the keys that were fetched")]
    Fetched(#[source] DocumentProblem),
    #[error(transparent)]
    Client(#[from] ClientProblem),
}

/// Why a document of keys is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentProblem {
    #[error(transparent)]
    Key(#[from] KeyProblem),
    #[error(transparent)]
    Set(#[from] KeySetProblem),
}

/// Why a secret cannot be used, if it cannot.
pub(crate) fn secret_problem(secret: &Secret) -> Option<String> {
    VerificationKey::secret(secret.expose().as_bytes()).err().map(|problem| problem.to_string())
}

/// The issuer.
pub(super) struct Issuer {
    /// Its name in the configuration.
    pub(super) name: String,
    algorithms: Vec<Algorithm>,
    typ: Option<String>,
    rules: Rules,
    pub(super) keys: LiveKeys,
    source: Source,
    readings: Readings,
}

enum Source {
    /// The configuration itself.
    Secret,
    PublicKeyFile(PathBuf),
    JwksFile(PathBuf),
    Url(Box<Published>),
}

/// Keys that the issuer publishes.
struct Published {
    fetcher: Fetcher,
    refresh: Refresh,
    stale_for: Duration,
}

impl Issuer {
    /// An issuer as configured, with its keys unless they are still to be fetched.
    pub(super) fn new(name: &str, config: &JwtConfig, readings: Readings) -> Result<Self, SourceProblem> {
        let source = match (&config.jwks_url, &config.jwks_file, &config.public_key_file) {
            (Some(url), ..) => Source::Url(Box::new(Published::new(config, url)?)),
            (None, Some(path), _) => Source::JwksFile(path.clone()),
            (None, None, Some(path)) => Source::PublicKeyFile(path.clone()),
            (None, None, None) => Source::Secret,
        };
        let issuer = Self {
            name: name.to_owned(),
            algorithms: config.algorithms.clone(),
            typ: config.typ.clone(),
            rules: Rules {
                audiences: (!config.allow_any_audience).then(|| config.audience.clone()),
                leeway_s: u32::try_from(config.leeway.get().as_secs()).unwrap_or(u32::MAX),
                required: config.required_claims.clone(),
                needs_expiry: !config.allow_no_expiry,
            },
            keys: LiveKeys::none(),
            source,
            readings,
        };
        if let Source::Secret = issuer.source {
            let key = VerificationKey::secret(config.secret.expose().as_bytes());
            issuer.keys.replace(KeySet::only(key.expect("the secret has been checked")));
            issuer.keys.confirm(Instant::now(), None);
        }
        issuer.read_file()?;
        Ok(issuer)
    }

    /// Whether a token is good. Returns from when on it is not any more, in seconds since 1970, and
    /// the generation of the keys that say so.
    pub(super) async fn verify(
        &self,
        jws: &Jws<'_>,
        claims: &Map<String, Value>,
        now_s: u64,
    ) -> Result<(f64, u64), AuthProblem> {
        if !self.algorithms.contains(&jws.algorithm) {
            return Err(TokenProblem::Algorithm.into());
        }
        if let Some(typ) = &self.typ
            && !jws.typ.as_deref().is_some_and(|given| is_type(given, typ))
        {
            return Err(TokenProblem::Type.into());
        }
        // Before the signature, because it is cheap and a client is not told which it was.
        let expires_s = self.rules.check(claims, now_s)?;
        let refresh = match self.check_signature(jws) {
            Err(AuthProblem::Token(TokenProblem::UnknownKey)) => self.refresh(),
            checked => return checked.map(|generation| (expires_s, generation)),
        };
        match refresh {
            None => Err(TokenProblem::UnknownKey.into()),
            Some(refresh) => match refresh.ask().await {
                Asked::Fetched => self.check_signature(jws).map(|generation| (expires_s, generation)),
                // Nobody can say whether the token is good.
                Asked::Failed => Err(AuthProblem::KeysUnavailable),
            },
        }
    }

    fn check_signature(&self, jws: &Jws<'_>) -> Result<u64, AuthProblem> {
        let keys = self.keys.get(Instant::now());
        let generation = keys.as_ref().and_then(|keys| keys.as_ref()).ok_or(AuthProblem::KeysUnavailable)?;
        generation.set.verify(jws)?;
        Ok(generation.number)
    }

    fn refresh(&self) -> Option<&Refresh> {
        match &self.source {
            Source::Url(published) => Some(&published.refresh),
            _ => None,
        }
    }

    /// Fetches the keys for ever, where there is something to fetch. `first_done` is dropped after the
    /// first try.
    pub(super) async fn keep_fetched<T>(&self, first_done: T) {
        let Source::Url(published) = &self.source else { return };
        let mut first_done = Some(first_done);
        let mut rounds = published.refresh.rounds();
        loop {
            rounds.begin();
            let fetched = self.fetch(published).await;
            rounds.end(fetched.is_ok());
            self.readings.note(&fetched);
            drop(first_done.take());
            rounds.next().await;
        }
    }

    async fn fetch(&self, published: &Published) -> Result<(), SourceProblem> {
        let document = published.fetcher.fetch().await?;
        self.adopt(&document, Origin::Url).map_err(SourceProblem::Fetched)?;
        self.keys.confirm(Instant::now(), Some(published.stale_for));
        Ok(())
    }

    /// Reads the keys' file again, if that is where they are. What is in force stays when the file is
    /// of no use any more.
    pub(super) fn reload(&self) {
        if matches!(self.source, Source::JwksFile(_) | Source::PublicKeyFile(_)) {
            self.readings.note(&self.read_file());
        }
    }

    fn read_file(&self) -> Result<(), SourceProblem> {
        let (Source::PublicKeyFile(path) | Source::JwksFile(path)) = &self.source else { return Ok(()) };
        let document = file::read(path)?;
        self.adopt(&document, Origin::File)
            .map_err(|problem| SourceProblem::Document { path: path.clone(), problem })?;
        self.keys.confirm(Instant::now(), None);
        Ok(())
    }

    fn adopt(&self, document: &[u8], origin: Origin) -> Result<(), DocumentProblem> {
        self.readings.adopt(document, || {
            let set = self.parse(document, origin)?;
            let keys = set.len();
            self.keys.replace(set);
            Ok(keys)
        })
    }

    fn parse(&self, document: &[u8], origin: Origin) -> Result<KeySet, DocumentProblem> {
        if let Source::PublicKeyFile(_) = self.source {
            let key = VerificationKey::pem(document)?;
            let allowed = self.algorithms.contains(&key.algorithm);
            return if allowed { Ok(KeySet::only(key)) } else { Err(KeyProblem::NotAllowed(key.algorithm).into()) };
        }
        let read = KeySet::read(document, origin, &self.algorithms)?;
        for (kid, problem) in &read.left_out {
            tracing::info!(issuer = %self.name, kid = kid.as_deref().unwrap_or_default(), %problem, "a key is left out");
        }
        Ok(read.set)
    }
}

impl Published {
    fn new(config: &JwtConfig, url: &str) -> Result<Self, ClientProblem> {
        let times = Times {
            interval: config.refresh_interval.get(),
            cooldown: config.refresh_cooldown.get(),
            timeout: config.jwks_timeout.get(),
        };
        Ok(Self {
            fetcher: Fetcher::new(config, url.parse().expect("the address has been checked"))?,
            refresh: Refresh::new(times, config.refresh_waiters),
            stale_for: config.stale_for.get(),
        })
    }
}

/// Whether `typ` names this media type; `application/` may be left out (RFC 7515, section 4.1.9).
fn is_type(given: &str, wanted: &str) -> bool {
    let bare = |typ: &str| {
        let typ = typ.to_ascii_lowercase();
        typ.strip_prefix("application/").map_or(typ.clone(), ToOwned::to_owned)
    };
    bare(given) == bare(wanted)
}
