//! The secret that both sides share, and what is made with it.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{
    SignedRequest,
    token::{Nonce, Proof, RequestToken},
};

/// The shortest secret that is taken.
pub const MIN_SECRET_BYTES: usize = 32;

/// What the three texts begin with, so that none can stand for another.
const REQUEST: &str = "strangler-dry-run v1 request";
const PROOF: &str = "strangler-dry-run v1 proof";
const AGREEMENT: &str = "strangler-dry-run v1 agreement";

/// The shared secret, ready for use. Its `Debug` does not show it.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// A secret is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret has {bytes} bytes; it needs at least {MIN_SECRET_BYTES}")]
pub struct KeyProblem {
    /// How long it is.
    pub bytes: usize,
}

impl Key {
    /// Takes over a secret.
    ///
    /// # Errors
    /// When it is shorter than [`MIN_SECRET_BYTES`].
    pub fn new(secret: &[u8]) -> Result<Self, KeyProblem> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyProblem { bytes: secret.len() });
        }
        Ok(Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length")))
    }

    /// Signs a request that is to be a dry run. A nonce is 128 random bits and serves once.
    #[must_use]
    pub fn sign(&self, request: SignedRequest<'_>, nonce: Nonce, time_s: u64) -> RequestToken {
        let signature = self.request_mac(request, nonce, time_s).finalize().into_bytes().into();
        RequestToken { nonce, time_s, signature }
    }

    /// Says that the service carries out no request with such a header: the answer to a handshake.
    #[must_use]
    pub fn agree(&self, token: &RequestToken) -> Proof {
        self.answer(AGREEMENT, token)
    }

    /// Says that the request with this header was a dry run.
    #[must_use]
    pub fn prove(&self, token: &RequestToken) -> Proof {
        self.answer(PROOF, token)
    }

    /// Whether the value of an answer's [`crate::PROOF_HEADER`] is an agreement to the handshake with this header.
    #[must_use]
    pub fn is_agreement(&self, value: &[u8], token: &RequestToken) -> bool {
        self.is_answer(AGREEMENT, value, token)
    }

    /// Whether the value of an answer's [`crate::PROOF_HEADER`] proves that the request with this header was a dry
    /// run.
    #[must_use]
    pub fn is_proof(&self, value: &[u8], token: &RequestToken) -> bool {
        self.is_answer(PROOF, value, token)
    }

    /// Whether the signature is this key's for this request.
    pub(crate) fn has_signed(&self, request: SignedRequest<'_>, token: &RequestToken) -> bool {
        self.request_mac(request, token.nonce, token.time_s).verify_slice(&token.signature).is_ok()
    }

    fn request_mac(&self, request: SignedRequest<'_>, nonce: Nonce, time_s: u64) -> Hmac<Sha256> {
        let body = hex::encode(Sha256::digest(request.body));
        self.mac(&[REQUEST, request.method, request.target, &body, &nonce.to_string(), &time_s.to_string()])
    }

    fn answer(&self, kind: &str, token: &RequestToken) -> Proof {
        Proof { nonce: token.nonce, proof: self.answer_mac(kind, token).finalize().into_bytes().into() }
    }

    fn is_answer(&self, kind: &str, value: &[u8], token: &RequestToken) -> bool {
        let said = std::str::from_utf8(value).ok().and_then(|text| text.parse::<Proof>().ok());
        said.is_some_and(|said| {
            said.nonce == token.nonce && self.answer_mac(kind, token).verify_slice(&said.proof).is_ok()
        })
    }

    fn answer_mac(&self, kind: &str, token: &RequestToken) -> Hmac<Sha256> {
        self.mac(&[kind, &token.nonce.to_string(), &hex::encode(token.signature)])
    }

    fn mac(&self, lines: &[&str]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for line in lines {
            mac.update(line.as_bytes());
            mac.update(b"\n");
        }
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::new(&[byte; MIN_SECRET_BYTES]).expect("it is long enough")
    }

    const REQUEST: SignedRequest<'static> =
        SignedRequest { method: "POST", target: "/api/v1/functions/a/invoke?x=1", body: b"{\"n\":1}" };

    /// Computed with Python's `hmac` and `hashlib`, and nothing of ours.
    #[test]
    fn known_answers() {
        let key = Key::new(b"0123456789abcdef0123456789abcdef").expect("it is long enough");
        let token = key.sign(REQUEST, Nonce::from(1), 1_700_000_000);
        assert_eq!(token.to_string(), KNOWN_REQUEST);
        assert_eq!(key.prove(&token).to_string(), KNOWN_PROOF);
        assert_eq!(key.agree(&token).to_string(), KNOWN_AGREEMENT);
    }

    const KNOWN_REQUEST: &str = "v1; nonce=00000000000000000000000000000001; time=1700000000; \
         signature=f43df5a7a1660ff6034eba6de6bab7153a1e7b328355b9a92e4637150571f06a";
    const KNOWN_PROOF: &str = "v1; nonce=00000000000000000000000000000001; proof=44b46a92131cd869ea3c7452a10968c67167915abe0caea264b5b9ef7d467ad6";
    const KNOWN_AGREEMENT: &str = "v1; nonce=00000000000000000000000000000001; proof=2dae04f267ff5d549161e7b01fbe8e6ce3801b55f47ec1c68e393dcdab98c932";

    #[test]
    fn an_agreement_is_no_proof_and_holds_for_its_request_only() {
        let (ours, other) = (key(1), key(2));
        let token = ours.sign(REQUEST, Nonce::from(1), 9);
        let (proof, agreement) = (ours.prove(&token).to_string(), ours.agree(&token).to_string());
        assert!(ours.is_proof(proof.as_bytes(), &token) && ours.is_agreement(agreement.as_bytes(), &token));
        assert!(!ours.is_proof(agreement.as_bytes(), &token) && !ours.is_agreement(proof.as_bytes(), &token));
        assert!(!other.is_proof(proof.as_bytes(), &token), "another secret");
        for another in [ours.sign(REQUEST, Nonce::from(2), 9), ours.sign(REQUEST, Nonce::from(1), 10)] {
            assert!(!ours.is_proof(proof.as_bytes(), &another));
        }
        for text in ["", "v1", "yes", "v1; nonce=0; proof=0", "\u{fe}"] {
            assert!(!ours.is_proof(text.as_bytes(), &token), "{text}");
        }
        assert!(!ours.is_proof(&[0xff, 0xfe], &token));
    }

    #[test]
    fn a_short_secret_is_refused_and_no_secret_is_shown() {
        assert_eq!(Key::new(b"short").err(), Some(KeyProblem { bytes: 5 }));
        assert_eq!(format!("{:?}", key(7)), "Key(..)");
    }
}
