//! The lambda service's binary against real servers and real sandboxes.
#![allow(clippy::unwrap_used)]

mod contract;
mod dry_runs;
mod history;
mod hostile;
mod kill;
mod readiness;
mod shared_stage;
mod system;
mod workers;
