//! The lambda service's binary against real servers and real sandboxes.
#![allow(clippy::unwrap_used)]

mod contract;
mod crash;
mod history;
mod hostile;
mod readiness;
mod shared_stage;
mod system;
mod workers;
