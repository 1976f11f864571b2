//! API keys, known by their hashes.
//!
//! A key is at least 128 random bits, so nobody can find it from its SHA-256 by trying, and a slow
//! hash as for passwords would only make requests slow. A key is looked up by its hash: how long that
//! takes says something about hashes that nobody can aim at, and nothing about keys.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use http::HeaderName;
use layered_config::{Problems, Report};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    AuthProblem, Identity,
    file::{self, ReadProblem},
    metrics::SourceMetrics,
    readings::Readings,
};
use crate::config::ApiKeysConfig;

/// What log and metrics call the file; no issuer can be called that.
pub(super) const SOURCE: &str = "api_keys.file";

/// A longer key than this is not hashed.
const MAX_KEY_BYTES: usize = 1_024;

/// Why the keys of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileProblem {
    #[error(transparent)]
    Read(#[from] ReadProblem),
    #[error("the API keys are refused: {}", .0.summary())]
    Refused(Problems),
}

/// The file, and the keys in force.
pub(super) struct KeyFile {
    path: PathBuf,
    /// The header that carries a key.
    pub(super) header: HeaderName,
    /// Whether a key goes on to the upstream.
    pub(super) forward: bool,
    live: ArcSwap<ApiKeys>,
    readings: Readings,
}

impl KeyFile {
    /// Reads the file of settings that have been checked.
    pub(super) fn open(config: &ApiKeysConfig, metrics: SourceMetrics) -> Result<Self, KeyFileProblem> {
        let file = Self {
            path: config.file.clone(),
            header: config.header.parse().expect("the name has been checked"),
            forward: config.forward,
            live: ArcSwap::default(),
            readings: Readings::new(SOURCE, metrics),
        };
        file.read()?;
        Ok(file)
    }

    /// Reads the file again. The keys in force stay when it is of no use any more.
    pub(super) fn reload(&self) {
        self.readings.note(&self.read());
    }

    /// Whose key this is.
    pub(super) fn identify(&self, key: &[u8], now: DateTime<Utc>) -> Result<Arc<Identity>, AuthProblem> {
        self.live.load().identify(key, now)
    }

    fn read(&self) -> Result<(), KeyFileProblem> {
        let text = file::read_text(&self.path)?;
        self.readings.adopt(text.as_bytes(), || {
            let keys = ApiKeys::parse(&self.path.display().to_string(), &text).map_err(KeyFileProblem::Refused)?;
            let count = keys.by_hash.len();
            self.live.store(Arc::new(keys));
            Ok(count)
        })
    }
}

/// The document: `[[keys]]` tables.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    keys: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    /// Of the key, in hexadecimal digits.
    sha256: String,
    #[serde(default)]
    scopes: Vec<String>,
    /// RFC 3339; for ever without one.
    expires: Option<String>,
}

/// The keys of one file.
#[derive(Debug, Default)]
struct ApiKeys {
    by_hash: HashMap<[u8; 32], Holder>,
}

#[derive(Debug)]
struct Holder {
    identity: Arc<Identity>,
    expires: Option<DateTime<Utc>>,
}

impl ApiKeys {
    /// Reads a document that errors call `name`.
    fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        let document: Document = layered_config::load_str_with(name, text, Document::validate)?;
        let holder = |entry: Entry| {
            let identity = Arc::new(Identity::of_api_key(&entry.name, entry.scopes));
            let hash = hash_from_hex(&entry.sha256).expect("the document has been checked");
            let expires = entry.expires.as_deref().map(|text| date(text).expect("the document has been checked"));
            (hash, Holder { identity, expires })
        };
        Ok(Self { by_hash: document.keys.into_iter().map(holder).collect() })
    }

    fn identify(&self, key: &[u8], now: DateTime<Utc>) -> Result<Arc<Identity>, AuthProblem> {
        if key.len() > MAX_KEY_BYTES {
            return Err(AuthProblem::UnknownApiKey);
        }
        let hash: [u8; 32] = Sha256::digest(key).into();
        let holder = self.by_hash.get(&hash).ok_or(AuthProblem::UnknownApiKey)?;
        if holder.expires.is_some_and(|expires| expires <= now) {
            return Err(AuthProblem::ExpiredApiKey);
        }
        Ok(holder.identity.clone())
    }
}

impl Document {
    fn validate(&self, report: &mut Report) {
        for (index, entry) in self.keys.iter().enumerate() {
            report.nested(&format!("keys[{index}]"), |report| {
                let earlier = &self.keys[..index];
                let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                if entry.name.is_empty() || !entry.name.bytes().all(bare) {
                    let fix = "write letters, digits, dashes, dots and underscores";
                    report.problem("name", "it is not usable as a name", fix);
                }
                if earlier.iter().any(|other| other.name == entry.name) {
                    report.problem("name", "another key has this name", "give each key a name of its own");
                }
                if hash_from_hex(&entry.sha256).is_none() {
                    let fix = "write what `strangler api-key new` prints, or of a key `printf %s KEY | sha256sum`";
                    report.problem("sha256", "it is no SHA-256 in 64 hexadecimal digits", fix);
                }
                if earlier.iter().any(|other| other.sha256.eq_ignore_ascii_case(&entry.sha256)) {
                    report.problem("sha256", "another entry has this key", "give each holder a key of their own");
                }
                if entry.expires.as_deref().is_some_and(|text| date(text).is_none()) {
                    report.problem("expires", "it is no time", "write one such as \"2031-12-31T00:00:00Z\"");
                }
            });
        }
    }
}

fn hash_from_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok().map(|()| hash)
}

fn date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, key: &str, rest: &str) -> String {
        format!("[[keys]]\nname = \"{name}\"\nsha256 = \"{}\"\n{rest}\n", hex::encode(Sha256::digest(key)))
    }

    #[test]
    fn a_key_is_known_by_its_hash_until_it_expires() {
        let text =
            entry("ci", "k1", "scopes = [\"build\"]\nexpires = \"2030-01-01T00:00:00Z\"") + &entry("ops", "k2", "");
        let keys = ApiKeys::parse("keys.toml", &text).expect("valid");
        let at = |text| date(text).expect("a time");
        let identity = keys.identify(b"k1", at("2029-12-31T23:59:59Z")).expect("it is known");
        assert_eq!((identity.id(), identity.scopes()), ("api_key:ci", &["build".to_owned()][..]));
        assert_eq!(keys.identify(b"k1", at("2030-01-01T00:00:00Z")), Err(AuthProblem::ExpiredApiKey));
        assert!(keys.identify(b"k2", at("2100-01-01T00:00:00Z")).is_ok());
        for key in [&b""[..], b"k", b"k3", &[b'k'; MAX_KEY_BYTES + 1]] {
            assert_eq!(keys.identify(key, at("2029-01-01T00:00:00Z")), Err(AuthProblem::UnknownApiKey));
        }
        // The hash is no key.
        assert!(keys.identify(&Sha256::digest(b"k2"), at("2029-01-01T00:00:00Z")).is_err());
    }

    #[test]
    fn every_problem_of_the_file_is_named() {
        let text = entry("a", "k", "")
            + &entry("a", "k", "expires = \"soon\"")
            + "[[keys]]\nname = \"b c\"\nsha256 = \"12\"\n";
        let shown = ApiKeys::parse("keys.toml", &text).expect_err("refused").to_string();
        for expected in ["keys[1].name", "keys[1].sha256", "keys[1].expires", "keys[2].name", "keys[2].sha256"] {
            assert!(shown.contains(expected), "{expected} is missing in\n{shown}");
        }
    }
}
