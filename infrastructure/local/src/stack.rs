//! A supervisor for a whole system on one machine, described by a [`StackDocument`].
//!
//! ```text
//!  start:  PostgreSQL, S3 ─► databases, buckets ─► processes and steps, each after its `depends`
//!  run:    a part that ends is started again, until the restart policy gives up on the stack
//!  stop:   processes in reverse order, each within its drain deadline, then S3, then PostgreSQL
//! ```
//!
//! All state is in one private, locked data folder, and a start on it continues where the last run was,
//! however that ended. The supervisor's own death takes every child with it.

mod data_folder;
mod database_step;
mod document;
mod error;
mod event;
mod part;
mod program;
mod restart;
mod running;
mod scratch;
mod source;
mod start;
mod template;

pub use document::{DatabaseStep, PostgresPart, ProcessPart, S3Part, StackDocument};
pub use error::StackError;
pub use event::Event;
pub use restart::RestartPolicy;
pub use running::{Ended, ProcessHandle, RunningStack};
pub use source::StackSource;
pub use start::{Stack, StackOptions};
pub use template::{Hole, Template};
