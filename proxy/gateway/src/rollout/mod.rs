//! What moves while the gateway runs: which share of which route's keys is on the candidate, which keys are
//! pinned to a side, and how much each limit allows. Pure: no clock, no file, no network.

mod bucket;
mod document;
mod document_text;
mod pins;
mod ramp_record;
mod slice_state;
mod snapshot;
mod weight;

pub use bucket::{BUCKETS, Bucket};
pub(crate) use document::Running;
pub use document::{Entry, MAX_IGNORED, MAX_OVERRIDES, RolloutDocument};
pub use document_text::DocumentText;
pub use pins::{MAX_KEY_BYTES, MAX_PINS, Pins};
pub use ramp_record::{RampRecord, Ramping};
pub use slice_state::DataStage;
pub use snapshot::{RouteState, Snapshot};
pub use weight::{Stage, Weight, WeightProblem};

#[cfg(test)]
mod document_tests;
