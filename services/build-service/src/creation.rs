//! Functions of inline code (`POST /api/v1/functions`): the master that serves the client does all of it while the
//! client waits, so that a function can be called as soon as its creation was answered.
//!
//! ```text
//! source to the object store ─► job, held under a lease ─► registered ─► completed ─► 201
//!                                                              │ name taken ─► failed ─► 409
//!                                                              │ unclear, again and again ─► failed ─► 503
//! ```
//!
//! A job that fails is told of like every other, and whoever registered its function withdraws it: so nothing is left
//! of a registration whose answer was lost. A master that dies in between answers nobody; another finishes
//! what it began once its lease is over, whichever way that ends.

use std::{sync::Arc, time::Duration};

use domain::{
    BuildFailure, BuildState, JobId,
    contract::{ContractError, CreateFunction, FunctionCreated, FunctionSettings},
};
use objects::Objects;
use service::Backoff;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    intake::request_digest,
    job::{Built, Creation, Job, Kind, NewJob, Package},
    metrics,
    store::{Begun, StillHeld, Store, StoreError},
    webhooks::{Registrar, Registration},
};

/// How often a job is looked at that another request or master has in its hands.
const LOOK: Duration = Duration::from_millis(50);

const NAME_TAKEN: &str = "function_exists";
const NOT_REGISTERED: &str = "not_registered";

/// Why a function was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreationError {
    /// Another function has the name.
    #[error("a function named `{0}` exists already")]
    NameTaken(String),
    /// Something else was asked for under this key.
    #[error("something else was asked for under this Idempotency-Key; use a key of its own for each request")]
    OtherRequest,
    /// The services that run functions did not take it, or not in time.
    #[error("the function could not be registered")]
    NotRegistered,
    /// The source could not be stored.
    #[error("the source could not be stored")]
    Objects(#[from] objects::ObjectsError),
    /// Its job could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Creates functions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Creator {
    store: Store,
    objects: Objects,
    registrar: Registrar,
    /// How long a client is let wait.
    deadline: Duration,
    max_attempts: i32,
    /// Who this is, for people who look at the database.
    holder: Arc<str>,
    /// Rung when there is a message to send.
    bell: Arc<Notify>,
}

impl Creator {
    /// Sources go to `objects`, jobs to `store`; a job is taken at most `max_attempts` times.
    #[must_use]
    pub fn new(
        store: Store,
        objects: Objects,
        registrar: Registrar,
        deadline: Duration,
        max_attempts: i32,
        bell: Arc<Notify>,
    ) -> Self {
        let holder = format!("{}/{}", std::process::id(), Uuid::new_v4().simple()).into();
        Self { store, objects, registrar, deadline, max_attempts, holder, bell }
    }

    /// Creates a function. The same request under the same key creates one, however often it comes.
    ///
    /// # Errors
    /// See [`CreationError`]; then there is no such function, unless the failure is the database's.
    pub async fn create(&self, wanted: CreateFunction, key: Option<&str>) -> Result<FunctionCreated, CreationError> {
        let until = Instant::now() + self.deadline;
        let (job, source) = new_job(wanted);
        let digest = request_digest(&job);
        // The source first: a function must never name code that is not there.
        self.objects.put(&job.package.object_key, source.into()).await?;
        let idempotency = key.map(|key| (key, digest.as_str()));
        match self.store.begin_creation(&job, idempotency, &self.holder, self.lease()).await? {
            Begun::New(creation) => {
                metrics::accepted(creation.package.bytes);
                self.finish(&creation, until).await
            }
            Begun::Before(job_id) => self.outcome(job_id, until).await,
            Begun::OtherRequest => Err(CreationError::OtherRequest),
        }
    }

    /// Finishes what masters began that have died, until `stop`.
    pub async fn look_after(self, interval: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Some(Err(error)) = stop.run_until_cancelled(self.take_up()).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "creations could not be looked after");
            }
        }
    }

    async fn take_up(&self) -> Result<(), StoreError> {
        while let Some(creation) = self.store.take_creation(&self.holder, self.lease(), self.max_attempts).await? {
            let until = Instant::now() + self.deadline;
            let ended = self.finish_if_clear(&creation, until).await;
            tracing::info!(job_id = %creation.job.id, outcome = ?ended, "a creation was taken up that nobody had ended");
        }
        Ok(())
    }

    /// As long again as registering may take, to write its outcome down.
    fn lease(&self) -> Duration {
        self.deadline * 2
    }

    /// Registers a function, and takes the registration back when it stays unclear: the client is told that there
    /// is no function.
    async fn finish(&self, creation: &Creation, until: Instant) -> Result<FunctionCreated, CreationError> {
        match self.finish_if_clear(creation, until).await {
            Err(CreationError::NotRegistered) => {
                let message = "the services that run functions did not take it in time".to_owned();
                let failure = BuildFailure { code: NOT_REGISTERED.to_owned(), message };
                let write_by = until + self.deadline / 2;
                let held = self.until_said(write_by, || self.store.withdraw(creation, &failure)).await?;
                self.ended(creation, Err(NOT_REGISTERED));
                match held {
                    StillHeld::Yes => Err(CreationError::NotRegistered),
                    StillHeld::No => self.outcome(creation.job.id, until).await,
                }
            }
            clear => clear,
        }
    }

    /// Registers a function, and ends its job unless the registration is unclear.
    async fn finish_if_clear(&self, creation: &Creation, until: Instant) -> Result<FunctionCreated, CreationError> {
        let held = match self.registered(creation, until).await {
            Registration::Done => {
                let built = Built { digest: creation.package.digest.clone(), bytes: creation.package.bytes };
                let told = self.registrar.names();
                let held = self.until_said(until, || self.store.created(creation, &built, &told)).await?;
                self.ended(creation, Ok(()));
                held
            }
            Registration::NameTaken => {
                let message = format!("another function is called `{}`", creation.job.settings.name);
                let failure = BuildFailure { code: NAME_TAKEN.to_owned(), message };
                // Answered all the same: whoever takes the job up finds the name taken too.
                if let Err(error) = self.until_said(until, || self.store.fail(creation.token, &failure)).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a refused creation is not ended yet");
                }
                self.ended(creation, Err(NAME_TAKEN));
                return Err(CreationError::NameTaken(creation.job.settings.name.clone()));
            }
            Registration::Unclear(_) => return Err(CreationError::NotRegistered),
        };
        match held {
            StillHeld::Yes => Ok(created(&creation.job)),
            StillHeld::No => self.outcome(creation.job.id, until).await,
        }
    }

    fn ended(&self, creation: &Creation, outcome: Result<(), &'static str>) {
        self.bell.notify_waiters();
        metrics::creation(outcome);
        let (job, outcome) = (&creation.job, outcome.err().unwrap_or("created"));
        tracing::info!(job_id = %job.id, function_id = %job.function_id, name = job.settings.name, outcome, "creation ended");
    }

    async fn registered(&self, creation: &Creation, until: Instant) -> Registration {
        let mut backoff = Backoff::default();
        loop {
            let attempt = tokio::time::timeout_at(until, self.registrar.register(creation)).await;
            let cause = match attempt {
                Ok(Registration::Unclear(cause)) => cause,
                Ok(clear) => return clear,
                Err(_) => "there was no answer in time".to_owned(),
            };
            tracing::warn!(job_id = %creation.job.id, cause, "a function could not be registered");
            let again = Instant::now() + backoff.next_delay();
            if again >= until {
                return Registration::Unclear(cause);
            }
            tokio::time::sleep_until(again).await;
        }
    }

    /// Says something of a job until the database has heard it, for as long as the client may wait.
    async fn until_said<F>(&self, until: Instant, mut speak: impl FnMut() -> F) -> Result<StillHeld, StoreError>
    where
        F: Future<Output = Result<StillHeld, StoreError>>,
    {
        let mut backoff = Backoff::default();
        loop {
            let again = Instant::now() + backoff.next_delay();
            match speak().await {
                Err(StoreError::Unavailable(_)) if again < until => tokio::time::sleep_until(again).await,
                said => return said,
            }
        }
    }

    /// How a creation ended that another request or master has in its hands.
    async fn outcome(&self, job_id: JobId, until: Instant) -> Result<FunctionCreated, CreationError> {
        loop {
            let job = self.store.job(job_id).await?.ok_or(CreationError::NotRegistered)?;
            match job.state {
                BuildState::Completed => return Ok(created(&job)),
                BuildState::Failed if job.error.as_ref().is_some_and(|error| error.code == NAME_TAKEN) => {
                    return Err(CreationError::NameTaken(job.settings.name));
                }
                BuildState::Failed | BuildState::Cancelled => return Err(CreationError::NotRegistered),
                BuildState::Queued | BuildState::Building if Instant::now() + LOOK >= until => {
                    return Err(CreationError::NotRegistered);
                }
                BuildState::Queued | BuildState::Building => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

impl From<CreationError> for ContractError {
    fn from(error: CreationError) -> Self {
        match error {
            CreationError::NameTaken(name) => Self::FunctionExists(name),
            CreationError::OtherRequest => Self::IdempotencyKeyReused,
            CreationError::NotRegistered
            | CreationError::Objects(_)
            | CreationError::Store(StoreError::Unavailable(_)) => Self::Unavailable,
            CreationError::Store(StoreError::Unreadable(_) | StoreError::Refused(_)) => Self::CreateFailed,
        }
    }
}

fn new_job(wanted: CreateFunction) -> (NewJob, String) {
    let CreateFunction { name, runtime, handler, code, timeout_s, memory_mb, environment } = wanted;
    let digest = blake3::hash(code.as_bytes()).to_hex().to_string();
    let bytes = code.len() as u64;
    let object_key = Kind::Source.artifact_key(&digest).expect("it is a digest");
    let package = Package { kind: Kind::Source, digest, object_key, bytes, files: 1, unpacked_bytes: bytes };
    let settings = FunctionSettings { name, runtime: runtime.into(), handler, timeout_s, memory_mb, environment };
    (NewJob { id: JobId::generate(), settings, package, webhook: None, warm: false }, code)
}

fn created(job: &Job) -> FunctionCreated {
    FunctionCreated {
        function_id: job.function_id,
        name: job.settings.name.clone(),
        runtime: job.settings.runtime.as_str().to_owned(),
        created_at: job.created_at,
    }
}
