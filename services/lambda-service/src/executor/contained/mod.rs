//! The executor that runs functions in Docker's containers: one container for each worker.
//!
//! A container's first program is the same bootstrap that a sandbox has, and it is spoken to over the same streams
//! ([`sandbox::Doorway`]): Docker starts and ends workers, and is not in the way of a call.

mod body;
mod config;
mod engine;

use std::{sync::Arc, time::Duration};

use sandbox::FunctionCode;
use tokio::sync::SetOnce;

pub use self::body::ContainerBody;
pub use self::config::ContainersConfig;
pub(crate) use self::engine::{Engine, kind_of};
use super::{Assembly, Executor, PackagedWorker, Reserve, StartError, assembly::at_fault};
use crate::function::Function;

/// Starts interpreters in containers.
pub struct DockerExecutor {
    assembly: Assembly,
    engine: Arc<SetOnce<Engine>>,
    reserve: Arc<Reserve<Engine>>,
    engine_wait: Duration,
}

impl DockerExecutor {
    pub(super) fn new(
        assembly: Assembly,
        engine: Arc<SetOnce<Engine>>,
        reserve: Arc<Reserve<Engine>>,
        engine_wait: Duration,
    ) -> Self {
        Self { assembly, engine, reserve, engine_wait }
    }

    /// A worker made of an interpreter that waits, or else from nothing.
    async fn start_worker(
        &self,
        engine: &Engine,
        code: &FunctionCode,
        image: &str,
    ) -> Result<sandbox::Worker<ContainerBody>, StartError> {
        let kind = engine::Kind::of(code, image);
        let waiting = kind.and_then(|kind| self.reserve.take(&kind, |first| first.fits(code)));
        let Some(waiting) = waiting else { return engine.start(code, image).await };
        match engine.specialise(waiting, code).await {
            Err(StartError::Sandbox(error)) => {
                tracing::warn!(%error, "an interpreter that waited could not be used");
                engine.start(code, image).await
            }
            started => started,
        }
    }
}

impl Executor for DockerExecutor {
    type Worker = PackagedWorker<ContainerBody>;

    async fn start(&self, function: &Function) -> Result<PackagedWorker<ContainerBody>, StartError> {
        let ready = tokio::time::timeout(self.engine_wait, self.engine.wait());
        let engine = ready.await.map_err(|_| StartError::NotReady)?;
        let assembled = self.assembly.of(function).await?;
        let image = assembled.image.ok_or_else(|| {
            at_fault(format!("functions of the runtime {} have no image to run in", function.runtime))
        })?;
        let worker = self.start_worker(engine, &assembled.code, &image).await?;
        Ok(PackagedWorker::new(worker, assembled.package))
    }
}
