use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Change, Circuit, CircuitSettings, Outcome, Refused, State, Ticket};

/// A circuit that many requests use at once. While it is closed a request takes no lock to enter; and
/// none to leave either when it succeeded, failures in a row are all that is counted, and the latest
/// request did not fail.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The generation, times two, and one more while the circuit is closed.
    seal: AtomicU64,
    /// A success changes nothing.
    calm: AtomicBool,
    circuit: Mutex<Circuit>,
}

/// A circuit's state, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed,
    /// For this much longer.
    Open(Duration),
    Probation,
}

impl Phase {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::Probation => "probation",
        }
    }

    /// The value of the gauge: 0 closed, 1 probation, 2 open.
    pub(crate) const fn severity(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::Probation => 1,
            Self::Open(_) => 2,
        }
    }
}

impl Gate {
    pub(crate) fn new(settings: CircuitSettings, now: Instant) -> Self {
        let circuit = Circuit::new(settings, now);
        let gate = Self { seal: AtomicU64::new(0), calm: AtomicBool::new(false), circuit: Mutex::new(circuit) };
        gate.publish(&gate.lock());
        gate
    }

    /// As [`Circuit::admit`].
    pub(crate) fn admit(&self, now: Instant) -> Result<Ticket, Refused> {
        let seal = self.seal.load(Ordering::Acquire);
        if seal & 1 == 1 {
            return Ok(Ticket { generation: seal >> 1, trial: false });
        }
        let mut circuit = self.lock();
        let admitted = circuit.admit(now);
        self.publish(&circuit);
        admitted
    }

    /// As [`Circuit::would_admit`].
    pub(crate) fn would_admit(&self, now: Instant) -> bool {
        self.is_closed() || self.lock().would_admit(now)
    }

    /// Takes no lock, so it may be asked from within `may_open`.
    pub(crate) fn is_closed(&self) -> bool {
        self.seal.load(Ordering::Acquire) & 1 == 1
    }

    /// As [`Circuit::record`].
    pub(crate) fn record(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        now: Instant,
        may_open: impl FnOnce() -> bool,
    ) -> Option<Change> {
        let nothing_new = match outcome {
            Outcome::Success => self.calm.load(Ordering::Acquire),
            Outcome::Failure => false,
            Outcome::Unknown => true,
        };
        if nothing_new && !ticket.trial {
            return None;
        }
        let mut circuit = self.lock();
        let change = circuit.record(ticket, outcome, now, rand::random(), may_open);
        self.publish(&circuit);
        change
    }

    pub(crate) fn phase(&self, now: Instant) -> Phase {
        match self.lock().state {
            State::Closed(_) => Phase::Closed,
            State::Open { until } if now < until => Phase::Open(until - now),
            State::Open { .. } | State::Probation(_) => Phase::Probation,
        }
    }

    fn publish(&self, circuit: &Circuit) {
        let closed = matches!(circuit.state, State::Closed(_));
        let calm =
            matches!(&circuit.state, State::Closed(closed) if closed.failures_in_a_row == 0 && closed.window.is_none());
        self.calm.store(calm, Ordering::Release);
        self.seal.store(circuit.generation << 1 | u64::from(closed), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        // Each change of a circuit is made whole before anything can panic.
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
