//! Servers for one machine, shared by the local stack and the tests.
//!
//! - [`Child`]: a child process that cannot outlive its parent, with a bounded log.
//! - [`Postgres`]: a private PostgreSQL run as such a child, from the system's binaries or a download.
//! - [`S3Server`]: an S3 server inside this process, on a folder.
//!
//! Everything listens on loopback, on a free port, with generated credentials, and keeps its state in a
//! folder the caller names.

mod account;
mod child;
mod child_log;
mod credential;
mod folder_lock;
mod port;
mod postgres;
mod s3;
mod successor;

pub use account::{Account, AccountError, first_closed_folder};
pub use child::{Child, ChildError, ChildSpec, Stopped, die_with_parent};
pub use child_log::{ChildLog, DEFAULT_LOG_LIMIT_BYTES};
pub use credential::generate as generate_credential;
pub use folder_lock::FolderLock;
pub use nix::sys::signal::Signal;
pub use port::PortChoice;
pub use postgres::{BinarySource, Postgres, PostgresBinaries, PostgresError, PostgresOptions};
pub use s3::{S3Error, S3Options, S3Server};
