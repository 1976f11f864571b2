//! Starts workers.

use std::{io, path::Path, sync::Arc, time::Instant};

use domain::Language;

use crate::{
    ControlGroups, FunctionCode, Invocation, Outcome, Protocol, SandboxBody, SandboxConfig, SandboxError, StartError,
    Worker,
    control_group::GroupParent,
    interpreter::{self, Interpreter},
    interpreters::Interpreters,
    jail::Folder,
    machine::{Machine, cannot},
    prewarmed::{Kind, Prewarmed},
    process_tree::Keeper,
    system_calls::SystemCalls,
    uid::{UidLease, UidRange},
};

/// Starts workers in `bwrap` sandboxes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sandbox {
    machine: Arc<Machine>,
}

impl Sandbox {
    /// Finds `bwrap` and the interpreters, and tries each. Blocks for about 0.3 s.
    ///
    /// # Errors
    /// Says what is missing on this machine and how to mend it. One interpreter of the two is enough:
    /// functions in the other's language then fail to start.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let bwrap = interpreter::find_bwrap(&config)?;
        let uids = interpreter::runs_as_root().then(|| UidRange::new(config.first_uid, config.uid_count));
        let lease = uids.as_ref().map(UidRange::lease).transpose()?;
        let uid = lease.as_ref().map(UidLease::uid);
        interpreter::try_bwrap(&bwrap, &config, uid)?;
        let interpreters = Interpreters::find(&bwrap, &config, uid)?;
        let groups = match config.control_groups {
            ControlGroups::Off => Err("switched off".to_owned()),
            ControlGroups::Auto => GroupParent::find(&config.control_group_name),
            ControlGroups::Required => {
                let groups = GroupParent::find(&config.control_group_name);
                Ok(groups.map_err(|reason| SandboxError::NoControlGroups { reason })?)
            }
        };
        let system_calls = config.system_call_filter.then(SystemCalls::new).transpose();
        let system_calls = system_calls.map_err(|source| SandboxError::NoFilter { source })?;
        let keeper = Keeper::start()
            .map_err(|source| SandboxError::Start { operation: "start the threads that keep workers", source })?;
        let sandbox =
            Self { machine: Arc::new(Machine { config, bwrap, interpreters, uids, groups, system_calls, keeper }) };
        tracing::info!(isolation = %sandbox.describe(), "the sandbox is ready");
        Ok(sandbox)
    }

    /// How workers are isolated on this machine, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let Machine { config, interpreters, uids, groups, system_calls, .. } = &*self.machine;
        let users = if uids.is_some() { "a user id per worker" } else { "the service's own user" };
        let groups = match groups {
            Ok(parent) => parent.describe(),
            Err(reason) => format!("no control groups ({reason}): resource limits of each process only"),
        };
        let filtered = if system_calls.is_some() { "filtered system calls" } else { "no filter of system calls" };
        format!(
            "{} in bwrap, {users}, {groups}, {filtered}, at most {} processes and {} CPU each",
            interpreters.describe(),
            config.limits.processes,
            config.limits.cpu_cores
        )
    }

    /// Cold start: a worker with the function's code loaded.
    ///
    /// # Errors
    /// [`StartError::Function`] when the code is at fault, [`StartError::Sandbox`] when the machine is.
    pub async fn start(&self, function: &FunctionCode) -> Result<Worker, StartError> {
        let (tree, channel) = match &function.launch.protocol {
            Protocol::Frames => {
                let interpreter = self.interpreter(function.language, function.launch.interpreter.as_ref()).await?;
                let folder = function.code.folder().map_or(Folder::Absent, Folder::Here);
                let (language, memory_bytes) = (function.language, function.memory_bytes);
                self.machine.start_interpreter(language, memory_bytes, &interpreter, folder).await?
            }
            Protocol::RuntimeApi { command } => {
                let needed = command.iter().any(|word| word.contains("{interpreter}"));
                let (language, path) = (function.language, function.launch.interpreter.as_ref());
                let interpreter = if needed { Some(self.interpreter(language, path).await?) } else { None };
                self.machine.start_runtime(function, command, interpreter.as_deref()).await?
            }
        };
        let config = &self.machine.config;
        let body = SandboxBody::new(tree).map_err(cannot("watch a worker's process"))?;
        let worker = Worker::new(body, channel, config.limits.event.as_usize(), function);
        worker.load(function, config.start_timeout.get()).await
    }

    /// An interpreter in a sandbox of its own, with nothing loaded, for whichever function comes first.
    ///
    /// # Errors
    /// [`StartError::Function`] when the language has no interpreter, [`StartError::Sandbox`] when the machine is at fault.
    pub async fn prewarm(&self, kind: &Kind) -> Result<Prewarmed, StartError> {
        let interpreter = self.interpreter(kind.language, kind.interpreter.as_ref()).await?;
        let (language, memory_bytes) = (kind.language, kind.memory_bytes);
        let started = self.machine.start_interpreter(language, memory_bytes, &interpreter, Folder::Later).await;
        let (tree, channel) = started?;
        Ok(Prewarmed::new(kind.clone(), tree, channel, Arc::clone(&self.machine)))
    }

    async fn interpreter(&self, language: Language, path: Option<&Arc<Path>>) -> Result<Arc<Interpreter>, StartError> {
        let machine = &self.machine;
        let usual = machine.interpreters.usual(language)?;
        let Some(path) = path else { return Ok(usual) };
        if let Some(found) = machine.interpreters.named(language, path) {
            return Ok(found);
        }
        let (machine, path) = (Arc::clone(machine), Arc::clone(path));
        let trying = tokio::task::spawn_blocking(move || {
            let lease = machine.uids.as_ref().map(UidRange::lease).transpose()?;
            let uid = lease.as_ref().map(UidLease::uid);
            machine.interpreters.try_named(language, &path, &machine.bwrap, &machine.config, uid)
        });
        Ok(trying.await.map_err(|error| cannot("try an interpreter")(io::Error::other(error)))??)
    }

    /// Starts a worker, calls it once and kills it: the monolith's way. A function that does not load is
    /// a failed outcome.
    ///
    /// # Errors
    /// Only when the machine is at fault.
    pub async fn call_once(&self, function: &FunctionCode, call: &Invocation) -> Result<Outcome, SandboxError> {
        let started = Instant::now();
        match self.start(function).await {
            Ok(mut worker) => {
                let mut outcome = worker.invoke(call).await;
                worker.kill().await;
                outcome.worker_reusable = false;
                Ok(outcome)
            }
            Err(StartError::Function { error, logs }) => Ok(Outcome::not_loaded(error, logs, started.elapsed())),
            Err(StartError::Sandbox(error)) => Err(error),
        }
    }
}
