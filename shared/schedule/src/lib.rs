//! When cron triggers fire: the same arithmetic on both sides of the migration, so that the schedule can change
//! hands without a firing that is lost or doubled.
//!
//! - [`Schedule`] is an expression in a time zone; its documentation states what happens when clocks change.
//! - [`MissedRuns`] decides what becomes of firings that were due while nobody looked.
//! - [`firing_id`] is the id of the event of one firing: whoever fires it gives it the same one, so that an
//!   event that both sides publish is recognised as one.
//!
//! What both sides keep to: a trigger's `next_run_at` is the earliest firing that has not been fired. Whoever
//! fires moves it on in the transaction that accepts the event; whoever is paused leaves it where it is.

mod firing;
mod missed;
mod schedule;

pub use firing::firing_id;
pub use missed::{Due, InvalidPolicy, MAX_MADE_UP_FOR, MissedRuns};
pub use schedule::{Schedule, ScheduleError};
