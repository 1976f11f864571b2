//! Webhooks out: each transition of a build to its client and to the configured receivers.
//!
//! Signed as [Standard Webhooks](https://www.standardwebhooks.com) says, with the delivery's id as
//! `webhook-id`: it is the same at each attempt, so a receiver knows what it has had. Messages are rows that
//! were written with the transition, so none is lost; they are at least once and in no order, which is
//! why each names its place (`version`, `sequence`).

mod connection;
mod registrar;
mod schedule;
mod sender;
mod target;

pub use connection::Connection;
pub use registrar::{Registrar, Registration};
pub use sender::Sender;
pub use target::{Allowed, check_url};
