//! Where one request goes, decided purely from its route, its key's bucket and the live state.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    rollout::{Bucket, RouteState, Weight},
    route_table::{Route, Sides, UpstreamId},
};

/// The old side or the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The old side.
    Legacy,
    /// The new side.
    Candidate,
}

impl Side {
    /// Both, in the order they are declared.
    pub const ALL: [Self; 2] = [Self::Legacy, Self::Candidate];

    /// The name in metrics, log, headers and API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Candidate => "candidate",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The one that this is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Legacy => Self::Candidate,
            Self::Candidate => Self::Legacy,
        }
    }
}

/// Why a request goes where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The route has one side only.
    OnlySide,
    /// The rows that the route is about are the candidate's.
    Owner,
    /// The weight is 0 or 100 %.
    Stage,
    /// The key's bucket was compared with the weight.
    Weight,
    /// An operator has pinned the key to this side.
    Pin,
    /// The key was written on this side a moment ago.
    StickyWrite,
    /// The candidate could not be reached.
    Fallback,
    /// The candidate's circuit breaker is open.
    Breaker,
    /// The candidate has as many requests as it may.
    Overload,
}

impl Reason {
    /// All of them, in the order they are declared.
    pub const ALL: [Self; 9] = [
        Self::OnlySide,
        Self::Owner,
        Self::Stage,
        Self::Weight,
        Self::Pin,
        Self::StickyWrite,
        Self::Fallback,
        Self::Breaker,
        Self::Overload,
    ];

    /// The name in metrics, log and API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnlySide => "only_side",
            Self::Owner => "owner",
            Self::Stage => "stage",
            Self::Weight => "weight",
            Self::Pin => "pin",
            Self::StickyWrite => "sticky_write",
            Self::Fallback => "fallback",
            Self::Breaker => "breaker",
            Self::Overload => "overload",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    fn of_weight(settled: bool) -> Self {
        if settled { Self::Stage } else { Self::Weight }
    }
}

/// Where one request goes. Made once per request; made anew only when its epoch is over or its side
/// cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteDecision {
    /// The side.
    pub side: Side,
    /// The side's upstream.
    pub upstream: UpstreamId,
    /// Why.
    pub reason: Reason,
    /// The route's epoch it was made in.
    pub epoch: u64,
}

impl RouteDecision {
    /// Decides. Whose the rows are goes before a pin, and that before the weight.
    #[must_use]
    pub fn new(route: &Route, state: RouteState, pin: Option<Side>, bucket: Bucket) -> Self {
        let epoch = state.epoch;
        if let Some(slice) = route.slice.as_ref().filter(|_| state.moved) {
            return Self { side: Side::Candidate, upstream: slice.own, reason: Reason::Owner, epoch };
        }
        match route.sides {
            Sides::Legacy(upstream) => Self { side: Side::Legacy, upstream, reason: Reason::OnlySide, epoch },
            Sides::Candidate(upstream) => Self { side: Side::Candidate, upstream, reason: Reason::OnlySide, epoch },
            Sides::Both { legacy, candidate, .. } => {
                let settled = state.weight == Weight::NONE || state.weight == Weight::ALL;
                let (side, reason) = match pin {
                    Some(side) => (side, Reason::Pin),
                    None if state.weight.includes(bucket) => (Side::Candidate, Reason::of_weight(settled)),
                    None => (Side::Legacy, Reason::of_weight(settled)),
                };
                let upstream = if side == Side::Candidate { candidate } else { legacy };
                Self { side, upstream, reason, epoch }
            }
        }
    }

    /// This, but on the side where the key was written a moment ago. What an operator has pinned stays, and so
    /// does what is about rows of one side alone.
    #[must_use]
    pub fn stay(self, route: &Route, written: Side) -> Self {
        match route.sides {
            Sides::Both { legacy, candidate, .. }
                if !matches!(self.reason, Reason::Pin | Reason::Owner) && self.side != written =>
            {
                let upstream = if written == Side::Candidate { candidate } else { legacy };
                Self { side: written, upstream, reason: Reason::StickyWrite, epoch: self.epoch }
            }
            _ => self,
        }
    }

    /// The decision after this one's candidate did not take the request for this reason, where the route
    /// has a fallback.
    #[must_use]
    pub fn fall_back(self, route: &Route, reason: Reason) -> Option<Self> {
        match (self.side, route.sides) {
            (Side::Candidate, Sides::Both { legacy, fallback: true, .. }) if self.reason != Reason::Owner => {
                Some(Self { side: Side::Legacy, upstream: legacy, reason, epoch: self.epoch })
            }
            _ => None,
        }
    }

    /// Whether the route's live state still stands behind this. A decision for legacy never goes stale, unless
    /// the rows have moved meanwhile: going to legacy is allowed as long as they are there.
    #[must_use]
    pub fn is_current(self, state: RouteState) -> bool {
        (self.reason == Reason::Owner) == state.moved && (self.side == Side::Legacy || self.epoch == state.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route_table::{RouteSlice, SliceId, Writes};

    fn route(sides: Sides) -> Route {
        Route::new("invoke", "/f/{id}".parse().expect("a good template"), sides)
    }

    fn both(fallback: bool) -> Route {
        route(Sides::Both { legacy: UpstreamId(0), candidate: UpstreamId(1), fallback })
    }

    fn state(percent: f64) -> RouteState {
        RouteState { weight: Weight::from_percent(percent).expect("a good percentage"), epoch: 7, moved: false }
    }

    #[test]
    fn rows_that_are_the_candidates_go_before_everything_else() {
        let slice = RouteSlice { id: SliceId(0), own: UpstreamId(9), writes: Writes::Unsafe };
        for sides in [both(true).sides, Sides::Candidate(UpstreamId(1)), Sides::Legacy(UpstreamId(0))] {
            let of_slice = Route { slice: Some(slice.clone()), ..route(sides) };
            let moved = RouteState { moved: true, ..state(0.0) };
            let decision = RouteDecision::new(&of_slice, moved, Some(Side::Legacy), Bucket::random());
            assert_eq!(
                (decision.side, decision.upstream, decision.reason),
                (Side::Candidate, UpstreamId(9), Reason::Owner)
            );
            assert_eq!(decision.stay(&of_slice, Side::Legacy), decision, "a note of a write on legacy is of the past");
            assert_eq!(decision.fall_back(&of_slice, Reason::Fallback), None, "legacy has other rows");
            let before = RouteDecision::new(&of_slice, state(0.0), None, Bucket::random());
            assert!(before.is_current(state(0.0)) && !before.is_current(moved));
            assert!(decision.is_current(moved) && !decision.is_current(state(0.0)));
        }
    }

    #[test]
    fn one_sided_routes_ignore_the_weight() {
        let legacy = RouteDecision::new(&route(Sides::Legacy(UpstreamId(3))), state(100.0), None, Bucket::random());
        assert_eq!((legacy.side, legacy.reason, legacy.upstream), (Side::Legacy, Reason::OnlySide, UpstreamId(3)));
        let candidate = RouteDecision::new(&route(Sides::Candidate(UpstreamId(4))), state(0.0), None, Bucket::random());
        assert_eq!((candidate.side, candidate.reason), (Side::Candidate, Reason::OnlySide));
        assert_eq!(candidate.fall_back(&route(Sides::Candidate(UpstreamId(4))), Reason::Fallback), None);
    }

    #[test]
    fn the_ends_of_the_scale_are_settled_by_the_stage() {
        for (percent, side) in [(0.0, Side::Legacy), (100.0, Side::Candidate)] {
            let decision = RouteDecision::new(&both(true), state(percent), None, Bucket::random());
            assert_eq!((decision.side, decision.reason, decision.epoch), (side, Reason::Stage, 7));
        }
    }

    #[test]
    fn between_them_the_bucket_decides() {
        let decisions = (0..1_000).map(|key| {
            let bucket = Bucket::of("invoke", &key.to_string());
            (bucket, RouteDecision::new(&both(true), state(25.0), None, bucket))
        });
        for (bucket, decision) in decisions {
            let expected = if bucket.get() < 2_500 { Side::Candidate } else { Side::Legacy };
            assert_eq!((decision.side, decision.reason), (expected, Reason::Weight));
        }
    }

    #[test]
    fn only_a_candidate_falls_back_and_only_where_allowed() {
        let decision = RouteDecision::new(&both(true), state(100.0), None, Bucket::random());
        let fallen = decision.fall_back(&both(true), Reason::Fallback).expect("the route allows it");
        assert_eq!((fallen.side, fallen.reason), (Side::Legacy, Reason::Fallback));
        assert_eq!(fallen.fall_back(&both(true), Reason::Fallback), None);
        assert_eq!(decision.fall_back(&both(false), Reason::Fallback), None);
    }

    #[test]
    fn a_key_stays_where_it_was_written_unless_an_operator_says_otherwise() {
        for (percent, written) in [(0.0, Side::Candidate), (100.0, Side::Legacy)] {
            let decision = RouteDecision::new(&both(true), state(percent), None, Bucket::random());
            let stays = decision.stay(&both(true), written);
            assert_eq!((stays.side, stays.reason), (written, Reason::StickyWrite));
            assert_eq!((stays.upstream, stays.epoch), (UpstreamId(written.index()), 7));
            assert_eq!(decision.stay(&both(true), decision.side), decision, "it is there anyway");
            let pinned = RouteDecision::new(&both(true), state(percent), Some(decision.side), Bucket::random());
            assert_eq!(pinned.stay(&both(true), written), pinned);
        }
        let one_sided = route(Sides::Legacy(UpstreamId(3)));
        let decision = RouteDecision::new(&one_sided, state(0.0), None, Bucket::random());
        assert_eq!(decision.stay(&one_sided, Side::Candidate), decision);
    }

    #[test]
    fn a_new_epoch_voids_a_decision_for_the_candidate_only() {
        let now = RouteState { epoch: 8, ..state(0.0) };
        let candidate = RouteDecision::new(&both(true), state(100.0), None, Bucket::random());
        let legacy = RouteDecision::new(&both(true), state(0.0), None, Bucket::random());
        assert!(candidate.is_current(state(100.0)) && !candidate.is_current(now) && legacy.is_current(now));
    }

    #[test]
    fn a_pin_goes_before_the_weight_but_makes_no_side() {
        for percent in [0.0, 50.0, 100.0] {
            for side in Side::ALL {
                let pinned = RouteDecision::new(&both(true), state(percent), Some(side), Bucket::random());
                assert_eq!((pinned.side, pinned.reason), (side, Reason::Pin));
                assert_eq!(pinned.upstream, UpstreamId(side.index()));
            }
        }
        let one_sided = route(Sides::Legacy(UpstreamId(3)));
        let pinned = RouteDecision::new(&one_sided, state(0.0), Some(Side::Candidate), Bucket::random());
        assert_eq!((pinned.side, pinned.reason), (Side::Legacy, Reason::OnlySide));
        let pinned = RouteDecision::new(&both(true), state(0.0), Some(Side::Candidate), Bucket::random());
        assert_eq!(pinned.fall_back(&both(true), Reason::Fallback).map(|fallen| fallen.reason), Some(Reason::Fallback));
        assert!(!pinned.is_current(RouteState { epoch: 8, ..state(0.0) }), "a rollback voids it");
    }
}
