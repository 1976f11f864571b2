use std::io;
use std::path::PathBuf;

use layered_config::Problems;
use local_servers::{AccountError, PostgresError, S3Error};

/// A stack could not be started, or came down.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The stack document, or a mapping it names, is wrong.
    #[error("{0}")]
    Document(#[from] Problems),
    /// A file that the document names is not beside it.
    #[error("{document} names `{file}`, which is not beside it")]
    MissingFile {
        /// The file.
        file: String,
        /// The document.
        document: String,
    },
    /// A file or folder of the stack's cannot be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another stack runs on the data folder.
    #[error("another stack is running on {}; stop it, or choose another data folder", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// No free port.
    #[error("there is no free port on loopback")]
    NoPort(#[source] io::Error),
    /// A process's binary is not on this machine.
    #[error("no program `{program}`; looked in {}", list(looked_in))]
    NoProgram {
        /// Its name.
        program: String,
        /// The places.
        looked_in: Vec<PathBuf>,
    },
    /// There is no account for PostgreSQL.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// PostgreSQL does not run.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// S3 does not run.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// SIGINT and SIGTERM cannot be caught.
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
    /// SIGINT or SIGTERM came before everything was ready.
    #[error("interrupted while starting")]
    Interrupted,
    /// A part does not stay up.
    #[error("`{part}` failed: {reason} ({ends} time(s)). The end of its log:\n{log_tail}")]
    PartFailed {
        /// The part.
        part: String,
        /// Its last end.
        reason: String,
        /// How often it ended lately.
        ends: usize,
        /// The end of its log.
        log_tail: String,
    },
    /// A database step was not done in time.
    #[error("step `{step}` failed: {reason}")]
    StepFailed {
        /// The step.
        step: String,
        /// The last attempt's error.
        reason: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
