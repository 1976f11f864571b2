//! One process's builds: each from its lease to its end.
//!
//! While a build runs its lease is renewed, three times in its length. A worker that cannot renew in time
//! stops building before the lease is over by its own clock, which began before the database's did; so no two
//! work on one job but for what a blocked thread finishes, and that reaches nothing outside its folder.

mod artifact;
mod image;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{BuildFailure, JobId};
use service::Backoff;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, field};
use uuid::Uuid;

use crate::{
    config::WorkerConfig,
    job::{Built, Lease},
    metrics,
    store::{StillHeld, Store, StoreError},
};

pub use artifact::Builder;
use artifact::MakeError;

/// Why a job has failed that no package is at fault for.
pub(crate) const ABANDONED: &str = "build_abandoned";
const TIMED_OUT: &str = "build_timeout";

/// Builds jobs.
#[derive(Debug)]
pub struct Worker {
    store: Store,
    builder: Builder,
    config: WorkerConfig,
    /// Who this is, for people who look at the database.
    holder: String,
    /// Rung at the end of each build, for whoever sends messages in this process.
    bell: Arc<Notify>,
    /// Cancelled when running builds have had their time after a stop.
    hurry: CancellationToken,
}

/// How a build ended, as far as this worker is concerned.
enum End {
    Made(Built),
    Failed(BuildFailure),
    /// The machine or the object store failed; another attempt may do.
    Broke(String),
    /// The job is no longer ours.
    Lost,
    /// There is no more time before this process ends.
    Hurried,
}

impl Worker {
    /// A worker of this process.
    #[must_use]
    pub fn new(store: Store, builder: Builder, config: WorkerConfig, bell: Arc<Notify>) -> Self {
        let holder = format!("{}/{}", std::process::id(), Uuid::new_v4().simple());
        Self { store, builder, config, holder, bell, hurry: CancellationToken::new() }
    }

    /// Cancelled: running builds end now, and give their jobs back.
    #[must_use]
    pub fn hurry(&self) -> CancellationToken {
        self.hurry.clone()
    }

    /// Takes the job that waits longest.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_any(&self) -> Result<Option<Lease>, StoreError> {
        self.store.take_any(&self.holder, self.config.lease.get(), self.config.max_attempts).await
    }

    /// Takes this job, unless it is another's or has ended.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn take_one(&self, id: JobId) -> Result<Option<Lease>, StoreError> {
        self.store.take_one(id, &self.holder, self.config.lease.get(), self.config.max_attempts).await
    }

    /// Builds a job and says how it ended.
    pub async fn build(&self, lease: Lease) {
        let span = tracing::info_span!("build", job_id = %lease.job_id, trace_id = field::Empty);
        // A message has brought the place with it; a row has kept it.
        telemetry::place(&span, lease.trace.filter(|_| telemetry::current().is_none()));
        self.build_in_span(lease).instrument(span).await;
    }

    async fn build_in_span(&self, lease: Lease) {
        let begun = Instant::now();
        metrics::taken(lease.attempt, lease.waited);
        tracing::info!(attempt = lease.attempt, name = lease.settings.name, runtime = %lease.settings.runtime, "building");
        let end = tokio::select! {
            // Once the lease is lost, nothing that was made counts.
            biased;
            () = self.keep(lease.token, begun) => End::Lost,
            () = self.hurry.cancelled() => End::Hurried,
            made = tokio::time::timeout(self.config.build_timeout.get(), self.builder.make(&lease)) => self.ended(made),
        };
        self.tell(&lease, end, begun).await;
        metrics::left();
        self.bell.notify_waiters();
    }

    fn ended(&self, made: Result<Result<Built, MakeError>, tokio::time::error::Elapsed>) -> End {
        match made {
            Ok(Ok(built)) => End::Made(built),
            Ok(Err(MakeError::Package(failure))) => End::Failed(failure),
            Ok(Err(MakeError::Machine(cause))) => End::Broke(format!("{cause:#}")),
            Err(_) => End::Failed(BuildFailure {
                code: TIMED_OUT.to_owned(),
                message: format!("the build did not end within {}", self.config.build_timeout),
            }),
        }
    }

    async fn tell(&self, lease: &Lease, end: End, begun: Instant) {
        let took = begun.elapsed();
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let told = match end {
            End::Made(built) => {
                let told = self.say(|| self.store.complete(lease.token, &built)).await;
                if told == Some(StillHeld::Yes) {
                    metrics::completed(took);
                    tracing::info!(duration_ms, artifact = built.digest, bytes = built.bytes, "build completed");
                }
                told
            }
            End::Failed(failure) => {
                let told = self.say(|| self.store.fail(lease.token, &failure)).await;
                if told == Some(StillHeld::Yes) {
                    metrics::failed(took, &failure.code);
                    tracing::info!(duration_ms, code = failure.code, message = failure.message, "build failed");
                }
                told
            }
            End::Broke(cause) => {
                let pause = pause_before(lease.attempt).min(self.config.lease.get());
                tracing::warn!(duration_ms, cause, retry_in_ms = pause.as_millis(), "build broke off");
                self.say(|| self.store.renew(lease.token, pause)).await
            }
            End::Hurried => {
                tracing::info!(duration_ms, "no time is left to build: the job is given back");
                if let Err(error) = self.store.give_back(lease.token).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the job is taken when its lease is over");
                }
                return;
            }
            End::Lost => Some(StillHeld::No),
        };
        if told != Some(StillHeld::Yes) {
            metrics::lease_lost();
            tracing::warn!(duration_ms, "the job was cancelled or is another worker's now");
        }
    }

    /// Says something of a job until the database has heard it, for as long as a lease may last; `None`
    /// when it has not.
    async fn say<F>(&self, mut speak: impl FnMut() -> F) -> Option<StillHeld>
    where
        F: Future<Output = Result<StillHeld, StoreError>>,
    {
        let speaking = async {
            let mut backoff = Backoff::default();
            loop {
                match speak().await {
                    Ok(held) => return Some(held),
                    Err(error @ StoreError::Unavailable(_)) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the database has not heard of it");
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "the database refused a build's end");
                        return None;
                    }
                }
            }
        };
        tokio::time::timeout(self.config.lease.get(), speaking).await.ok().flatten()
    }

    /// Renews a lease until it is lost.
    async fn keep(&self, token: Uuid, taken: Instant) {
        let lease = self.config.lease.get();
        let mut over = taken + lease;
        loop {
            tokio::time::sleep(lease / 3).await;
            let asked = Instant::now();
            match tokio::time::timeout_at(over.into(), self.store.renew(token, lease)).await {
                Ok(Ok(StillHeld::Yes)) => over = asked + lease,
                Ok(Ok(StillHeld::No)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a lease could not be renewed");
                    if Instant::now() + lease / 3 >= over {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}

/// How long a job rests that broke off for no fault of its package's.
fn pause_before(attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt).unwrap_or(0).min(6);
    Duration::from_millis(500) * 2_u32.pow(doublings)
}
