//! Cron triggers: what is due becomes events.
//!
//! - **Once among replicas.** A due trigger's row is locked, `SKIP LOCKED`, until its firing has become an event and
//!   the trigger has been moved on: one transaction. In the shared data stage the lock is on the monolith's own row,
//!   so that its scheduler and this one pass each other by as replicas do. Beside the lock, a firing is the unique
//!   row of (trigger, due time) in `cron_firings`, whatever becomes of `next_run_at`.
//! - **Never lost.** `next_run_at` is the earliest firing that was not fired. It moves only in that transaction; a
//!   scheduler that is paused, stopped or killed leaves it, and whoever goes on finds it due.
//! - **Missed runs** are made up for as `cron.missed_runs` or the trigger's own policy says
//!   ([`schedule::MissedRuns`]).
//! - **Paused** in the database, for every replica and over restarts ([`Control::Cron`](crate::store::Control)): once
//!   a pause is answered, no firing is under way and none begins. With the same pause on the monolith's side a
//!   schedule changes hands without a firing that is lost or doubled.
//!
//! When clocks change, [`schedule::Schedule`] says what is fired.

mod config;
mod metrics;
mod scheduler;

pub use config::{CronConfig, CronStart, MissedRunsSetting};
pub(crate) use scheduler::Scheduler;
