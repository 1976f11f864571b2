//! Replacing the running gateway by a new process that takes over its listeners: a new binary, a
//! new static configuration, or both, without a connection refused or a request lost.
//!
//! ```text
//! old process                                   new process
//! SIGUSR2 or POST /api/v1/upgrade
//! start its own binary, same arguments ───────► check the configuration, load the live state
//! listeners ──── over the socket at its stdin ► take those whose address is still configured,
//!                                               open what is new
//!                                               accept
//! stop accepting ◄───────────────── "ready" ─── write the pid file, tell systemd
//! tell clients to go, drain, end
//! ```
//!
//! While both accept, the system gives each connection to one of them. The old process gives up
//! only after the word "ready": if the new one ends, or is not ready in time, the old one goes on
//! as if nothing had been asked, and says why in its log.
//!
//! This is also how routes, upstreams and every other static setting are reloaded: there is one path,
//! and it ends in a process that has started with the new files or in the old one as it was.
//!
//! Live state needs no hand-over: both processes follow the same rollout document until they end, so a
//! rollback also reaches what the old one still serves: what it has begun and, for
//! `http.idle_grace`, what comes on connections that were open already. Signals go to the new process:
//! the pid file names it before the old one drains. What only a process knows starts anew: in-process
//! limits, breakers, upstream connections, counters.
//!
//! Under systemd: `Type=notify`, `NotifyAccess=main`, `ExecReload=kill -USR2 $MAINPID`. The old
//! process names the new one as the main process before it ends. With `Type=forking` and
//! `PIDFile=`, set `upgrade.pid_file` to the same path.

mod handover;
mod pid_file;
mod predecessor;
mod program;
mod readiness;
mod service;
mod sockets;
mod successor;

pub(crate) use handover::{Handed, Held, Role};
pub(crate) use pid_file::remove_pid;
pub(crate) use predecessor::Predecessor;
pub(crate) use program::Program;
pub(crate) use readiness::Readiness;
pub(crate) use service::{UpgradeRequests, Upgrader};
pub(crate) use sockets::Sockets;
pub(crate) use successor::UpgradeError;
