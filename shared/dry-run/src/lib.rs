//! Dry runs: a caller asks a service to carry a request out without effect, and the service proves that
//! it understood. Pure: time and random numbers are arguments, and nothing is sent here.
//!
//! A gateway that copies writes to a second system may do so only when that system carries none of them
//! out. It must not find out by trying. So both sides share a secret, and
//!
//! 1. the caller asks first, with a **handshake**: an empty `POST` to [`HANDSHAKE_PATH`] that carries the
//!    header [`REQUEST_HEADER`]. The service answers with a status of 200 to 299 and an *agreement* in
//!    [`PROOF_HEADER`]. Whoever does not know the secret cannot make one; a service that knows nothing of
//!    dry runs makes none, and gets no copy.
//! 2. each copy carries [`REQUEST_HEADER`]: a signature over method, target, body, nonce and time. The
//!    service checks it ([`Verifier`]) **before** it acts. What does not hold is refused with a 4xx and not
//!    carried out, neither dry nor live.
//! 3. each answer to a copy carries a *proof* in [`PROOF_HEADER`], which says "this very request was a dry
//!    run". The caller sends no more copies after an answer without one, until a new handshake.
//!
//! # On the wire
//!
//! ```text
//! strangler-dry-run: v1; nonce=<32 hex>; time=<seconds since 1970>; signature=<64 hex>
//! strangler-dry-run-proof: v1; nonce=<32 hex>; proof=<64 hex>
//! ```
//!
//! Hexadecimal digits are in small letters, parts are in this order and separated by `"; "`. With the secret
//! as its key (at least [`MIN_SECRET_BYTES`] bytes), HMAC-SHA256 (RFC 2104) is taken over these texts, each
//! line ending in one line feed:
//!
//! | what | text |
//! |---|---|
//! | signature | `strangler-dry-run v1 request`, method, target, SHA-256 of the body, nonce, time |
//! | proof | `strangler-dry-run v1 proof`, nonce, signature |
//! | agreement | `strangler-dry-run v1 agreement`, nonce, signature |
//!
//! The target is the path with its query as the service receives it: nothing in between may rewrite it. No
//! part can hold a line feed, so that no two requests have one text. Signatures are compared in constant
//! time.
//!
//! # What a service must know
//!
//! A signature holds for [`Verifier`]'s window, both into the past and into the future, and once: its nonce
//! is remembered for as long as it holds. The memory is bounded, and a verifier whose memory is full refuses.
//! Each process remembers for itself, so what was shown to one process could be shown to another of the same
//! secret within the window; all that this gains is another dry run.

mod key;
mod token;
mod verifier;

pub use key::{Key, KeyProblem, MIN_SECRET_BYTES};
pub use token::{MalformedToken, Nonce, Proof, RequestToken};
pub use verifier::{Refusal, Verified, Verifier};

/// The header of a request that is to be carried out without effect.
pub const REQUEST_HEADER: &str = "strangler-dry-run";

/// The header of an answer that proves that it was.
pub const PROOF_HEADER: &str = "strangler-dry-run-proof";

/// Where a service is asked whether it agrees to dry runs.
pub const HANDSHAKE_PATH: &str = "/.well-known/strangler/dry-run";

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// Path and query, as the service receives them.
    pub target: &'a str,
    /// The whole body.
    pub body: &'a [u8],
}

impl SignedRequest<'static> {
    /// The request that a handshake consists of.
    pub const HANDSHAKE: Self = Self { method: "POST", target: HANDSHAKE_PATH, body: b"" };
}
