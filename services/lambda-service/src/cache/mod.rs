//! Functions as calls look them up, kept for a moment (cache-aside).
//!
//! Calls ask here and not the database. A change through this service passes here too and is followed by forgetting
//! the function, so the next call sees it. A change that nobody here hears of (by the monolith on the same tables, by
//! a row that a migration applied, by another replica where each keeps its own, or by any replica while Redis does not
//! hear it) is seen when what was kept is too old: at the latest `ttl` after what was kept was read from the database
//! and stored, which takes `LEASE` at most. A function that is not there is never kept.
//!
//! One reading of the database serves all calls of this process that ask at the same time. One that began before a
//! function was forgotten is neither kept nor given to calls that came after that.

mod config;
mod link;
mod metrics;
mod redis_store;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub use config::{CacheConfig, CacheKind, RedisConfig};
use domain::{FunctionId, JobId};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
pub use link::LinkKeeper;
use moka::{Expiry, sync::Cache};
use redis_store::{Looked, RedisStore};

use crate::{
    function::Function,
    store::{Registered, Registration, Store, StoreError},
};

/// A reading of the database that took longer is not kept.
const LEASE: Duration = Duration::from_secs(2);

/// What looking a function up comes to; many may have waited for it.
pub type Found = Result<Option<Arc<Function>>, Arc<StoreError>>;

type Flight = BoxFuture<'static, Found>;

/// Functions, by the database and what is kept of it.
#[derive(Debug)]
pub struct Functions {
    store: Store,
    kept: Kept,
    flights: Mutex<Flights>,
}

/// Where functions are kept.
#[derive(Debug)]
enum Kept {
    /// Nowhere: every call reads the database.
    Nowhere,
    /// In this process.
    Here(Cache<FunctionId, Arc<Function>>),
    /// Where all replicas see them, and forget them together.
    Redis(RedisStore),
}

/// Readings that are under way.
#[derive(Debug, Default)]
struct Flights {
    last: u64,
    /// Weak, because a reading for which nobody waits any more makes no progress, and must not be waited for.
    by_function: HashMap<FunctionId, (u64, WeakShared<Flight>)>,
}

impl Functions {
    /// What the settings want, and what has to run for it. `is_shared`: another system writes the same tables.
    ///
    /// # Errors
    /// When the address of Redis cannot be read.
    pub fn new(
        config: &CacheConfig,
        store: Store,
        is_shared: bool,
    ) -> Result<(Arc<Self>, Option<LinkKeeper>), redis::RedisError> {
        let (kept, keeper) = match config.kind_where(is_shared) {
            CacheKind::None => (Kept::Nowhere, None),
            CacheKind::Local => {
                let expiry = Lifetime(config.ttl.get());
                (Kept::Here(Cache::builder().max_capacity(config.max_functions).expire_after(expiry).build()), None)
            }
            CacheKind::Redis => {
                let (redis, keeper) = RedisStore::new(config)?;
                (Kept::Redis(redis), Some(keeper))
            }
        };
        Ok((Arc::new(Self { store, kept, flights: Mutex::default() }), keeper))
    }

    /// The function, as it is or was a moment ago.
    ///
    /// # Errors
    /// When it is not kept and the database does not answer.
    pub async fn find(self: &Arc<Self>, id: FunctionId) -> Found {
        match &self.kept {
            Kept::Nowhere => return self.read(id).await,
            Kept::Here(cache) => {
                if let Some(function) = cache.get(&id) {
                    metrics::looked_up("hit");
                    return Ok(Some(function));
                }
            }
            Kept::Redis(_) => {}
        }
        self.flight(id).await
    }

    /// The reading that is under way, or a new one.
    fn flight(self: &Arc<Self>, id: FunctionId) -> Shared<Flight> {
        let mut flights = self.flights();
        let under_way = flights.by_function.get(&id).and_then(|(_, flight)| flight.upgrade());
        if let Some(flight) = under_way {
            metrics::looked_up("joined");
            return flight;
        }
        flights.last += 1;
        let landing = Landing { functions: Arc::clone(self), id, number: flights.last };
        let number = flights.last;
        let flight = async move { landing.functions.look_up(landing.id, landing.number).await }.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.by_function.insert(id, (number, weak));
        }
        flight
    }

    async fn look_up(&self, id: FunctionId, flight: u64) -> Found {
        match &self.kept {
            Kept::Nowhere => self.read(id).await,
            Kept::Here(cache) => {
                metrics::looked_up("miss");
                let asked = Instant::now();
                let found = self.read(id).await?;
                if let Some(function) = &found {
                    // Forgetting takes the same lock: either it finds this in the cache, or this finds it was forgotten.
                    let flights = self.flights();
                    if flights.is_valid(id, flight) && asked.elapsed() < LEASE {
                        cache.insert(id, Arc::clone(function));
                    }
                }
                Ok(found)
            }
            Kept::Redis(redis) => match redis.look(id).await {
                Looked::Kept(function) => {
                    metrics::looked_up("hit");
                    Ok(Some(function))
                }
                Looked::Missing(lease) => {
                    metrics::looked_up("miss");
                    let found = self.read(id).await?;
                    if let Some(function) = &found {
                        redis.keep(&lease, function).await;
                    }
                    Ok(found)
                }
                Looked::Nothing(why) => {
                    metrics::looked_up(why);
                    self.read(id).await
                }
            },
        }
    }

    async fn read(&self, id: FunctionId) -> Found {
        self.store.function(id).await.map(|found| found.map(Arc::new)).map_err(Arc::new)
    }

    /// See [`Store::delete_function`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete(&self, id: FunctionId) -> Result<bool, StoreError> {
        let deleted = self.store.delete_function(id).await;
        self.forget(id).await;
        deleted
    }

    /// See [`Store::register_function`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn register(&self, function: &Function, registration: Registration) -> Result<Registered, StoreError> {
        let registered = self.store.register_function(function, registration).await;
        self.forget(function.id).await;
        registered
    }

    /// See [`Store::withdraw_function`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn withdraw(&self, id: FunctionId, job: JobId) -> Result<bool, StoreError> {
        let withdrawn = self.store.withdraw_function(id, job).await;
        self.forget(id).await;
        withdrawn
    }

    /// After a change, also one that failed: nobody knows whether a commit without an answer was one.
    async fn forget(&self, id: FunctionId) {
        {
            let mut flights = self.flights();
            flights.by_function.remove(&id);
            if let Kept::Here(cache) = &self.kept {
                cache.invalidate(&id);
            }
        }
        if let Kept::Redis(redis) = &self.kept {
            redis.forget(id).await;
        }
    }

    /// Each reading is there or not, whoever panicked.
    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flights {
    fn is_valid(&self, id: FunctionId, flight: u64) -> bool {
        self.by_function.get(&id).is_some_and(|(number, _)| *number == flight)
    }
}

/// A reading's place among those under way, until it has ended or nobody waits for it.
#[derive(Debug)]
struct Landing {
    functions: Arc<Functions>,
    id: FunctionId,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.functions.flights();
        if flights.is_valid(self.id, self.number) {
            flights.by_function.remove(&self.id);
        }
    }
}

/// How long what is kept at one time is kept: not all equally long, so that not all is read again at one time.
/// Never longer than the whole, which is what was promised.
fn lifetime(ttl: Duration) -> Duration {
    ttl.mul_f64(rand::random_range(0.8..1.0))
}

#[derive(Debug)]
struct Lifetime(Duration);

impl Expiry<FunctionId, Arc<Function>> for Lifetime {
    fn expire_after_create(&self, _: &FunctionId, _: &Arc<Function>, _: Instant) -> Option<Duration> {
        Some(lifetime(self.0))
    }

    fn expire_after_update(
        &self,
        _: &FunctionId,
        _: &Arc<Function>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(lifetime(self.0))
    }
}
