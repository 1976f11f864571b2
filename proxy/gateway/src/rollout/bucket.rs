//! The place of a key between 0 and 10,000.
//!
//! Every gateway, in whatever language, must place a key alike, so the algorithm is fixed:
//!
//! > `bucket = XXH3_64(salt ++ 0x00 ++ key) mod 10_000`, where `XXH3_64` is the 64-bit XXH3 of the
//! > xxHash specification with seed 0 and the default secret, and salt and key are their UTF-8 bytes.
//!
//! A salt holds no zero byte, so that no two pairs of salt and key make the same input. The tests
//! below carry known answers. The remainder favours low buckets by less than one part in 10^15.

use xxhash_rust::xxh3::xxh3_64;

/// How many buckets there are: one for each basis point of weight.
pub const BUCKETS: u16 = 10_000;

/// Most salts and keys fit in here, and then hashing does not allocate.
const STACK_BYTES: usize = 256;

/// The place of a key, from 0 to 9,999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// Where this key stands under this salt.
    #[must_use]
    pub fn of(salt: &str, key: &str) -> Self {
        let length = salt.len() + 1 + key.len();
        if length <= STACK_BYTES {
            let mut buffer = [0; STACK_BYTES];
            buffer[..salt.len()].copy_from_slice(salt.as_bytes());
            buffer[salt.len() + 1..length].copy_from_slice(key.as_bytes());
            Self::from_hash(xxh3_64(&buffer[..length]))
        } else {
            Self::from_hash(xxh3_64(&[salt.as_bytes(), &[0], key.as_bytes()].concat()))
        }
    }

    /// A place for a request that has no key.
    #[must_use]
    pub fn random() -> Self {
        Self::from_hash(rand::random())
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    fn from_hash(hash: u64) -> Self {
        let remainder = hash % u64::from(BUCKETS);
        Self(u16::try_from(remainder).expect("a remainder of 10,000 fits in 16 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with the reference implementation of xxHash, version 0.8, and nothing of ours.
    #[test]
    fn known_answers() {
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2, "the empty input's answer in the specification");
        for (salt, key, bucket) in KNOWN_ANSWERS {
            assert_eq!(Bucket::of(salt, key).get(), bucket, "{salt} {key}");
        }
    }

    const KNOWN_ANSWERS: [(&str, &str, u16); 5] = [
        ("invoke", "", 6_356),
        ("invoke", "a", 1_364),
        ("invoke", "0193a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b", 4_916),
        ("orders", "a", 3_573),
        ("invoke", "cl\u{e9}", 9_262),
    ];

    #[test]
    fn long_input_takes_the_same_way() {
        assert_eq!(Bucket::of("invoke", &"k".repeat(300)).get(), 9_107, "from the reference implementation too");
        let salt = "invoke";
        for length in [0, 200, 248, 249, 250, 1_000] {
            let key = "k".repeat(length);
            let whole = [salt.as_bytes(), &[0], key.as_bytes()].concat();
            assert_eq!(u64::from(Bucket::of(salt, &key).get()), xxh3_64(&whole) % 10_000, "{length}");
        }
    }

    #[test]
    fn salt_and_key_do_not_run_into_each_other() {
        assert_ne!(Bucket::of("ab", "c"), Bucket::of("a", "bc"));
    }
}
