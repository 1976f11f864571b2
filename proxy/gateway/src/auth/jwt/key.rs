//! Keys that verify signatures. Each fits exactly one algorithm, and that one is used whatever a
//! token asks for: a public key can never become the secret of an HMAC.

use std::borrow::Cow;

use jsonwebtoken::{DecodingKey, crypto};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{jws, weak_rsa};

/// A secret shorter than the hash it keys can be guessed more easily than the hash
/// (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// The sizes of RSA moduli, in bits (RFC 7518, section 3.3; above, verification is a way to keep a
/// gateway busy).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// An RSA exponent larger than this (33 bits) only makes verification slow.
const MAX_RSA_EXPONENT_BYTES: usize = 5;

/// An uncompressed point of P-256 in a `SubjectPublicKeyInfo` (RFC 5480) comes after these bytes.
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key of Ed25519 in a `SubjectPublicKeyInfo` (RFC 8410) comes after these bytes.
const ED25519_SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The supported signature algorithms (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// EdDSA on Ed25519.
    EdDsa,
}

/// A name of no supported algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no supported algorithm is called `{0}`; there are RS256, ES256, EdDSA and HS256")]
pub struct UnknownAlgorithm(String);

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl JsonSchema for Algorithm {
    fn schema_name() -> Cow<'static, str> {
        "Algorithm".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": Self::ALL})
    }
}

impl TryFrom<String> for Algorithm {
    type Error = UnknownAlgorithm;

    fn try_from(name: String) -> Result<Self, UnknownAlgorithm> {
        Self::named(&name).ok_or(UnknownAlgorithm(name))
    }
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// As `alg` spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    const fn in_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// Why a key is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyProblem {
    #[error("no supported algorithm uses keys of its type or curve")]
    Type,
    #[error("its member `{0}` is missing or malformed")]
    Member(&'static str),
    #[error("it is not meant for verifying signatures (`use`, `key_ops`)")]
    Purpose,
    #[error("another key has its `kid`")]
    DuplicateKid,
    #[error("its `alg` is not that of its type")]
    Algorithm,
    #[error("it is for {}, which is not among `algorithms`", .0.as_str())]
    NotAllowed(Algorithm),
    #[error("its RSA modulus has not 2048 to 8192 bits")]
    RsaSize,
    #[error("its RSA exponent is even, 1, or longer than 33 bits")]
    RsaExponent,
    #[error("its RSA modulus can be factored (CVE-2017-15361)")]
    RsaFactorable,
    #[error("it is shorter than {MIN_SECRET_BYTES} bytes")]
    ShortSecret,
    #[error("it is a public key, which is no secret")]
    PublicSecret,
    #[error("it holds the private key, which whoever can read it can sign with")]
    Private,
    #[error("it is no public key in PEM (`BEGIN PUBLIC KEY`) of RSA, P-256 or Ed25519")]
    Pem,
}

/// One key.
#[derive(Debug)]
pub(super) struct VerificationKey {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// Its debug form shows nothing of the key.
    key: DecodingKey,
}

impl VerificationKey {
    /// The secret of an HMAC.
    pub(super) fn secret(secret: &[u8]) -> Result<Self, KeyProblem> {
        if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Err(KeyProblem::PublicSecret);
        }
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyProblem::ShortSecret);
        }
        Ok(Self::new(Algorithm::Hs256, DecodingKey::from_secret(secret)))
    }

    /// A public key in PEM.
    pub(super) fn pem(pem: &[u8]) -> Result<Self, KeyProblem> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyProblem::Pem)?;
        if let Some(point) = der.strip_prefix(&P256_SPKI_PREFIX) {
            return Self::p256(point).ok_or(KeyProblem::Pem);
        }
        if let Some(key) = der.strip_prefix(&ED25519_SPKI_PREFIX) {
            return Self::ed25519(key).ok_or(KeyProblem::Pem);
        }
        let components = crypto::aws_lc::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
        let (n, e) = components(&der).map_err(|_| KeyProblem::Pem)?;
        Self::rsa(&n, &e)
    }

    /// A key of a set (RFC 7517, RFC 7518 section 6, RFC 8037).
    pub(super) fn jwk(jwk: &Map<String, Value>) -> Result<Self, KeyProblem> {
        let bytes = |name| member(jwk, name)?.and_then(jws::decode).ok_or(KeyProblem::Member(name));
        let curve = || member(jwk, "crv").map(Option::unwrap_or_default);
        let key_type = member(jwk, "kty")?.ok_or(KeyProblem::Member("kty"))?;
        let mut key = match key_type {
            "oct" => Self::secret(&bytes("k")?)?,
            "RSA" => Self::rsa(&bytes("n")?, &bytes("e")?)?,
            "EC" if curve()? == "P-256" => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != y.len() {
                    return Err(KeyProblem::Member("x"));
                }
                Self::p256(&[&[4], &*x, &*y].concat()).ok_or(KeyProblem::Member("x"))?
            }
            "OKP" if curve()? == "Ed25519" => Self::ed25519(&bytes("x")?).ok_or(KeyProblem::Member("x"))?,
            _ => return Err(KeyProblem::Type),
        };
        if jwk.contains_key("d") {
            return Err(KeyProblem::Private);
        }
        if !meant_for_verifying(jwk) {
            return Err(KeyProblem::Purpose);
        }
        if member(jwk, "alg")?.is_some_and(|name| name != key.algorithm.as_str()) {
            return Err(KeyProblem::Algorithm);
        }
        key.kid = member(jwk, "kid")?.map(ToOwned::to_owned);
        Ok(key)
    }

    /// Whether this key signed that. The signature is in base64url.
    pub(super) fn verifies(&self, signing_input: &[u8], signature: &str) -> bool {
        // An error is a key or signature that the library cannot read.
        crypto::verify(signature, signing_input, &self.key, self.algorithm.in_library()).unwrap_or(false)
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyProblem> {
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(KeyProblem::RsaSize);
        }
        let odd = e.last().is_some_and(|last| last % 2 == 1);
        if !odd || e == [1] || e.len() > MAX_RSA_EXPONENT_BYTES {
            return Err(KeyProblem::RsaExponent);
        }
        if weak_rsa::is_factorable(n) {
            return Err(KeyProblem::RsaFactorable);
        }
        Ok(Self::new(Algorithm::Rs256, DecodingKey::from_rsa_raw_components(n, e)))
    }

    /// An uncompressed point: 4, x, y. That it is on the curve is checked with each signature.
    fn p256(point: &[u8]) -> Option<Self> {
        let uncompressed = point.len() == 65 && point[0] == 4;
        uncompressed.then(|| Self::new(Algorithm::Es256, DecodingKey::from_ec_der(point)))
    }

    fn ed25519(key: &[u8]) -> Option<Self> {
        (key.len() == 32).then(|| Self::new(Algorithm::EdDsa, DecodingKey::from_ed_der(key)))
    }

    fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        Self { algorithm, kid: None, key }
    }
}

fn member<'k>(jwk: &'k Map<String, Value>, name: &'static str) -> Result<Option<&'k str>, KeyProblem> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(KeyProblem::Member(name)),
    }
}

/// What `use` and `key_ops` (RFC 7517, sections 4.2 and 4.3) say, where they say anything.
pub(super) fn meant_for_verifying(jwk: &Map<String, Value>) -> bool {
    let used_for_signatures = jwk.get("use").is_none_or(|usage| usage == "sig");
    let may_verify = jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|list| list.iter().any(|operation| operation == "verify"))
    });
    used_for_signatures && may_verify
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
