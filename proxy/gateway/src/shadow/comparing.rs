//! Whether two answers are alike.

use super::{outcome::Outcome, tee::Received};

/// Compares what was served with what the other side answered.
pub(super) fn compare(served: &Received, other: &Received) -> Outcome {
    let alike = served.head.status == other.head.status && served.body.bytes() == other.body.bytes();
    if alike { Outcome::Equal } else { Outcome::Different }
}
