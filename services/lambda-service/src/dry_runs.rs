//! Calls that run their function and leave no trace: a gateway sends them to compare answers before it moves
//! a route here.
//!
//! The protocol is that of the crate `dry_run`; this module is what a verified call does. It looks the
//! function up and runs it, and that is all: no execution is recorded, no live counter moves. It runs on
//! workers that no live call ever gets, because a function keeps its state between calls: what a dry run
//! leaves in a worker's memory must not be seen by a client. Those workers have a pool of their own, so
//! that dry runs take no place from live calls either.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use domain::{ExecutionId, FunctionId, contract::InvokeResponse};
use dry_run::{Key, KeyProblem, Verifier};
use layered_config::{HumanDuration, Report, Secret, Validate};
use schemars::JsonSchema;
use serde::Deserialize;
use tracing::Instrument as _;

use crate::{
    cache::Functions,
    config::PoolConfig,
    executor::{Executor, StartError},
    invocation::{InvokeError, answer, call_span, did_not_load, invocation},
    metrics,
    pool::{AcquireError, Pool},
};

/// Whether and how dry runs are taken.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DryRunConfig {
    /// What this service shares with the gateway; at least 32 bytes. Without it every dry run is refused.
    pub secret: Option<Secret>,
    /// How far the gateway's clock may be from this one's, and how long a signature holds.
    pub window: HumanDuration,
    /// The most signatures that are remembered, so that none serves twice. More than that within twice the
    /// window are refused.
    pub max_nonces: usize,
    /// The workers of dry runs, apart from those of live calls.
    pub pool: PoolConfig,
}

impl Default for DryRunConfig {
    fn default() -> Self {
        let pool = PoolConfig {
            max_workers: 8,
            max_concurrency: 2,
            max_queue: 16,
            queue_wait: HumanDuration::from_secs(1),
            idle_ttl: HumanDuration::from_secs(60),
            max_starts: 1,
            max_starts_per_function: 1,
            ..PoolConfig::default()
        };
        Self { secret: None, window: HumanDuration::from_secs(30), max_nonces: 100_000, pool }
    }
}

impl DryRunConfig {
    /// What checks signatures; nothing where no dry run is taken.
    pub(crate) fn verifier(&self) -> Result<Option<Verifier>, KeyProblem> {
        let Some(secret) = &self.secret else { return Ok(None) };
        let key = Key::new(secret.expose().as_bytes())?;
        Ok(Some(Verifier::new(key, self.window.get(), self.max_nonces)))
    }
}

impl Validate for DryRunConfig {
    fn validate(&self, report: &mut Report) {
        if let Err(problem) = self.verifier() {
            let fix = "write a random text of 32 bytes or more, or remove it to refuse every dry run";
            report.problem("secret", problem.to_string(), fix);
        }
        if self.window.get() < Duration::from_secs(1) {
            report.problem("window", "times are in whole seconds", "write \"1s\" or more");
        }
        if self.max_nonces == 0 {
            report.problem("max_nonces", "every dry run would be refused", "write a number above 0");
        }
        report.nested("pool", |report| self.pool.validate(report));
    }
}

/// Takes dry runs.
pub struct DryRuns<E: Executor> {
    /// Checks that whoever asks for one may.
    pub verifier: Verifier,
    /// Where functions are looked up.
    pub functions: Arc<Functions>,
    /// Where dry runs run, and nothing else.
    pub pool: Pool<E>,
}

impl<E: Executor> DryRuns<E> {
    /// Runs one call without a trace. The answer is of the same shape as a live one's.
    ///
    /// # Errors
    /// When the function did not run.
    pub async fn invoke(&self, id: FunctionId, event: Bytes) -> Result<InvokeResponse, InvokeError> {
        let function = self.functions.find(id).await.map_err(InvokeError::Lookup)?.ok_or(InvokeError::NotFound)?;
        let execution = ExecutionId::generate();
        let outcome = match self.pool.acquire(&function).await {
            Ok(lease) => lease.invoke(&invocation(execution, &function, event)).instrument(call_span(&function)).await,
            Err(AcquireError::Start(StartError::Function { error, logs })) => did_not_load(error, logs),
            Err(error) => return Err(InvokeError::Worker(error)),
        };
        let answer = answer(execution, outcome);
        metrics::dry_run(answer.status.as_str());
        Ok(answer)
    }
}
