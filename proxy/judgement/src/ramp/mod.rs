//! The life of a ramp, as a function.

mod plan;
mod state;

pub use plan::{NoDataPolicy, RampPlan, Step};
pub use state::{Event, GateState, Holding, Phase, Progress, RampState, Refusal, Transition};

#[cfg(test)]
mod state_tests;
