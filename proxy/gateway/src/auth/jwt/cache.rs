//! Tokens that were verified, so that one that comes with every request is verified once.
//!
//! A token is remembered by its SHA-256: nobody can make another one with the same, and the memory of
//! the process holds no token. An entry counts only with the very keys it was verified with.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::auth::Identity;

/// What an entry takes besides what its token says, roughly.
const ENTRY_BYTES: usize = 512;

/// The tokens.
pub(super) struct TokenCache(Cache<[u8; 32], Verified>);

/// One token that was good.
#[derive(Clone)]
pub(super) struct Verified {
    pub(super) issuer: usize,
    /// The generation of the issuer's keys that it was verified with.
    pub(super) generation: u64,
    /// From then on it is not good any more, in seconds since 1970.
    pub(super) expires_s: f64,
    pub(super) identity: Arc<Identity>,
    token_bytes: u32,
}

/// What stands for a token.
pub(super) type Digest = [u8; 32];

impl TokenCache {
    /// Remembers for at most `ttl`, and in about `limit_bytes` of memory.
    pub(super) fn new(limit_bytes: u64, ttl: Duration) -> Self {
        let cache = Cache::builder().max_capacity(limit_bytes).time_to_live(ttl);
        Self(cache.weigher(|_, verified: &Verified| verified.token_bytes).build())
    }

    pub(super) fn digest(token: &str) -> Digest {
        Sha256::digest(token).into()
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Verified> {
        self.0.get(digest)
    }

    pub(super) fn put(&self, digest: Digest, token: &str, mut verified: Verified) {
        // Claims are kept about as long as they came, and their texts once more in the identity.
        verified.token_bytes = u32::try_from(2 * token.len() + ENTRY_BYTES).unwrap_or(u32::MAX);
        self.0.insert(digest, verified);
    }
}

impl Verified {
    pub(super) fn new(issuer: usize, generation: u64, expires_s: f64, identity: Arc<Identity>) -> Self {
        Self { issuer, generation, expires_s, identity, token_bytes: 0 }
    }
}
