//! Children that replace themselves: such a program starts its successor, hands over what it serves, and ends.
//!
//! The successor is in the process group of the child, and a file of the program's names it before the child ends.
//! Being a grandchild, it is not this process's to wait for, and the kernel's parent-death signal is not set in it:
//! the first is done by a process descriptor, the second by a [`Guard`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{self, Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpgid};
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

/// A process that took over from a child. Its descriptor cannot come to mean another process.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) pid: Pid,
    descriptor: OwnedFd,
}

impl Successor {
    /// The process that the file names, if it is one of the child's group other than the child. The group must not have
    /// been reaped: as long as its leader is there, even dead, nobody else can have a group of this id.
    pub(crate) fn named(file: &Path, group: Pid) -> Option<Self> {
        let pid = Pid::from_raw(std::fs::read_to_string(file).ok()?.trim().parse().ok()?);
        if pid == group {
            return None;
        }
        let descriptor = pidfd_open(rustix::process::Pid::from_raw(pid.as_raw())?, PidfdFlags::empty()).ok()?;
        // Looked at with the descriptor in hand: a file that was left over names a process of somebody else's.
        (getpgid(Some(pid)) == Ok(group)).then_some(Self { pid, descriptor })
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let signal = rustix::process::Signal::from_named_raw(signal as i32).ok_or(Errno::EINVAL)?;
        match pidfd_send_signal(&self.descriptor, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => Ok(sent?),
        }
    }

    /// Blocks until it has ended.
    pub(crate) fn wait(&self) {
        let mut ended = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        while poll(&mut ended, PollTimeout::NONE) == Err(Errno::EINTR) {}
    }
}

/// A process in the child's group that ends the group when this process is gone, however it ended. It waits for the end
/// of a pipe that only this process holds open.
#[derive(Debug)]
pub(crate) struct Guard {
    process: process::Child,
    _held: io::PipeWriter,
}

impl Guard {
    pub(crate) fn start(group: Pid) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let (waited_for, held) = io::pipe()?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read -r _; kill -KILL 0"]).env_clear().current_dir("/").process_group(group.as_raw());
        command.stdin(waited_for).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { process: command.spawn()?, _held: held })
    }

    /// Reaps it, once its group has been killed.
    pub(crate) fn reap(mut self) {
        let _ = self.process.wait();
    }
}
