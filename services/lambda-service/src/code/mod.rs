//! Functions' code: in the object store, the latest sources in memory, the latest packages on the disk.
//!
//! A key names the BLAKE3 digest of its object's content, so what a key names never changes: what is cached
//! is never stale, two functions with the same code share one object, and a function's
//! deletion leaves its object where it is, because another function may have it. The key of a source is the bare
//! digest, that of a package [`Digest::object_key`]; that of an image names what Docker keeps ([`domain::image_key`]).

mod package_folder;
mod packages;
mod shelf;

use std::{
    collections::HashMap,
    error::Error,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use function_package::Digest;
use objects::Objects;
pub use packages::PackageLease;

use self::packages::Packages;
use crate::config::CodeConfig;

/// Why code could not be stored or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CodeError {
    /// The object store is away.
    #[error("the object store cannot be used now")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
    /// No object has the key.
    #[error("there is no code under the key `{0}`")]
    Missing(String),
    /// The object is not what its key says, or cannot be read as code.
    #[error("the code under the key `{0}` is damaged")]
    Damaged(String),
    /// A package could not be written to the disk.
    #[error("packages cannot be kept on this machine's disk")]
    Disk(#[source] Arc<dyn Error + Send + Sync>),
    /// The packages that are in use leave no room for another.
    #[error("there is no room for a package of {bytes} bytes beside those in use; raise `code.packages.size`")]
    NoRoom {
        /// What it would take.
        bytes: u64,
    },
    /// Workers run as users that cannot reach the packages.
    #[error("workers cannot pass through {}; chmod o+x it or set `code.packages.folder`", .0.display())]
    OutOfReach(PathBuf),
}

/// The code of every function.
pub struct CodeStore {
    objects: Objects,
    cache: Mutex<Cache>,
    packages: Packages,
}

/// Code that a worker can be started with.
pub enum StoredCode {
    /// The text of one file.
    Source(Arc<str>),
    /// A folder on the disk, held there.
    Package(PackageLease),
    /// An image that Docker has, by its digest.
    Image(String),
}

/// The key of a source.
#[must_use]
pub fn key_of(source: &str) -> String {
    blake3::hash(source.as_bytes()).to_hex().to_string()
}

impl CodeStore {
    /// Opens the folder of the packages. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(objects: Objects, config: &CodeConfig) -> io::Result<Self> {
        let cache = Mutex::new(Cache { limit_bytes: config.cache.as_usize(), ..Cache::default() });
        let packages = Packages::open(objects.clone(), &config.packages)?;
        Ok(Self { objects, cache, packages })
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

    /// The code under a key.
    ///
    /// # Errors
    /// See [`CodeError`].
    pub async fn get(&self, key: &str) -> Result<StoredCode, CodeError> {
        if let Some(image) = domain::image_of_key(key) {
            return Ok(StoredCode::Image(image));
        }
        match Digest::from_object_key(key) {
            Some(digest) => self.packages.get(digest).await.map(StoredCode::Package),
            None => self.source(key).await.map(StoredCode::Source),
        }
    }

    async fn source(&self, key: &str) -> Result<Arc<str>, CodeError> {
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
