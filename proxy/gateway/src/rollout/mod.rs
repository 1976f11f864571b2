//! Which share of which route's keys is on the candidate. Pure: no clock, no file, no network.

mod bucket;
mod document;
mod snapshot;
mod weight;

pub use bucket::{BUCKETS, Bucket};
pub use document::{DocumentText, Entry, RolloutDocument};
pub use snapshot::{RouteState, Snapshot};
pub use weight::{Stage, Weight, WeightProblem};

#[cfg(test)]
mod document_tests;
