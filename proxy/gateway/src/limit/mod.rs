//! How many requests are let through: policies, what they count, and how much is left.

mod live;
mod policy;
mod quota;

pub use live::{Limit, LiveLimits};
pub use policy::{Counts, Policies, Policy, PolicyId};
pub use quota::{BurstProblem, MAX_BURST, Quota, Rate, RateProblem};
