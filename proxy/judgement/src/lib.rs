//! Whether a candidate may go on: sequential tests of its answers against a fresh baseline, and the
//! ramp that they guard.
//!
//! Pure: no clock, no file, no network, no task. Time is an argument, memory is bounded.
//!
//! # The tests
//! A [`Guard`] looks after every request, for as long as a ramp lasts, and still keeps the chance of
//! a false alarm under one bound. That is what a fixed-size test looked at again and again cannot do.
//! Each [`Metric`] is a game of betting against the candidate's innocence ([`EProcess`]):
//!
//! 1. The innocence of a metric is a statement about the mean of something between two bounds, for
//!    example "the candidate fails at most 0.5 points more often than legacy at the same time": the
//!    mean of `failed(candidate) - failed(legacy) - 0.005` over a pair of requests is at most 0.
//! 2. A gambler starts with 1 and stakes a share of the wealth on the opposite. While the statement
//!    holds, no stake that is chosen before the outcome wins on average, so the wealth is a
//!    non-negative supermartingale, and by Ville's inequality (1939) the chance that it *ever* reaches
//!    `1 / alpha` is at most `alpha`.
//! 3. When it gets there, either the statement is false or something happened whose chance was below
//!    `alpha`. The wealth is an *e-value*; it is shown beside its bound.
//!
//! Sources: Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting* (JRSS
//! B, 2024), for bets on bounded means; Robbins, *Statistical methods related to the law of the
//! iterated logarithm* (1970), for the mixture over stakes; Shin, Ramdas and Rinaldo, *E-detectors*
//! (2022), for the mixture over starting points; Howard et al., *Time-uniform, nonparametric,
//! nonasymptotic confidence sequences* (2021); Turner, Ly and Grünwald, *Generic e-variables for exact
//! sequential k-sample tests* (2024), the sharper alternative for two proportions that do not change.
//!
//! # What is assumed, and what is not
//! - No distribution, no independence from one pair to the next, no rate that stays the same: a
//!   nightly peak of errors on both sides at once is no evidence against either. What must hold is
//!   that *within a pair* the candidate is no worse than legacy, given all that went before.
//! - So a pair must be two requests that could have changed places. Keys are sticky: a single key
//!   that always fails, on whichever side it is, breaks that. One key therefore counts for a few bad
//!   answers in a while only ([`Bounds::bad_per_key`]), which makes the damage small, not nought.
//! - A burst in which the candidate really fails is a finding and not a false alarm, even if it was
//!   short. A burst that hits both sides is none.
//! - A pair is made of answers as they end, so at a high load slow answers are paired with requests
//!   that began later. Latency compares only pairs in which both sides answered well.
//! - `alpha` holds for one guard in one process: a restart begins a new test, and each of several
//!   gateways tests by itself, for which [`Bounds::guards`] divides it.
//!
//! Verdicts are three: [`Verdict::Continue`], [`Verdict::RollBack`], and [`Verdict::NoData`], which is
//! neither.
//!
//! # The ramp
//! [`RampState::next`] is the whole life of a ramp as a function: plan, state and event in, next state
//! out. The weight of a step is *unproven* until the step's gates have passed, and is held by a lease
//! ([`LeaseWatch`]) that falls back to the last proven weight by itself.

mod betting;
mod bounds;
mod bursts;
mod coverage;
mod evidence;
mod guard;
mod lease;
mod metric;
mod pairing;
mod quantile;
mod ramp;

pub use betting::EProcess;
pub use bounds::{BoundProblem, Bounds};
pub use coverage::{Coverage, MAX_SHAPES};
pub use evidence::{Evidence, MetricEvidence, SideCounts};
pub use guard::{Guard, Outcome, Reason, Sample, Side, Verdict};
pub use lease::{Hold, LeaseWatch, Moment, Renewal};
pub use metric::Metric;
pub use ramp::{
    Event, GateState, Holding, NoDataPolicy, Phase, Progress, RampPlan, RampState, Refusal, Step, Transition,
};
