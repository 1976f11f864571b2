//! The connection to Redis, and whether it is worth asking.
//!
//! One connection carries the lookups of all calls. While it is *open*, each waits at most its timeout. It is *shut*
//! when it breaks, or when several lookups in a row fail or time out; from then on no call waits for Redis, and one task
//! opens it again, after pauses that grow. No call is ever the one to find out whether Redis is back.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, aio::MultiplexedConnection};
use service::Backoff;
use tokio::{sync::Notify, time};
use tokio_util::sync::CancellationToken;

use super::metrics;

/// So many in a row without an answer shut the connection. One may be a hiccup.
const MAX_FAILURES: u32 = 3;
/// How often an open connection is tried although no call may be using it.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after the first failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// A connection that was open for so long was a success, and the pause starts from its shortest again.
const STEADY: Duration = Duration::from_secs(5);

/// An open connection, or none.
#[derive(Debug, Default)]
pub(super) struct Link {
    open: Mutex<Option<Arc<Open>>>,
    shut: Notify,
}

/// A connection that Redis has answered on.
#[derive(Debug)]
pub(super) struct Open {
    connection: MultiplexedConnection,
    failures: AtomicU32,
}

impl Open {
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    pub(super) fn answered(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }
}

impl Link {
    pub(super) fn get(&self) -> Option<Arc<Open>> {
        self.slot().clone()
    }

    pub(super) fn timed_out(&self, open: &Arc<Open>) {
        if open.failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FAILURES {
            self.shut(open, &"lookups timed out");
        }
    }

    pub(super) fn failed(&self, open: &Arc<Open>, error: &RedisError) {
        let broken = error.is_io_error() || error.is_unrecoverable_error();
        if broken || open.failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FAILURES {
            self.shut(open, error);
        }
    }

    /// Lookups that fail late on a connection that was replaced leave the new one alone.
    fn shut(&self, open: &Arc<Open>, why: &dyn std::fmt::Display) {
        if self.slot().take_if(|current| Arc::ptr_eq(current, open)).is_some() {
            tracing::warn!(%why, "Redis does not answer; functions are read from the database");
            self.shut.notify_one();
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that opens the connection, whenever it is shut.
#[derive(Debug)]
pub struct LinkKeeper {
    link: Arc<Link>,
    client: Client,
    connect_timeout: Duration,
    timeout: Duration,
}

impl LinkKeeper {
    pub(super) const fn new(link: Arc<Link>, client: Client, connect_timeout: Duration, timeout: Duration) -> Self {
        Self { link, client, connect_timeout, timeout }
    }

    /// Keeps it open until `stop`, as far as that can be done.
    pub async fn run(self, stop: CancellationToken) {
        metrics::up(false);
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&self) {
        let (mut backoff, mut reported) = (Backoff::new(PAUSES.0, PAUSES.1), false);
        loop {
            match self.connect().await {
                Ok(open) => {
                    let since = Instant::now();
                    self.keep_open(open).await;
                    reported = true;
                    if since.elapsed() >= STEADY {
                        backoff.reset();
                    }
                }
                Err(error) if reported => tracing::debug!(error, "Redis is still away"),
                Err(error) => {
                    tracing::warn!(error, "Redis cannot be reached; functions are read from the database");
                    reported = true;
                }
            }
            time::sleep(backoff.next_delay()).await;
        }
    }

    /// For as long as it can be.
    async fn keep_open(&self, open: Arc<Open>) {
        *self.link.slot() = Some(Arc::clone(&open));
        metrics::up(true);
        tracing::info!("functions are kept in Redis");
        loop {
            tokio::select! {
                () = self.link.shut.notified() => break,
                () = time::sleep(CHECK_INTERVAL) => match time::timeout(self.timeout, probe(&open)).await {
                    Ok(Ok(())) => open.answered(),
                    Ok(Err(error)) => self.link.failed(&open, &error),
                    Err(_elapsed) => self.link.timed_out(&open),
                },
            }
        }
        metrics::up(false);
    }

    async fn connect(&self) -> Result<Arc<Open>, String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            // Whoever asks has a timeout of its own.
            .set_response_timeout(None);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        // The handshake is not part of the client's own connection timeout.
        let connection = time::timeout(self.connect_timeout, connecting).await;
        let connection =
            connection.map_err(|_elapsed| "connecting timed out".to_owned())?.map_err(|error| error.to_string())?;
        let open = Open { connection, failures: AtomicU32::new(0) };
        match time::timeout(self.timeout, probe(&open)).await {
            Ok(Ok(())) => Ok(Arc::new(open)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("it does not answer within the timeout".to_owned()),
        }
    }
}

async fn probe(open: &Open) -> RedisResult<()> {
    redis::cmd("PING").query_async::<String>(&mut open.connection()).await.map(drop)
}
