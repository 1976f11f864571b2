//! Which request of one side is compared with which of the other.

use std::{collections::VecDeque, time::Duration};

use crate::guard::{Sample, Side};

/// Requests of one side that wait for one of the other, at most.
const WAITING: usize = 32;

/// Pairs the requests of both sides one to one, in the order they end; whichever side has more has
/// the rest left out. What is left out never depends on how it ended.
#[derive(Debug, Clone)]
pub(crate) struct Pairing {
    /// Only one of the two has any.
    waiting: VecDeque<(Duration, Sample)>,
    side: Side,
    fresh: Duration,
}

/// A request of each side that ended at about the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) legacy: Sample,
    pub(crate) candidate: Sample,
}

impl Pairing {
    pub(crate) fn new(fresh: Duration) -> Self {
        Self { waiting: VecDeque::with_capacity(WAITING), side: Side::Legacy, fresh }
    }

    pub(crate) fn add(&mut self, side: Side, sample: Sample, now: Duration) -> Option<Pair> {
        while self.waiting.front().is_some_and(|(ended, _)| now.saturating_sub(*ended) > self.fresh) {
            self.waiting.pop_front();
        }
        if side != self.side
            && let Some((_, other)) = self.waiting.pop_front()
        {
            return Some(match side {
                Side::Legacy => Pair { legacy: sample, candidate: other },
                Side::Candidate => Pair { legacy: other, candidate: sample },
            });
        }
        self.side = side;
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((now, sample));
        None
    }
}
