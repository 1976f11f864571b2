//! The two headers, as they are written and read.

use std::{fmt, str::FromStr};

/// A number that serves once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(u128);

/// What a request carries that is to be a dry run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestToken {
    pub(crate) nonce: Nonce,
    pub(crate) time_s: u64,
    pub(crate) signature: [u8; 32],
}

/// What the answer to one carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub(crate) nonce: Nonce,
    pub(crate) proof: [u8; 32],
}

/// A header is not written as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header is not written as version 1 says")]
pub struct MalformedToken;

impl From<u128> for Nonce {
    fn from(random: u128) -> Self {
        Self(random)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for RequestToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1; nonce={}; time={}; signature={}", self.nonce, self.time_s, hex::encode(self.signature))
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1; nonce={}; proof={}", self.nonce, hex::encode(self.proof))
    }
}

impl FromStr for RequestToken {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, MalformedToken> {
        let [nonce, time, signature] = parts(text, ["nonce=", "time=", "signature="])?;
        let token = Self { nonce: nonce_in(nonce)?, time_s: seconds_in(time)?, signature: mac_in(signature)? };
        // There is one way to write each, so that the text which was signed is the text that was sent.
        if token.to_string() == text { Ok(token) } else { Err(MalformedToken) }
    }
}

impl FromStr for Proof {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, MalformedToken> {
        let [nonce, proof] = parts(text, ["nonce=", "proof="])?;
        let token = Self { nonce: nonce_in(nonce)?, proof: mac_in(proof)? };
        if token.to_string() == text { Ok(token) } else { Err(MalformedToken) }
    }
}

fn parts<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Result<[&'a str; N], MalformedToken> {
    let mut pieces = text.split("; ");
    if pieces.next() != Some("v1") {
        return Err(MalformedToken);
    }
    let mut values = [""; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = pieces.next().and_then(|piece| piece.strip_prefix(name)).ok_or(MalformedToken)?;
    }
    if pieces.next().is_none() { Ok(values) } else { Err(MalformedToken) }
}

fn nonce_in(text: &str) -> Result<Nonce, MalformedToken> {
    u128::from_str_radix(text, 16).map(Nonce).map_err(|_| MalformedToken)
}

fn seconds_in(text: &str) -> Result<u64, MalformedToken> {
    text.parse().map_err(|_| MalformedToken)
}

fn mac_in(text: &str) -> Result<[u8; 32], MalformedToken> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map(|()| bytes).map_err(|_| MalformedToken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> RequestToken {
        RequestToken { nonce: Nonce(1), time_s: 7, signature: [0xab; 32] }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(nonce: u128, time_s: u64, mac: [u8; 32]) {
            let token = RequestToken { nonce: Nonce(nonce), time_s, signature: mac };
            prop_assert_eq!(token.to_string().parse(), Ok(token));
            let proof = Proof { nonce: Nonce(nonce), proof: mac };
            prop_assert_eq!(proof.to_string().parse(), Ok(proof));
        }

        #[test]
        fn whatever_comes_is_read_or_refused(text in "(v1; )?(nonce=|time=|signature=|proof=|[0-9a-f+ ;]{0,40}){0,6}") {
            let _ = text.parse::<RequestToken>();
            let _ = text.parse::<Proof>();
        }
    }

    #[test]
    fn there_is_one_way_to_write_a_header() {
        let good = token().to_string();
        assert!(good.parse::<RequestToken>().is_ok());
        for bad in [
            good.replace("v1", "v2"),
            good.replace("; time", ";time"),
            good.replace("time=7", "time=07"),
            good.replace("time=7", "time=+7"),
            good.replace("nonce=0", "nonce=+"),
            good.replace("ab", "AB"),
            good.replace("nonce=0", "nonce="),
            format!("{good}; more=1"),
            format!(" {good}"),
            String::new(),
        ] {
            assert_eq!(bad.parse::<RequestToken>(), Err(MalformedToken), "{bad}");
        }
    }
}
