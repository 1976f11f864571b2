//! Interpreters that wait, with nothing loaded, for whichever function needs one first.

use std::{path::Path, sync::Arc};

use domain::Language;

use crate::{
    Code, FunctionCode, Protocol, SandboxBody, StartError, Worker,
    channel::Channel,
    machine::{Machine, cannot},
    mount::mount_inside,
    process_tree::ProcessTree,
};

/// What a prewarmed interpreter can be used for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    /// What functions are written in.
    pub language: Language,
    /// Their interpreter; unless set, the one that the sandbox has for the language.
    pub interpreter: Option<Arc<Path>>,
    /// How much memory they may use: limits are set when an interpreter starts, and never changed.
    pub memory_bytes: u64,
}

/// An interpreter that has seen no function. Once it has, it is that function's [`Worker`] and never
/// anything else. Dropping it kills it.
#[derive(Debug)]
pub struct Prewarmed {
    kind: Kind,
    tree: ProcessTree,
    channel: Channel,
    machine: Arc<Machine>,
}

impl Kind {
    /// What this function needs, if it can have a prewarmed interpreter at all.
    #[must_use]
    pub fn of(function: &FunctionCode) -> Option<Self> {
        let is_built_in = matches!(function.launch.protocol, Protocol::Frames);
        let can_load = !matches!(function.code, Code::Inspector { .. } | Code::InPlace);
        (is_built_in && can_load).then(|| Self {
            language: function.language,
            interpreter: function.launch.interpreter.clone(),
            memory_bytes: function.memory_bytes,
        })
    }
}

impl Prewarmed {
    pub(crate) fn new(kind: Kind, tree: ProcessTree, channel: Channel, machine: Arc<Machine>) -> Self {
        Self { kind, tree, channel, machine }
    }

    /// What it can be used for.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Whether it still lives.
    #[must_use]
    pub fn is_alive(&mut self) -> bool {
        self.tree.exit_code().is_none()
    }

    /// Whether this function could be loaded: it is of the kind, and where code is a folder, that can be mounted.
    #[must_use]
    pub fn fits(&self, function: &FunctionCode) -> bool {
        let can_mount = self.machine.uids.is_some() || function.code.folder().is_none();
        can_mount && Kind::of(function).as_ref() == Some(&self.kind)
    }

    /// Becomes the function's worker: its folder is mounted, read-only, where a cold start has it, and its code loaded.
    ///
    /// # Errors
    /// As [`Sandbox::start`](crate::Sandbox::start).
    ///
    /// # Panics
    /// When the function does not fit.
    pub async fn become_worker(self, function: &FunctionCode) -> Result<Worker, StartError> {
        assert!(self.fits(function), "a prewarmed interpreter is of one kind");
        if let Some(folder) = function.code.folder() {
            let mounted = mount_inside(self.tree.init(), folder).await;
            mounted.map_err(cannot("mount a package in a sandbox"))?;
        }
        let config = &self.machine.config;
        let body = SandboxBody::new(self.tree).map_err(cannot("watch a worker's process"))?;
        let worker = Worker::new(body, self.channel, config.limits.event.as_usize(), function);
        worker.load(function, config.start_timeout.get()).await
    }
}
