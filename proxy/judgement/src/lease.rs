//! Whether the weight of an unproven step may still be in force.
//!
//! The gateway that conducts a ramp renews a lease in the store. Every gateway, the conducting one
//! too, judges by its own clock whether it saw a renewal lately; if not, it falls back to the last
//! proven weight by itself, and needs nobody for that.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since some start; never goes back, and may stand still while the machine sleeps.
    pub monotonic: Duration,
    /// Since 1970; may jump.
    pub wall: Duration,
}

/// A renewal, told from any other of the same lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Renewal {
    /// The process that conducts.
    pub holder: u64,
    /// One more with each renewal, whoever holds it.
    pub number: u64,
}

/// Whether the weight of a step holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It does.
    Live,
    /// It does not: the last proven weight is in force.
    Lapsed,
}

/// Watches one lease from one process.
#[derive(Debug, Clone)]
pub struct LeaseWatch {
    length: Duration,
    /// The latest renewal that was seen.
    known: Option<Renewal>,
    /// When it was seen to be new. What was there at the first look may be of any age.
    renewed: Option<Moment>,
    last_look: Option<Moment>,
}

impl LeaseWatch {
    /// Watches a lease of this length, of which nothing is known.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        Self { length, known: None, renewed: None, last_look: None }
    }

    /// The store showed this renewal, when asked at `now`.
    pub fn saw(&mut self, renewal: Option<Renewal>, now: Moment) {
        if renewal != self.known {
            self.renewed = self.known.and(renewal).map(|_| now);
            self.known = renewal;
        }
        self.look(now);
    }

    /// The store took a renewal of this process, which was sent at `sent`.
    pub fn renewed(&mut self, renewal: Renewal, sent: Moment) {
        self.known = Some(renewal);
        self.renewed = Some(sent);
        self.last_look = self.last_look.or(Some(sent));
    }

    /// Whether the lease holds at `now`. A clock that jumped since the last look ends it: the machine
    /// may have slept, and nobody knows what the other gateways did meanwhile.
    pub fn look(&mut self, now: Moment) -> Hold {
        if let Some(before) = self.last_look.replace(now) {
            let monotonic = now.monotonic.saturating_sub(before.monotonic);
            let wall = now.wall.checked_sub(before.wall);
            if wall.is_none_or(|wall| wall.abs_diff(monotonic) > self.tolerance()) {
                self.renewed = None;
            }
        }
        match self.renewed {
            Some(at) if now.monotonic.saturating_sub(at.monotonic) < self.length => Hold::Live,
            _ => Hold::Lapsed,
        }
    }

    /// The latest renewal that was seen.
    #[must_use]
    pub fn known(&self) -> Option<Renewal> {
        self.known
    }

    /// How old the renewal is that holds the lease; `None` when none does.
    #[must_use]
    pub fn age(&self, now: Moment) -> Option<Duration> {
        self.renewed.map(|at| now.monotonic.saturating_sub(at.monotonic))
    }

    /// As far may the clocks disagree between two looks: more than a slewing clock, less than a lease.
    fn tolerance(&self) -> Duration {
        self.length / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(12);

    fn at(seconds: u64) -> Moment {
        Moment { monotonic: Duration::from_secs(seconds), wall: Duration::from_secs(1_000_000 + seconds) }
    }

    fn renewal(number: u64) -> Option<Renewal> {
        Some(Renewal { holder: 7, number })
    }

    #[test]
    fn what_is_there_at_the_first_look_holds_nothing() {
        let mut watch = LeaseWatch::new(LENGTH);
        watch.saw(renewal(3), at(0));
        watch.saw(renewal(3), at(1));
        assert_eq!(watch.look(at(2)), Hold::Lapsed);
        watch.saw(renewal(4), at(3));
        assert_eq!((watch.look(at(14)), watch.look(at(15))), (Hold::Live, Hold::Lapsed));
        watch.saw(renewal(4), at(16));
        assert_eq!(watch.look(at(16)), Hold::Lapsed, "an old renewal is no new one");
    }

    #[test]
    fn a_lease_of_ones_own_counts_from_the_moment_it_was_asked_for() {
        let mut watch = LeaseWatch::new(LENGTH);
        watch.renewed(Renewal { holder: 7, number: 1 }, at(5));
        assert_eq!((watch.look(at(16)), watch.look(at(17))), (Hold::Live, Hold::Lapsed));
    }

    #[test]
    fn a_clock_that_jumps_ends_it_either_way() {
        for wall in [1_000_000 + 60, 999_000] {
            let mut watch = LeaseWatch::new(LENGTH);
            watch.renewed(Renewal { holder: 7, number: 1 }, at(0));
            assert_eq!(watch.look(at(1)), Hold::Live);
            let jumped = Moment { wall: Duration::from_secs(wall), ..at(2) };
            assert_eq!(watch.look(jumped), Hold::Lapsed);
            let after = Moment { monotonic: Duration::from_secs(3), wall: Duration::from_secs(wall + 1) };
            assert_eq!(watch.look(after), Hold::Lapsed, "until it is renewed");
            watch.renewed(Renewal { holder: 7, number: 2 }, after);
            assert_eq!(watch.look(after), Hold::Live);
        }
    }
}
