//! Mini-Lambda, the monolith: the old side of the migration, faithful to its contract, quirks and
//! all.
//!
//! ```text
//! api ──► store (PostgreSQL `mini_lambda`)      scheduler ──► bus      (a due cron trigger)
//!  │ └──► objects (code in S3)                  api ────────► bus      (a received webhook)
//!  └────► invoker ──► executor                  bus ──► events ──► invoker, audit, dead letters
//! ```
//!
//! [`build`] puts it together behind [`service::run`]. What is pure stands apart from what acts:
//! [`schedule::Schedule`], `signature` and [`domain::Event`] decide, `scheduler`, `api` and `events` act.

mod api;
mod bus;
mod config;
mod events;
mod executor;
mod invoker;
mod monolith;
mod scheduler;
mod signature;
mod store;

pub use bus::{BusConfig, BusKind, InProcessConfig, RabbitmqConfig};
pub use config::Config;
pub use executor::{DockerConfig, DockerImage, ExecutorConfig, ExecutorKind};
pub use monolith::build;
pub use scheduler::SchedulerConfig;
pub use store::DatabaseConfig;
