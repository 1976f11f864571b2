//! Packages as strangers send them, and as we make them.
#![allow(clippy::unwrap_used)]

mod bad_archives;
mod crafted;
mod good_archives;
mod handlers;
mod refusals;
mod round_trip;
