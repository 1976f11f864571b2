//! The receiving side: whether a request that says to be a dry run may be carried out as one.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    SignedRequest,
    key::Key,
    token::{Nonce, Proof, RequestToken},
};

/// Checks signatures and remembers nonces. Shared by all requests of a process.
#[derive(Debug)]
pub struct Verifier {
    key: Key,
    window_s: u64,
    max_nonces: usize,
    seen: Mutex<Seen>,
}

/// A request whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    token: RequestToken,
}

/// Why a request that says to be a dry run is not carried out at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The header cannot be read.
    #[error("the header strangler-dry-run cannot be read")]
    Malformed,
    /// The signature is not one of this secret over this request.
    #[error("the signature does not match the request")]
    Forged,
    /// It was signed too long ago, or is of the future.
    #[error("the signature is of another time; do the clocks agree?")]
    Expired,
    /// A request with this nonce was here before.
    #[error("the nonce has been used")]
    Replayed,
    /// No more nonces can be remembered now.
    #[error("too many dry runs at once")]
    Crowded,
}

/// The nonces of signatures that still hold. Of both lists, one is in the order of arrival.
#[derive(Debug, Default)]
struct Seen {
    nonces: HashSet<Nonce>,
    /// Until when each must be remembered, in seconds since 1970.
    order: VecDeque<(u64, Nonce)>,
}

impl Verifier {
    /// Takes signatures that are at most this far from the clock's time, and remembers up to
    /// `max_nonces` nonces; a nonce is remembered for at most twice the window.
    #[must_use]
    pub fn new(key: Key, window: Duration, max_nonces: usize) -> Self {
        Self { key, window_s: window.as_secs(), max_nonces, seen: Mutex::default() }
    }

    /// Checks the value of [`crate::REQUEST_HEADER`], at a time in seconds since 1970.
    ///
    /// # Errors
    /// When the request is not to be carried out, neither dry nor live. A request that carries the header
    /// twice is to be refused before.
    pub fn verify(&self, value: &[u8], request: SignedRequest<'_>, now_s: u64) -> Result<Verified, Refusal> {
        let text = std::str::from_utf8(value).map_err(|_| Refusal::Malformed)?;
        let token: RequestToken = text.parse().map_err(|_| Refusal::Malformed)?;
        // The signature first: nobody else may learn anything, or fill the memory.
        if !self.key.has_signed(request, &token) {
            return Err(Refusal::Forged);
        }
        if token.time_s.abs_diff(now_s) > self.window_s {
            return Err(Refusal::Expired);
        }
        self.remember(&token, now_s)?;
        Ok(Verified { token })
    }

    /// The value of [`crate::PROOF_HEADER`] in the answer to a handshake.
    #[must_use]
    pub fn agree(&self, verified: &Verified) -> Proof {
        self.key.agree(&verified.token)
    }

    /// The value of [`crate::PROOF_HEADER`] in the answer to a dry run.
    #[must_use]
    pub fn prove(&self, verified: &Verified) -> Proof {
        self.key.prove(&verified.token)
    }

    fn remember(&self, token: &RequestToken, now_s: u64) -> Result<(), Refusal> {
        // A holder that panicked has left both lists whole, or one nonce that is never forgotten.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((until_s, nonce)) = seen.order.front().copied()
            && until_s < now_s
        {
            seen.order.pop_front();
            seen.nonces.remove(&nonce);
        }
        if seen.nonces.contains(&token.nonce) {
            return Err(Refusal::Replayed);
        }
        if seen.nonces.len() >= self.max_nonces {
            return Err(Refusal::Crowded);
        }
        seen.nonces.insert(token.nonce);
        // Longer than the signature holds, whichever way its clock is off, and so in order of arrival.
        let until_s = now_s.saturating_add(self.window_s.saturating_mul(2));
        seen.order.push_back((until_s, token.nonce));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MIN_SECRET_BYTES;

    const NOW_S: u64 = 1_700_000_000;
    const REQUEST: SignedRequest<'static> = SignedRequest { method: "POST", target: "/a?b=c", body: b"body" };

    fn key() -> Key {
        Key::new(&[7; MIN_SECRET_BYTES]).expect("it is long enough")
    }

    fn verifier(max_nonces: usize) -> Verifier {
        Verifier::new(key(), Duration::from_secs(30), max_nonces)
    }

    fn header(nonce: u128, time_s: u64) -> Vec<u8> {
        key().sign(REQUEST, Nonce::from(nonce), time_s).to_string().into_bytes()
    }

    #[test]
    fn a_signed_request_is_taken_once() {
        let verifier = verifier(9);
        let verified = verifier.verify(&header(1, NOW_S), REQUEST, NOW_S).expect("it is signed");
        let token = key().sign(REQUEST, Nonce::from(1), NOW_S);
        assert!(key().is_proof(verifier.prove(&verified).to_string().as_bytes(), &token));
        assert!(key().is_agreement(verifier.agree(&verified).to_string().as_bytes(), &token));
        assert_eq!(verifier.verify(&header(1, NOW_S), REQUEST, NOW_S), Err(Refusal::Replayed));
        assert!(verifier.verify(&header(2, NOW_S), REQUEST, NOW_S).is_ok());
    }

    #[test]
    fn a_signature_covers_method_target_and_body() {
        let verifier = verifier(9);
        for other in [
            SignedRequest { method: "PUT", ..REQUEST },
            SignedRequest { target: "/a", ..REQUEST },
            SignedRequest { body: b"body2", ..REQUEST },
        ] {
            assert_eq!(verifier.verify(&header(1, NOW_S), other, NOW_S), Err(Refusal::Forged));
        }
        let foreign = Key::new(&[8; MIN_SECRET_BYTES]).expect("it is long enough");
        let foreign = foreign.sign(REQUEST, Nonce::from(1), NOW_S).to_string();
        assert_eq!(verifier.verify(foreign.as_bytes(), REQUEST, NOW_S), Err(Refusal::Forged));
        assert_eq!(verifier.verify(b"\xff", REQUEST, NOW_S), Err(Refusal::Malformed));
        assert!(verifier.verify(&header(1, NOW_S), REQUEST, NOW_S).is_ok(), "none of them has used the nonce up");
    }

    #[test]
    fn it_holds_for_its_window_only() {
        for (signed, taken) in [(-31_i64, false), (-30, true), (30, true), (31, false)] {
            let time_s = NOW_S.checked_add_signed(signed).expect("far from the ends");
            let result = verifier(9).verify(&header(1, time_s), REQUEST, NOW_S);
            assert_eq!(result.is_ok(), taken, "{signed}");
        }
    }

    #[test]
    fn a_nonce_is_remembered_as_long_as_its_signature_holds() {
        let verifier = verifier(9);
        let of_the_future = header(1, NOW_S + 30);
        assert!(verifier.verify(&of_the_future, REQUEST, NOW_S).is_ok());
        assert_eq!(verifier.verify(&of_the_future, REQUEST, NOW_S + 60), Err(Refusal::Replayed));
        assert_eq!(verifier.verify(&of_the_future, REQUEST, NOW_S + 61), Err(Refusal::Expired));
    }

    #[test]
    fn a_full_memory_refuses_until_something_is_forgotten() {
        let verifier = verifier(2);
        assert!((1..=2).all(|nonce| verifier.verify(&header(nonce, NOW_S), REQUEST, NOW_S).is_ok()));
        assert_eq!(verifier.verify(&header(3, NOW_S), REQUEST, NOW_S), Err(Refusal::Crowded));
        let later = NOW_S + 61;
        assert!(verifier.verify(&header(3, later), REQUEST, later).is_ok());
    }
}
