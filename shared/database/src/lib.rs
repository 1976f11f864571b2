//! A service's own PostgreSQL: settings, a pool of connections, and which failures pass.
//!
//! The services share how they reach their database, not what they say to it: SQL is theirs.

mod config;
mod failure;

pub use config::{DatabaseConfig, InvalidUrl};
pub use failure::{FOREIGN_KEY_VIOLATION, SERIALIZATION_FAILURE, UNIQUE_VIOLATION, has_code, is_transient};
