//! What a worker's processes are in: a sandbox of this crate, or a container of somebody else's making.

use std::{
    future::Future,
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::unix::AsyncFd;

use crate::{Accounts, process_tree::ProcessTree};

/// A body that is about to end has this long to do so, so that its exit code can be told.
const EXIT_GRACE: Duration = Duration::from_millis(250);

/// The processes of one worker, ended as one.
///
/// - **End.** Once [`Body::ended`] has returned, it returns at once, and [`Body::has_ended`] is true.
/// - **Errors.** None: a body that can no longer be reached counts as ended.
/// - **Cancellation.** Dropping a body ends every process of it, sooner or later; [`Body::end`] waits until it is so.
pub trait Body: Send + Sync + 'static {
    /// Waits until the worker's first process has ended.
    fn ended(&self) -> impl Future<Output = ()> + Send;

    /// Whether it has.
    fn has_ended(&self) -> bool;

    /// How it ended, asked when its streams have; waits a moment for the end itself.
    fn ending(&mut self) -> impl Future<Output = Ending> + Send;

    /// What all of its processes have used, where that is counted.
    fn accounts(&self) -> Option<&Accounts>;

    /// Ends every process of it and waits until none is left.
    fn end(self) -> impl Future<Output = ()> + Send;
}

/// How a body ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ending {
    /// The exit code by the shell's convention (128 + signal); `None` when it has not ended, or is not known.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed a process of it for want of memory.
    pub ran_out_of_memory: bool,
}

/// A process tree in `bwrap`.
#[derive(Debug)]
pub struct SandboxBody {
    tree: ProcessTree,
    end: AsyncFd<OwnedFd>,
}

impl SandboxBody {
    pub(crate) fn new(tree: ProcessTree) -> io::Result<Self> {
        Ok(Self { end: tree.watch_end()?, tree })
    }
}

impl Body for SandboxBody {
    async fn ended(&self) {
        // Readiness is never cleared: an ended process stays so. An error means that the runtime stops.
        let _ = self.end.readable().await;
    }

    fn has_ended(&self) -> bool {
        let mut end = [PollFd::new(self.end.get_ref().as_fd(), PollFlags::POLLIN)];
        poll(&mut end, PollTimeout::ZERO) != Ok(0)
    }

    async fn ending(&mut self) -> Ending {
        let _ = tokio::time::timeout(EXIT_GRACE, self.ended()).await;
        Ending { exit_code: self.tree.exit_code(), ran_out_of_memory: self.tree.ran_out_of_memory() }
    }

    fn accounts(&self) -> Option<&Accounts> {
        self.tree.accounts()
    }

    async fn end(self) {
        self.tree.end().await;
    }
}
