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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALL: [Algorithm; 4] = [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

    /// The point that RFC 7515 signs with in appendix A.3.
    fn p256(more: Value) -> Value {
        let key = json!({
            "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        with(key, more)
    }

    /// The key of RFC 8037, appendix A.1.
    fn ed25519(more: Value) -> Value {
        with(json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }), more)
    }

    fn with(mut key: Value, more: Value) -> Value {
        let (Value::Object(members), Value::Object(more)) = (&mut key, more) else { panic!("keys are objects") };
        members.extend(more);
        key
    }

    fn read(keys: &[Value], origin: Origin) -> Result<Read, KeySetProblem> {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), origin, &ALL)
    }

    #[test]
    fn a_token_chooses_one_key_or_none() {
        let keys = [p256(json!({ "kid": "a" })), p256(json!({ "kid": "b" })), ed25519(json!({ "kid": "c" }))];
        let set = read(&keys, Origin::Url).expect("it is good").set;
        let choose = |algorithm, kid| set.choose(algorithm, kid).map(|key| key.kid.as_deref().expect("each has one"));
        assert_eq!(choose(Algorithm::Es256, Some("b")), Ok("b"));
        assert_eq!(choose(Algorithm::EdDsa, None), Ok("c"));
        assert_eq!(choose(Algorithm::Es256, None), Err(TokenProblem::AmbiguousKey));
        assert_eq!(choose(Algorithm::Rs256, None), Err(TokenProblem::Algorithm));
        assert_eq!(choose(Algorithm::EdDsa, Some("a")), Err(TokenProblem::Algorithm));
        for kid in ["", "A", "a ", "d"] {
            assert_eq!(choose(Algorithm::Es256, Some(kid)), Err(TokenProblem::UnknownKey), "{kid:?}");
        }
        let nameless = read(&[ed25519(json!({}))], Origin::Url).expect("it is good").set;
        assert!(nameless.choose(Algorithm::EdDsa, None).is_ok());
        assert_eq!(nameless.choose(Algorithm::EdDsa, Some("x")).map(drop), Err(TokenProblem::UnknownKey));
        let only = KeySet::only(VerificationKey::secret(&[7; 32]).expect("long enough"));
        assert!(only.choose(Algorithm::Hs256, Some("whatever")).is_ok(), "the operator has chosen");
        assert_eq!(only.choose(Algorithm::Rs256, None).map(drop), Err(TokenProblem::Algorithm));
    }

    #[test]
    fn keys_that_are_of_no_use_are_left_out_and_named() {
        let twice = || ed25519(json!({ "kid": "twice" }));
        let keys = [
            p256(json!({ "kid": "good", "use": "sig", "alg": "ES256", "key_ops": ["verify"] })),
            p256(json!({ "kid": "use", "use": "enc" })),
            p256(json!({ "kid": "ops", "key_ops": ["sign"] })),
            p256(json!({ "kid": "alg", "alg": "ES384" })),
            p256(json!({ "kid": "private", "d": "AA" })),
            p256(json!({ "kid": "short", "y": "AA" })),
            p256(json!({ "kid": "curve", "crv": "P-384" })),
            json!({ "kid": "type", "kty": "XYZ" }),
            json!({ "kid": "none" }),
            twice(),
            twice(),
        ];
        let read = read(&keys, Origin::Url).expect("one is good");
        assert_eq!(read.set.len(), 1);
        let left_out: Vec<(&str, KeyProblem)> =
            read.left_out.iter().map(|(kid, problem)| (kid.as_deref().unwrap_or_default(), *problem)).collect();
        let expected = [
            ("use", KeyProblem::Purpose),
            ("ops", KeyProblem::Purpose),
            ("alg", KeyProblem::Algorithm),
            ("private", KeyProblem::Private),
            ("short", KeyProblem::Member("x")),
            ("curve", KeyProblem::Type),
            ("type", KeyProblem::Type),
            ("none", KeyProblem::Member("kty")),
            ("twice", KeyProblem::DuplicateKid),
            ("twice", KeyProblem::DuplicateKid),
        ];
        assert_eq!(left_out, expected);
    }

    #[test]
    fn secrets_are_not_taken_from_where_others_can_read_them() {
        let secret = json!({ "kty": "oct", "k": "A".repeat(43) });
        assert!(read(std::slice::from_ref(&secret), Origin::File).is_ok());
        let problem = |keys: &[Value], origin| read(keys, origin).map(drop).expect_err("refused");
        assert_eq!(problem(std::slice::from_ref(&secret), Origin::Url), KeySetProblem::PublishedSecret);
        assert_eq!(problem(&[secret, p256(json!({}))], Origin::File), KeySetProblem::Mixed);
        assert_eq!(problem(&[], Origin::Url), KeySetProblem::NoneUsable(None));
        assert_eq!(problem(&vec![p256(json!({})); 101], Origin::Url), KeySetProblem::TooMany);
        for document in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[1]}", "{\"keys\":[],\"keys\":[]}"] {
            assert_eq!(
                KeySet::read(document.as_bytes(), Origin::Url, &ALL).map(drop).expect_err("refused"),
                KeySetProblem::Malformed,
                "{document}"
            );
        }
    }
}
