//! What artifacts are named by.

use std::{fmt, io::Read, str::FromStr};

/// The BLAKE3 digest of an artifact's bytes: 64 lower-case hexadecimal digits when written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(blake3::Hash);

/// What is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hexadecimal digits")]
pub struct NotADigest;

const SUFFIX: &str = ".zip";

impl Digest {
    /// How the keys of artifacts in the object store begin. Sources of functions that are no packages lie beside,
    /// under their bare digest, so that a key tells which of the two it names.
    pub const OBJECT_KEY_PREFIX: &str = "packages/";

    /// The digest of everything that is left to read.
    ///
    /// # Errors
    /// When reading fails.
    pub fn of(content: impl Read) -> std::io::Result<Self> {
        Ok(Self(blake3::Hasher::new().update_reader(content)?.finalize()))
    }

    /// The key of the artifact in the object store.
    #[must_use]
    pub fn object_key(&self) -> String {
        format!("{}{self}{SUFFIX}", Self::OBJECT_KEY_PREFIX)
    }

    /// The digest that a key of the object store names; `None` when it is no artifact's.
    #[must_use]
    pub fn from_object_key(key: &str) -> Option<Self> {
        key.strip_prefix(Self::OBJECT_KEY_PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let is_lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        blake3::Hash::from_hex(text).ok().filter(|_| is_lower_case).map(Self).ok_or(NotADigest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_its_digest_are_one_to_one() {
        let digest = Digest::of(&b"content"[..]).expect("memory can be read");
        assert_eq!(Digest::from_object_key(&digest.object_key()), Some(digest));
        let text = digest.to_string();
        assert_eq!(text.parse(), Ok(digest));
        for key in [text.clone(), format!("packages/{text}"), format!("packages/../{text}.zip"), String::new()] {
            assert_eq!(Digest::from_object_key(&key), None, "{key}");
        }
        assert_eq!(text.to_uppercase().parse::<Digest>(), Err(NotADigest));
        assert_eq!(text[1..].parse::<Digest>(), Err(NotADigest));
    }
}
