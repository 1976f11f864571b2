//! The whole system on one machine.
//!
//! - [`Stack`]: a supervisor that starts what a [`StackDocument`] describes on free ports and one private
//!   data folder, keeps it running, and takes it down in order. [`StackSource::mini_lambda`] is the worked
//!   example; a team writes a document for its own system.
//! - [`demo`]: Mini-Lambda's migration under steady traffic, shown and checked.
//! - [`doctor`]: what this machine lacks for that, each with its fix.

pub mod demo;
mod doctor;
mod stack;

pub use doctor::{Check, Verdict, doctor};
pub use local_servers::Signal;
pub use stack::{
    DatabaseStep, Ended, Event, Hole, PostgresPart, ProcessHandle, ProcessPart, RestartPolicy, RunningStack, S3Part,
    Stack, StackDocument, StackError, StackOptions, StackSource, Template,
};
