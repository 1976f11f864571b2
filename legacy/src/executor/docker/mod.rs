//! wip
use super::*;
/// wip
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct DockerConfig {}
impl Validate for DockerConfig { fn validate(&self, _: &mut Report) {} }
#[derive(Debug)]
pub(super) struct DockerExecutor {}
impl DockerExecutor { pub(super) fn new(_c: &ExecutorConfig) -> Result<Self, ExecutorError> { unimplemented!() } }
#[async_trait]
impl Executor for DockerExecutor {
    async fn run(&self, _job: &Job) -> Result<Run, ExecutorError> { unimplemented!() }
    async fn check(&self) -> Result<(), ExecutorError> { unimplemented!() }
    async fn close(&self) {}
}
