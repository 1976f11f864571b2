//! Functions' source: in the object store, and the latest of it in memory.
//!
//! An object's key is the BLAKE3 digest of its content, so what a key names never changes: a cached
//! source is never stale, two functions with the same source share one object, and a function's
//! deletion leaves its object where it is, because another function may have it.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use objects::Objects;

/// Why a source could not be stored or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CodeError {
    /// The object store is away.
    #[error("the object store cannot be used now")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
    /// No object has the key.
    #[error("there is no code under the key `{0}`")]
    Missing(String),
    /// The object is not what its key says, or is not text.
    #[error("the code under the key `{0}` is damaged")]
    Damaged(String),
}

/// The source of every function.
pub struct CodeStore {
    objects: Objects,
    cache: Mutex<Cache>,
}

/// The key of a source.
#[must_use]
pub fn key_of(source: &str) -> String {
    blake3::hash(source.as_bytes()).to_hex().to_string()
}

impl CodeStore {
    /// Keeps up to `cache_bytes` of source in memory.
    #[must_use]
    pub fn new(objects: Objects, cache_bytes: usize) -> Self {
        Self { objects, cache: Mutex::new(Cache { limit_bytes: cache_bytes, ..Cache::default() }) }
    }

    /// Stores a source and answers its key. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`CodeError::Unavailable`].
    pub async fn put(&self, source: &str) -> Result<String, CodeError> {
        let key = key_of(source);
        self.objects.put(&key, source.to_owned().into()).await.map_err(unavailable)?;
        self.remember(&key, source.into());
        Ok(key)
    }

    /// The source under a key.
    ///
    /// # Errors
    /// See [`CodeError`].
    pub async fn get(&self, key: &str) -> Result<Arc<str>, CodeError> {
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(key);
        if let Some(source) = cached {
            return Ok(source);
        }
        let content =
            self.objects.get(key).await.map_err(unavailable)?.ok_or_else(|| CodeError::Missing(key.to_owned()))?;
        let source: Arc<str> = std::str::from_utf8(&content).map_err(|_| CodeError::Damaged(key.to_owned()))?.into();
        if key_of(&source) != key {
            return Err(CodeError::Damaged(key.to_owned()));
        }
        self.remember(key, Arc::clone(&source));
        Ok(source)
    }

    /// Makes sure of the bucket.
    ///
    /// # Errors
    /// [`CodeError::Unavailable`].
    pub async fn probe(&self) -> Result<(), CodeError> {
        self.objects.ensure_bucket().await.map_err(unavailable)
    }

    fn remember(&self, key: &str, source: Arc<str>) {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).insert(key, source);
    }
}

fn unavailable(error: impl Error + Send + Sync + 'static) -> CodeError {
    CodeError::Unavailable(Arc::new(error))
}

/// Sources by key, the ones used longest ago dropped first.
#[derive(Default)]
struct Cache {
    limit_bytes: usize,
    bytes: usize,
    uses: u64,
    sources: HashMap<String, (Arc<str>, u64)>,
}

impl Cache {
    fn get(&mut self, key: &str) -> Option<Arc<str>> {
        self.uses += 1;
        let (source, used) = self.sources.get_mut(key)?;
        *used = self.uses;
        Some(Arc::clone(source))
    }

    fn insert(&mut self, key: &str, source: Arc<str>) {
        if source.len() > self.limit_bytes {
            return;
        }
        self.uses += 1;
        self.bytes += source.len();
        if let Some((replaced, _)) = self.sources.insert(key.to_owned(), (source, self.uses)) {
            self.bytes -= replaced.len();
        }
        // A scan per dropped source: it happens on a start of an interpreter, which takes 1,000 times
        // as long.
        while self.bytes > self.limit_bytes {
            let oldest = self.sources.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            let Some((dropped, _)) = oldest.and_then(|key| self.sources.remove(&key)) else { break };
            self.bytes -= dropped.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_what_was_used_last_within_its_bound() {
        let mut cache = Cache { limit_bytes: 10, ..Cache::default() };
        cache.insert("a", "aaaa".into());
        cache.insert("b", "bbbb".into());
        assert!(cache.get("a").is_some());
        cache.insert("c", "cccc".into());
        assert!(cache.get("b").is_none(), "b was used longest ago");
        assert!(cache.get("a").is_some() && cache.get("c").is_some());
        assert_eq!(cache.bytes, 8);

        cache.insert("a", "aaaa".into());
        assert_eq!(cache.bytes, 8, "the same source counts once");
        cache.insert("d", "d".repeat(11).into());
        assert!(cache.get("d").is_none(), "what can never fit drops nothing else");
        assert_eq!(cache.bytes, 8);
    }
}
