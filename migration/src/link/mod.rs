//! A connection for what the rest of the crate's client cannot do: PostgreSQL's streaming replication, and the rows
//! of a `COPY`, read by as many as have come and written without waiting for an acknowledgement at the end.
//!
//! Framing, `SCRAM-SHA-256` and MD5 come from `postgres-protocol`; reading and writing both ways at
//! once (`COPY BOTH`) is here. [`Session`] asks and is answered; [`Feed`] is a session that streams.

mod address;
mod error;
mod feed;
mod session;
mod tls;

pub(crate) use address::Address;
pub use error::LinkError;
pub(crate) use feed::{Feed, Frame};
pub(crate) use session::Session;
