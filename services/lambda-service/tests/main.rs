//! The lambda service's binary against real servers and real sandboxes.
#![allow(clippy::unwrap_used)]

mod builds;
mod cache;
mod contract;
mod cron;
mod docker;
mod dry_runs;
mod events;
mod events_under_fire;
mod history;
mod hostile;
mod kill;
mod packages;
mod readiness;
mod runtimes;
mod shared_stage;
mod system;
mod traces;
mod webhooks;
mod workers;
