//! A party that signs tokens, honestly or not.

use std::sync::OnceLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize, SigningKey as _,
};
use serde_json::{Value, json};

/// What it signs with.
enum Key {
    Secret(String),
    Es256(KeyPair),
    EdDsa(KeyPair),
    Rs256(&'static KeyPair),
}

pub struct Signer {
    pub kid: String,
    key: Key,
}

/// Making an RSA key takes a second, so the tests of one process share it.
fn rsa_key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap())
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub fn hs256(kid: &str, secret: &str) -> Self {
        Self { kid: kid.to_owned(), key: Key::Secret(secret.to_owned()) }
    }

    pub fn es256(kid: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self { kid: kid.to_owned(), key: Key::Es256(key) }
    }

    pub fn ed25519(kid: &str) -> Self {
        Self { kid: kid.to_owned(), key: Key::EdDsa(KeyPair::generate_for(&PKCS_ED25519).unwrap()) }
    }

    pub fn rs256(kid: &str) -> Self {
        Self { kid: kid.to_owned(), key: Key::Rs256(rsa_key()) }
    }

    pub fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Secret(_) => "HS256",
            Key::Es256(_) => "ES256",
            Key::EdDsa(_) => "EdDSA",
            Key::Rs256(_) => "RS256",
        }
    }

    /// The key that verifies, as an issuer publishes it.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Secret(secret) => json!({ "kty": "oct", "k": base64url(secret) }),
            Key::Es256(key) => {
                let point = key.der_bytes();
                json!({ "kty": "EC", "crv": "P-256", "x": base64url(&point[1..33]), "y": base64url(&point[33..]) })
            }
            Key::EdDsa(key) => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(key.der_bytes()) }),
            Key::Rs256(key) => {
                let components = crypto::aws_lc::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
                let (n, e) = components(key.der_bytes()).unwrap();
                json!({ "kty": "RSA", "n": base64url(n), "e": base64url(e) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key in PEM.
    pub fn pem(&self) -> String {
        match &self.key {
            Key::Secret(_) => panic!("a secret has no public key"),
            Key::Es256(key) | Key::EdDsa(key) => key.public_key_pem(),
            Key::Rs256(key) => key.public_key_pem(),
        }
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({ "alg": self.algorithm(), "kid": self.kid }), claims)
    }

    /// A token with a header of the caller's choice, signed as always.
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// As before, where header and claims need not be what JSON libraries write.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", base64url(header), base64url(claims));
        let library = |key: &EncodingKey, algorithm| crypto::sign(input.as_bytes(), key, algorithm).unwrap();
        let signature = match &self.key {
            Key::Secret(secret) => library(&EncodingKey::from_secret(secret.as_bytes()), Algorithm::HS256),
            Key::Es256(key) => library(&EncodingKey::from_ec_der(&key.serialize_der()), Algorithm::ES256),
            Key::EdDsa(key) => base64url(key.sign(input.as_bytes()).unwrap()),
            Key::Rs256(key) => base64url(key.sign(input.as_bytes()).unwrap()),
        };
        format!("{input}.{signature}")
    }
}
