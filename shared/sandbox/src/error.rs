//! Why the sandbox itself did not work, as opposed to the function in it.

use std::{io, path::PathBuf};

use domain::Language;

/// The sandbox cannot do its work on this machine, or not now.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// `bwrap` is not installed.
    #[error("bwrap was not found ({}); install it (Debian: apt install bubblewrap) or set `bwrap`", searched(.configured.as_ref()))]
    BwrapMissing {
        /// Where the configuration says it is.
        configured: Option<PathBuf>,
    },
    /// `bwrap` is there and cannot make a sandbox.
    #[error("bwrap cannot make a sandbox here: {reason}; {fix}")]
    BwrapRefused {
        /// What bwrap said.
        reason: String,
        /// What to do about it.
        fix: &'static str,
    },
    /// No interpreter for this language works here.
    #[error(
        "no interpreter for {language:?} code works here ({reason}); install one (Debian: apt install {package}) or set its path"
    )]
    NoInterpreter {
        /// The language.
        language: Language,
        /// What was tried, and how it ended.
        reason: String,
        /// The Debian package that has one.
        package: &'static str,
    },
    /// Control groups are required and cannot be written.
    #[error(
        "control groups are required and cannot be written: {reason}; run as root or delegate a group, or set `control_groups = \"auto\"`"
    )]
    NoControlGroups {
        /// Why not.
        reason: String,
    },
    /// No filter of system calls can be made for this machine.
    #[error(
        "system calls cannot be filtered on this machine; set `system_call_filter = false` to run functions all the same"
    )]
    NoFilter {
        /// Why not.
        #[source]
        source: seccompiler::BackendError,
    },
    /// Every user id of the range is taken by a live worker.
    #[error("all {count} user ids for workers are in use; raise `uid_count` or run fewer workers")]
    NoFreeUid {
        /// The size of the range.
        count: u32,
    },
    /// A worker's process could not be started.
    #[error("could not {operation}")]
    Start {
        /// What was being done.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The function's own doing: its code does not load, or has no such handler. The text is the
    /// answer's `error`.
    #[error("{error}")]
    Function {
        /// What is wrong, for the function's author.
        error: String,
        /// What the code printed while it was loaded.
        logs: String,
    },
    /// The sandbox's.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

fn searched(configured: Option<&PathBuf>) -> String {
    configured.map_or_else(|| "not on PATH".to_owned(), |path| format!("not at {}", path.display()))
}
