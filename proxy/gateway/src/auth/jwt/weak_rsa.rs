//! RSA moduli that can be factored because a chip's generator made them (CVE-2017-15361, "ROCA").
//!
//! The primes of such a key are powers of 65537 modulo a product of small primes, and so is the
//! modulus modulo each of them. Of other moduli fewer than one in a hundred million look like that.
//! Source: M. Nemec, M. Sys, P. Svenda, D. Klinec, V. Matyas, "The Return of Coppersmith's Attack:
//! Practical Factorization of Widely Used RSA Moduli", ACM CCS 2017, section 4.

/// The small odd primes whose product is used for moduli from 2048 bits on, up to 167.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

const GENERATOR: u32 = 65_537;

/// Whether the modulus (big endian) has the fingerprint.
pub(super) fn is_factorable(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let remainder = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        is_power_of_generator(remainder, *prime)
    })
}

fn is_power_of_generator(value: u32, prime: u32) -> bool {
    let generator = GENERATOR % prime;
    let mut power = 1;
    // The powers come back to 1 after at most `prime - 1` steps.
    for _ in 1..prime {
        if power == value {
            return true;
        }
        power = power * generator % prime;
    }
    false
}
