//! The connection to Redis, and whether it is worth asking.
//!
//! One connection carries the requests of all threads. While it is *open*, requests use it; each waits
//! at most its timeout. It is *shut* when it breaks, answers with errors or lets several requests in a
//! row time out, and from then on no request waits for Redis at all. One task opens it again: it
//! connects and runs the script itself, within the timeout that requests have, after a pause that grows
//! with each failure. No request is ever the one to find out whether Redis is back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use pingora::{server::ShutdownWatch, services::background::BackgroundService};
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, Script, aio::MultiplexedConnection};
use tokio::{sync::Notify, time};

use super::{metrics::LimitMetrics, redis::script};

/// So many requests in a row without an answer shut the connection. One may be a hiccup.
const MAX_FAILURES: u32 = 3;

/// How often an open connection is tried although no request may be using it.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The pause after the first failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A connection that was open for so long was a success, and the pause starts from its shortest again.
const STEADY: Duration = Duration::from_secs(5);

/// An open connection, or none.
#[derive(Default)]
pub(super) struct Link {
    open: ArcSwapOption<Open>,
    shut: Notify,
}

/// A connection that Redis has answered on.
pub(super) struct Open {
    connection: MultiplexedConnection,
    failures: AtomicU32,
}

impl Open {
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }
}

impl Link {
    pub(super) fn get(&self) -> Option<Arc<Open>> {
        self.open.load_full()
    }

    pub(super) fn answered(&self, open: &Open) {
        // Looked at first, so that threads do not write to one place with every request.
        if open.failures.load(Ordering::Relaxed) != 0 {
            open.failures.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn timed_out(&self, open: &Arc<Open>) {
        if open.failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FAILURES {
            self.shut(open, "requests timed out");
        }
    }

    pub(super) fn failed(&self, open: &Arc<Open>, error: &RedisError) {
        let broken = error.is_io_error() || error.is_unrecoverable_error();
        if broken || open.failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FAILURES {
            self.shut(open, error);
        }
    }

    /// Requests that fail late on a connection that was replaced leave the new one alone.
    fn shut(&self, open: &Arc<Open>, why: impl std::fmt::Display) {
        let current = Some(open.clone());
        let before = self.open.compare_and_swap(&current, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, open)) {
            tracing::warn!(%why, "Redis does not answer; limits are decided without it");
            self.shut.notify_one();
        }
    }
}

/// The task that opens the connection, whenever it is shut.
pub struct LinkKeeper {
    pub(super) link: Arc<Link>,
    pub(super) client: Client,
    pub(super) script: Script,
    /// A budget of nobody, to run the script on.
    pub(super) probe_key: String,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) metrics: Arc<LimitMetrics>,
}

impl LinkKeeper {
    pub(super) fn new(
        link: Arc<Link>,
        client: Client,
        prefix: &str,
        (connect_timeout, timeout): (Duration, Duration),
        metrics: Arc<LimitMetrics>,
    ) -> Self {
        let probe_key = format!("{prefix}:probe");
        Self { link, client, script: script(), probe_key, connect_timeout, timeout, metrics }
    }

    /// Keeps it open for as long as it can be, then returns.
    async fn keep_open(&self, open: Arc<Open>) {
        self.link.open.store(Some(open.clone()));
        self.metrics.store_up.set(1);
        tracing::info!("Redis decides about limits");
        loop {
            tokio::select! {
                () = self.link.shut.notified() => break,
                () = time::sleep(CHECK_INTERVAL) => match time::timeout(self.timeout, self.probe(&open)).await {
                    Ok(Ok(())) => self.link.answered(&open),
                    Ok(Err(error)) => self.link.failed(&open, &error),
                    Err(_elapsed) => self.link.timed_out(&open),
                },
            }
        }
        self.metrics.store_up.set(0);
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
        match time::timeout(self.timeout, self.probe(&open)).await {
            Ok(Ok(())) => Ok(Arc::new(open)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("it does not answer within the timeout".to_owned()),
        }
    }

    /// Redis may answer and still not decide: it may be a replica, out of memory, or without scripts.
    async fn probe(&self, open: &Open) -> RedisResult<()> {
        let mut invocation = self.script.prepare_invoke();
        invocation.key(&self.probe_key).arg(1.0).arg(1_000_000.0);
        invocation.invoke_async::<Vec<f64>>(&mut open.connection()).await.map(drop)
    }

    async fn run(&self) {
        let mut pause = PAUSES.0;
        let mut reported = false;
        loop {
            match self.connect().await {
                Ok(open) => {
                    let since = Instant::now();
                    self.keep_open(open).await;
                    reported = true;
                    if since.elapsed() >= STEADY {
                        pause = PAUSES.0;
                    }
                }
                Err(error) if reported => tracing::debug!(%error, "Redis is still away"),
                Err(error) => {
                    tracing::warn!(%error, "Redis cannot be reached; limits are decided without it");
                    reported = true;
                }
            }
            // Gateways that lost Redis together do not come back together.
            time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

#[async_trait]
impl BackgroundService for LinkKeeper {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // Requests that drain keep the connection; it just is not opened again.
        tokio::select! {
            () = self.run() => {}
            _ = shutdown.changed() => {}
        }
    }
}
