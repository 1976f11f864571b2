//! What a request says about its side, if anything.

use std::time::Duration;

use judgement::{Outcome, Sample, Side};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    decision::{self, Reason, RouteDecision},
    upstream::Unavailable,
};

/// The client went away before its answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request that has ended.
pub(crate) struct Observed<'a> {
    pub(crate) decision: RouteDecision,
    pub(crate) key: Option<&'a str>,
    /// The gateway answered by itself, or broke the request off.
    pub(crate) refused: bool,
    /// Why its side did not take it, and there was no other.
    pub(crate) unavailable: Option<Unavailable>,
    /// The status; `None` when the answer did not end.
    pub(crate) status: Option<u16>,
    pub(crate) latency: Duration,
}

impl Observed<'_> {
    /// The side this is about, and what it says. Nothing where no other request could have taken its
    /// place: keys that somebody has pinned, requests that this gateway turned away, clients that left.
    pub(super) fn sample(&self) -> Option<(Side, Sample)> {
        let (side, outcome) = match (self.decision.reason, self.decision.side) {
            // Legacy served what the candidate should have.
            (Reason::Fallback | Reason::Breaker, decision::Side::Legacy) => (Side::Candidate, Outcome::Failed),
            (Reason::Weight, decision::Side::Legacy) => (Side::Legacy, self.outcome()?),
            (Reason::Weight | Reason::Stage, decision::Side::Candidate) => (Side::Candidate, self.outcome()?),
            _ => return None,
        };
        let key = self.key.map(|key| xxh3_64(key.as_bytes()));
        Some((side, Sample { outcome, latency: self.latency, key }))
    }

    fn outcome(&self) -> Option<Outcome> {
        match (self.unavailable, self.status) {
            (Some(Unavailable::Overloaded), _) => None,
            (Some(_), _) => Some(Outcome::Failed),
            _ if self.refused => None,
            (None, Some(CLIENT_CLOSED_REQUEST)) => None,
            (None, None | Some(500..)) => Some(Outcome::Failed),
            (None, Some(400..500)) => Some(Outcome::Refused),
            (None, Some(_)) => Some(Outcome::Good),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route_table::UpstreamId;

    fn ended(side: decision::Side, reason: Reason, status: Option<u16>) -> Observed<'static> {
        let decision = RouteDecision { side, upstream: UpstreamId::new(0), reason, epoch: 1 };
        Observed { decision, key: None, refused: false, unavailable: None, status, latency: Duration::ZERO }
    }

    #[test]
    fn a_sample_is_of_the_side_that_should_have_served() {
        use decision::Side::{Candidate, Legacy};
        let sample = |ended: Observed<'_>| ended.sample().map(|(side, sample)| (side, sample.outcome));
        let of = |side, reason, status| sample(ended(side, reason, status));
        assert_eq!(of(Legacy, Reason::Weight, Some(200)), Some((Side::Legacy, Outcome::Good)));
        assert_eq!(of(Candidate, Reason::Weight, Some(503)), Some((Side::Candidate, Outcome::Failed)));
        assert_eq!(of(Candidate, Reason::Stage, Some(404)), Some((Side::Candidate, Outcome::Refused)));
        assert_eq!(of(Candidate, Reason::Weight, None), Some((Side::Candidate, Outcome::Failed)));
        assert_eq!(of(Legacy, Reason::Fallback, Some(200)), Some((Side::Candidate, Outcome::Failed)));
        for nothing in [
            of(Legacy, Reason::Stage, Some(200)),
            of(Legacy, Reason::OnlySide, Some(200)),
            of(Candidate, Reason::Pin, Some(500)),
            of(Legacy, Reason::Overload, Some(200)),
            of(Candidate, Reason::Weight, Some(499)),
            sample(Observed { refused: true, ..ended(Candidate, Reason::Weight, Some(413)) }),
            sample(Observed {
                unavailable: Some(Unavailable::Overloaded),
                ..ended(Candidate, Reason::Weight, Some(503))
            }),
        ] {
            assert_eq!(nothing, None);
        }
        let unreachable = Observed {
            refused: true,
            unavailable: Some(Unavailable::Unreachable),
            ..ended(Candidate, Reason::Stage, Some(503))
        };
        assert_eq!(sample(unreachable), Some((Side::Candidate, Outcome::Failed)));
    }
}
