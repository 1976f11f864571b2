//! The gateway's binary between real clients and real upstreams.

#![allow(clippy::unwrap_used, missing_docs)]

mod harness;

mod admin;
mod admin_access;
mod auth;
mod browser;
mod console;
mod control;
mod drain;
mod encrypted_stores;
mod fallback;
mod files;
mod key_body;
mod limits;
mod mismatches;
mod only_candidate;
mod properties;
mod protocols;
mod ramps;
mod random;
mod requests;
mod rollback;
mod routing;
mod shadow;
mod shared_limits;
mod slices;
mod smuggling;
mod split;
mod sticky_writes;
mod tracing;
mod upgrade;
mod upstreams;
