//! The circuit breaker, as a state machine that knows no clock and no lock.
//!
//! ```text
//!            failures in a row, or a share of failures
//!   closed ───────────────────────────────────────────► open
//!     ▲                                                  │ its time is over
//!     │  every trial succeeded                           ▼
//!     └───────────────────────────────────────────── probation
//!                                                        │ a trial failed
//!                                          open ◄────────┘ for twice as long
//! ```
//!
//! Everyone whose request is let through holds a [`Ticket`] and brings it back with the outcome. A ticket
//! of an earlier state decides nothing: what began before the circuit opened says nothing about whether
//! it may close.

mod gate;
mod window;

use std::time::{Duration, Instant};

pub(crate) use gate::{Gate, Phase};
use window::Window;

/// Up to this share of an opening is taken away by chance, so that several gateways which opened together
/// do not come back together.
const JITTER: f64 = 0.2;

/// When a circuit opens and closes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CircuitSettings {
    /// Opens after this many failures in a row; never for that when 0.
    pub(crate) consecutive_failures: u32,
    /// Opens for a share of failures, when given.
    pub(crate) share: Option<FailureShare>,
    /// How long it is open the first time. Twice as long each time after, until it has stayed closed for
    /// [`CircuitSettings::open_for_max`].
    pub(crate) open_for: Duration,
    /// The longest it is open.
    pub(crate) open_for_max: Duration,
    /// How many requests are let through on probation, and must all succeed.
    pub(crate) trials: u32,
}

/// A share of failures among the latest requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FailureShare {
    /// From 0 to 1.
    pub(crate) share: f64,
    /// With fewer requests than this in the window, a share says nothing.
    pub(crate) min_requests: u32,
    /// What counts as latest.
    pub(crate) window: Duration,
}

/// What became of a request that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure,
    /// It ended before anybody could tell, for example because the client left.
    Unknown,
}

/// The right to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    generation: u64,
    trial: bool,
}

impl Ticket {
    /// A ticket that decides nothing.
    pub(crate) const VOID: Self = Self { generation: u64::MAX, trial: false };
}

/// No request is let through, for at least this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) retry_after: Duration,
}

/// What an outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It opened, for this long.
    Opened(Duration),
    /// It closed.
    Closed,
}

/// One circuit.
#[derive(Debug)]
pub(crate) struct Circuit {
    settings: CircuitSettings,
    state: State,
    /// One higher with each change of state.
    generation: u64,
    /// How often it opened since it last stayed closed for long.
    openings: u32,
}

#[derive(Debug)]
enum State {
    Closed(Closed),
    Open { until: Instant },
    Probation(Probation),
}

#[derive(Debug)]
struct Closed {
    since: Instant,
    failures_in_a_row: u32,
    window: Option<Window>,
}

#[derive(Debug)]
struct Probation {
    admitted: u32,
    succeeded: u32,
    /// Trials that have not come back by now hold up nobody any more: as many again are let through.
    renewed_at: Instant,
}

impl Circuit {
    /// A closed circuit.
    pub(crate) fn new(settings: CircuitSettings, now: Instant) -> Self {
        let state = State::Closed(Closed::new(&settings, now));
        Self { settings, state, generation: 0, openings: 0 }
    }

    /// Asks to let a request through.
    ///
    /// # Errors
    /// When it is open, or on probation with enough trials under way.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Ticket, Refused> {
        if let State::Open { until } = self.state {
            if now < until {
                return Err(Refused { retry_after: until - now });
            }
            self.begin_probation(now);
        }
        let generation = self.generation;
        match &mut self.state {
            State::Probation(probation) => {
                probation.admit(&self.settings, now).map(|()| Ticket { generation, trial: true })
            }
            State::Closed(_) | State::Open { .. } => Ok(Ticket { generation, trial: false }),
        }
    }

    /// Whether [`Circuit::admit`] would let a request through.
    pub(crate) fn would_admit(&self, now: Instant) -> bool {
        match &self.state {
            State::Closed(_) => true,
            State::Open { until } => now >= *until,
            State::Probation(probation) => probation.has_room(&self.settings, now),
        }
    }

    /// Takes a ticket back. `may_open` is asked before the circuit opens; one that may not stays closed
    /// and asks again with the next failure. `random` is from 0 to 1.
    pub(crate) fn record(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        now: Instant,
        random: f64,
        may_open: impl FnOnce() -> bool,
    ) -> Option<Change> {
        if ticket.generation != self.generation {
            return None;
        }
        match &mut self.state {
            State::Closed(closed) => {
                let stayed = now.saturating_duration_since(closed.since);
                if !closed.record(&self.settings, outcome, now) || !may_open() {
                    return None;
                }
                if stayed >= self.settings.open_for_max {
                    self.openings = 0;
                }
                Some(self.open(now, random))
            }
            State::Probation(probation) => match probation.record(&self.settings, outcome)? {
                Outcome::Failure => Some(self.open(now, random)),
                _ => Some(self.close(now)),
            },
            // Nobody holds a ticket of this state.
            State::Open { .. } => None,
        }
    }

    fn open(&mut self, now: Instant, random: f64) -> Change {
        let doubled = 1_u32.checked_shl(self.openings).unwrap_or(u32::MAX);
        let longest = self.settings.open_for.saturating_mul(doubled).min(self.settings.open_for_max);
        let open_for = longest.mul_f64(1.0 - JITTER * random.clamp(0.0, 1.0));
        self.openings = self.openings.saturating_add(1);
        self.enter(State::Open { until: now + open_for });
        Change::Opened(open_for)
    }

    fn begin_probation(&mut self, now: Instant) {
        self.enter(State::Probation(Probation { admitted: 0, succeeded: 0, renewed_at: now + self.settings.open_for }));
    }

    fn close(&mut self, now: Instant) -> Change {
        self.enter(State::Closed(Closed::new(&self.settings, now)));
        Change::Closed
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

impl Closed {
    fn new(settings: &CircuitSettings, now: Instant) -> Self {
        let window = settings.share.map(|share| Window::new(share.window, now));
        Self { since: now, failures_in_a_row: 0, window }
    }

    /// Counts an outcome. `true` when there were too many failures.
    fn record(&mut self, settings: &CircuitSettings, outcome: Outcome, now: Instant) -> bool {
        let failed = match outcome {
            Outcome::Unknown => return false,
            Outcome::Success => false,
            Outcome::Failure => true,
        };
        self.failures_in_a_row = if failed { self.failures_in_a_row.saturating_add(1) } else { 0 };
        let in_a_row = settings.consecutive_failures > 0 && self.failures_in_a_row >= settings.consecutive_failures;
        let share = self.window.as_mut().zip(settings.share).is_some_and(|(window, share)| {
            window.count(failed, now);
            let (requests, failures) = window.totals(now);
            requests >= share.min_requests && f64::from(failures) >= share.share * f64::from(requests)
        });
        failed && (in_a_row || share)
    }
}

impl Probation {
    fn has_room(&self, settings: &CircuitSettings, now: Instant) -> bool {
        self.admitted < settings.trials || now >= self.renewed_at
    }

    fn admit(&mut self, settings: &CircuitSettings, now: Instant) -> Result<(), Refused> {
        if now >= self.renewed_at {
            self.admitted = self.succeeded;
            self.renewed_at = now + settings.open_for;
        }
        if self.admitted >= settings.trials {
            return Err(Refused { retry_after: self.renewed_at - now });
        }
        self.admitted += 1;
        Ok(())
    }

    /// Counts a trial's outcome. Failure or success is returned once it is the probation's.
    fn record(&mut self, settings: &CircuitSettings, outcome: Outcome) -> Option<Outcome> {
        match outcome {
            Outcome::Failure => Some(Outcome::Failure),
            Outcome::Success => {
                self.succeeded += 1;
                (self.succeeded >= settings.trials).then_some(Outcome::Success)
            }
            // Another may be tried in its place.
            Outcome::Unknown => {
                self.admitted = self.admitted.saturating_sub(1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
