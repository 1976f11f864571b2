//! Workers in containers that somebody else has started.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::AsyncWriteExt;

use crate::{
    Body, Doorway, FunctionCode, Limits, SandboxError, StartError, Worker,
    channel::Channel,
    conversation::Conversation,
    log_capture::LogCapture,
    machine::cannot,
    mount::mount_inside,
    process_tree::open_pidfd,
    runtime_api::{RuntimeApi, listen_inside},
};

/// An interpreter in a container, with nothing loaded, or a program that waits for its API's invocations. Dropping it ends
/// it.
#[derive(Debug)]
pub struct Guest<B: Body> {
    body: B,
    channel: Channel,
}

/// The first process of a container, on this machine.
#[derive(Debug)]
pub struct Inhabitant(OwnedFd);

impl Inhabitant {
    /// The process of this number, provided that it is in a control group with `mark` in its path, such as the
    /// container's id: a process that is not is another one with the same number.
    ///
    /// # Errors
    /// When there is none, or this process cannot see it because it is in a container itself.
    pub fn find(pid: u32, mark: &str) -> io::Result<Self> {
        let process = open_pidfd(pid)?;
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        // While it lives its number is its own: what was read was about the process behind the descriptor.
        let lives = poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(0);
        if lives && groups.contains(mark) {
            Ok(Self(process))
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "the container's first process is not on this machine"))
        }
    }

    /// Mounts a folder read-only where functions have their code, which must be a place to mount at. Only root can.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub async fn mount_code(&self, folder: &Path) -> io::Result<()> {
        mount_inside(self.0.as_fd(), folder).await
    }
}

impl<B: Body> Guest<B> {
    /// An interpreter in a container that was started with [`Doorway::interpreter_command`].
    ///
    /// # Errors
    /// When it does not come through the doorway in time.
    pub async fn enter(body: B, doorway: Doorway, limits: &Limits, timeout: Duration) -> Result<Self, SandboxError> {
        let ends = doorway.entered(body.ended(), timeout).await?;
        let logs = LogCapture::of_pipe(ends.logs, limits.logs.as_usize());
        let frames = Conversation::new(ends.requests, ends.answers, logs, limits);
        Ok(Self { body, channel: Channel::Frames(Box::new(frames)) })
    }

    /// A program in a container that was started with [`Doorway::runtime_command`] and the variables of
    /// [`of_runtime_api`](crate::of_runtime_api). It begins when its API is there, which only root can open.
    ///
    /// # Errors
    /// When it does not come through the doorway in time, or the API cannot be opened.
    pub async fn enter_runtime(
        body: B,
        doorway: Doorway,
        inhabitant: &Inhabitant,
        function: &FunctionCode,
        limits: &Limits,
        timeout: Duration,
    ) -> Result<Self, SandboxError> {
        let mut ends = doorway.entered(body.ended(), timeout).await?;
        let listener =
            listen_inside(inhabitant.0.as_fd()).await.map_err(cannot("open the Runtime API in a container"))?;
        // A program that is gone by now is found out by its end.
        let _ = ends.requests.write_all(b"\n").await;
        let api = RuntimeApi::new(listener, ends.logs, function, limits);
        Ok(Self { body, channel: Channel::RuntimeApi(Box::new(api)) })
    }

    /// Whether it still lives.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.body.has_ended()
    }

    /// Becomes the function's worker: its code is loaded. A folder of code must be there already.
    ///
    /// # Errors
    /// [`StartError::Function`] when the code is at fault.
    pub async fn become_worker(
        self,
        function: &FunctionCode,
        limits: &Limits,
        timeout: Duration,
    ) -> Result<Worker<B>, StartError> {
        let worker = Worker::new(self.body, self.channel, limits.event.as_usize(), function);
        worker.load(function, timeout).await
    }
}
