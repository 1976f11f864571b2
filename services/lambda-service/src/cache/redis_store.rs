//! Functions in Redis, for all replicas.
//!
//! A function is the key `PREFIX:function:ID`. Whoever finds none there takes a lease: it stores a word of its own,
//! reads the database, and puts the function in the place of that word, if the word is still there. Forgetting
//! deletes the key, and the word with it. So what was read before a change and comes after the change was told is not
//! kept, whichever replica read it and whichever changed it. While another's word is there, replicas read for
//! themselves: a function that many call is read once by each of them, and not once by each call.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use domain::FunctionId;
use redis::{RedisResult, Script};
use uuid::Uuid;

use super::{
    CacheConfig, LEASE, lifetime,
    link::{Link, LinkKeeper, Open},
    metrics,
};
use crate::function::Function;

/// What is there, or nothing, and then the caller's word.
static LOOK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local kept = redis.call('GET', KEYS[1]) \
         if kept then return kept end \
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) \
         return false",
    )
});

/// The function in the place of the caller's word.
static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
         redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) \
         return 1",
    )
});

/// The shape of what is kept. Another release that keeps another does not read this one's.
const SHAPE: &str = "function-1";

/// The right to keep what is read now.
#[derive(Debug)]
pub(super) struct Lease {
    key: String,
    word: String,
}

/// What Redis knows of a function.
#[derive(Debug)]
pub(super) enum Looked {
    Kept(Arc<Function>),
    Missing(Lease),
    /// Nothing, and the word for why.
    Nothing(&'static str),
}

/// The functions, as far as Redis can be reached.
#[derive(Debug)]
pub(super) struct RedisStore {
    link: Arc<Link>,
    prefix: String,
    timeout: Duration,
    ttl: Duration,
}

impl RedisStore {
    pub(super) fn new(config: &CacheConfig) -> RedisResult<(Self, LinkKeeper)> {
        let redis = &config.redis;
        let client = redis::Client::open(redis.url.expose())?;
        let link = Arc::new(Link::default());
        let keeper = LinkKeeper::new(Arc::clone(&link), client, redis.connect_timeout.get(), redis.timeout.get());
        let store = Self { link, prefix: redis.prefix.clone(), timeout: redis.timeout.get(), ttl: config.ttl.get() };
        Ok((store, keeper))
    }

    pub(super) async fn look(&self, id: FunctionId) -> Looked {
        let lease = Lease { key: self.key(id), word: format!("read by {}", Uuid::now_v7()) };
        let asking = |open: Arc<Open>| {
            let mut look = LOOK.prepare_invoke();
            look.key(&lease.key).arg(&lease.word).arg(millis(LEASE));
            async move { look.invoke_async::<Option<Vec<u8>>>(&mut open.connection()).await }
        };
        match self.ask(asking).await {
            Err(why) => Looked::Nothing(why),
            Ok(None) => Looked::Missing(lease),
            Ok(Some(kept)) => match serde_json::from_slice::<Function>(&kept) {
                Ok(function) if function.id == id => Looked::Kept(Arc::new(function)),
                _ => Looked::Nothing("taken"),
            },
        }
    }

    /// What becomes of it is nothing that its reader waits to know.
    pub(super) async fn keep(&self, lease: &Lease, function: &Function) {
        let value = serde_json::to_vec(function).expect("a function is plain data");
        let asking = |open: Arc<Open>| {
            let mut keep = KEEP.prepare_invoke();
            keep.key(&lease.key).arg(&lease.word).arg(value).arg(millis(lifetime(self.ttl)));
            async move { keep.invoke_async::<i64>(&mut open.connection()).await }
        };
        let _ = self.ask(asking).await;
    }

    pub(super) async fn forget(&self, id: FunctionId) {
        let key = self.key(id);
        let asking = |open: Arc<Open>| async move {
            redis::cmd("DEL").arg(key).query_async::<i64>(&mut open.connection()).await
        };
        if let Err(why) = self.ask(asking).await {
            metrics::not_forgotten();
            let ttl_ms = millis(self.ttl);
            tracing::warn!(function_id = %id, why, ttl_ms, "a changed function may be served as it was until its time is over");
        }
    }

    /// Takes no longer than the timeout, and no time while Redis is known not to answer.
    async fn ask<T, F: Future<Output = RedisResult<T>>>(
        &self,
        asking: impl FnOnce(Arc<Open>) -> F,
    ) -> Result<T, &'static str> {
        let open = self.link.get().ok_or("down")?;
        match tokio::time::timeout(self.timeout, asking(Arc::clone(&open))).await {
            Ok(Ok(answer)) => {
                open.answered();
                Ok(answer)
            }
            Ok(Err(error)) => {
                self.link.failed(&open, &error);
                Err("error")
            }
            Err(_elapsed) => {
                self.link.timed_out(&open);
                Err("timeout")
            }
        }
    }

    fn key(&self, id: FunctionId) -> String {
        format!("{}:{SHAPE}:{id}", self.prefix)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
