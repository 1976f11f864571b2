//! The keys of one issuer.

use serde_json::{Map, Value};

use super::{
    TokenProblem,
    jws::Jws,
    key::{self, Algorithm, KeyProblem, VerificationKey},
    strict_json,
};

/// More keys than this in one set are a mistake, or an attempt to keep the gateway busy.
const MAX_KEYS: usize = 100;

/// Why a key set is not used at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetProblem {
    #[error("it is no JSON object with a list of `keys`, each member named once")]
    Malformed,
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    #[error("it has secrets beside public keys, so one might be taken for the other")]
    Mixed,
    #[error("it has secrets, and whoever can fetch it can sign with them")]
    PublishedSecret,
    #[error("none of its keys can be used{}", .0.map(|problem| format!(": of the first, {problem}")).unwrap_or_default())]
    NoneUsable(Option<KeyProblem>),
}

/// The keys.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<VerificationKey>,
    /// The set is one key that the operator named, so a token's `kid` chooses nothing.
    only: bool,
}

/// Where a key set was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file of this machine, which may hold secrets.
    File,
    /// A place that others can read too.
    Url,
}

/// A set, and what of its document was left out and why, by `kid`.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) set: KeySet,
    pub(super) left_out: Vec<(Option<String>, KeyProblem)>,
}

impl KeySet {
    /// The one key that the configuration names.
    pub(super) fn only(key: VerificationKey) -> Self {
        Self { keys: vec![key], only: true }
    }

    /// Reads a JWK set (RFC 7517, section 5). Keys that cannot be used are left out, as the RFC
    /// wants it; keys for algorithms that the operator has not allowed are left out silently.
    pub(super) fn read(document: &[u8], origin: Origin, allowed: &[Algorithm]) -> Result<Read, KeySetProblem> {
        let document = strict_json::parse_object(document).map_err(|_| KeySetProblem::Malformed)?;
        let Some(Value::Array(jwks)) = document.get("keys") else { return Err(KeySetProblem::Malformed) };
        if jwks.len() > MAX_KEYS {
            return Err(KeySetProblem::TooMany);
        }
        let is_secret = |jwk: &Value| jwk.get("kty").is_some_and(|kind| kind == "oct");
        let secrets = jwks.iter().filter(|jwk| is_secret(jwk)).count();
        if secrets > 0 && origin == Origin::Url {
            return Err(KeySetProblem::PublishedSecret);
        }
        if secrets > 0 && secrets < jwks.len() {
            return Err(KeySetProblem::Mixed);
        }
        let mut keys = Vec::new();
        let mut left_out = Vec::new();
        for jwk in jwks {
            let jwk = jwk.as_object().ok_or(KeySetProblem::Malformed)?;
            match VerificationKey::jwk(jwk) {
                Ok(_) if shares_its_kid(jwk, jwks) => left_out.push((kid(jwk), KeyProblem::DuplicateKid)),
                Ok(key) if allowed.contains(&key.algorithm) => keys.push(key),
                Ok(_) => {}
                Err(problem) => left_out.push((kid(jwk), problem)),
            }
        }
        if keys.is_empty() {
            return Err(KeySetProblem::NoneUsable(left_out.first().map(|(_, problem)| *problem)));
        }
        Ok(Read { set: Self { keys, only: false }, left_out })
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Verifies the signature with the one key that can have made it.
    pub(super) fn verify(&self, jws: &Jws<'_>) -> Result<(), TokenProblem> {
        let key = self.choose(jws.algorithm, jws.kid.as_deref())?;
        if key.verifies(jws.signing_input.as_bytes(), jws.signature) { Ok(()) } else { Err(TokenProblem::Signature) }
    }

    /// The key with exactly this `kid`. A token without one is taken only if a single key fits its
    /// algorithm: trying several would let an attacker choose how much work a request makes.
    fn choose(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<&VerificationKey, TokenProblem> {
        let named = |key: &&VerificationKey| self.only || kid.is_none() || key.kid.as_deref() == kid;
        if !self.keys.iter().any(|key| named(&key)) {
            return Err(TokenProblem::UnknownKey);
        }
        let mut fitting = self.keys.iter().filter(named).filter(|key| key.algorithm == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => Err(TokenProblem::Algorithm),
            (Some(_), Some(_)) => Err(TokenProblem::AmbiguousKey),
        }
    }
}

/// Whether another key of this type for signatures has this key's `kid`, be it of use or not: then
/// nobody can say which of them is meant.
fn shares_its_kid(jwk: &Map<String, Value>, jwks: &[Value]) -> bool {
    let same = |other: &&Map<String, Value>| {
        other.get("kid") == jwk.get("kid") && other.get("kty") == jwk.get("kty") && key::meant_for_verifying(other)
    };
    kid(jwk).is_some() && jwks.iter().filter_map(Value::as_object).filter(same).count() > 1
}

fn kid(jwk: &Map<String, Value>) -> Option<String> {
    jwk.get("kid").and_then(Value::as_str).map(ToOwned::to_owned)
}
