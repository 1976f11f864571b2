//! How many requests are let through.
//!
//! A [`Policy`] says what it keeps a budget for ([`Counts`]) and how large that is ([`Quota`]). A route
//! lists the policies that its requests must pass, all of them. A policy that several routes list keeps
//! one budget for a key, whichever of them it comes by. A request is counted once, before it is decided
//! which side serves it: legacy and candidate share the budget, and a repeat or a fallback is free.
//!
//! The quotas in force are part of the rollout snapshot ([`LiveLimits`]).
//!
//! | module | |
//! |---|---|
//! | `budget` | the arithmetic, GCRA, which all stores share |
//! | `local` | budgets in this process |
//! | `redis`, `link`, `refusals` | budgets that several gateways share; what happens without Redis |
//! | `limiter` | decides about a request |
//! | `report` | tells the client |

mod budget;
mod charge;
mod limiter;
mod link;
mod live;
mod local;
mod metrics;
mod policy;
mod quota;
mod redis;
mod refusals;
mod report;
mod subject;

pub use charge::MAX_POLICIES;
pub use live::{Limit, LiveLimits};
pub use policy::{Counts, Policies, Policy, PolicyId};
pub use quota::{BurstProblem, MAX_BURST, Quota, Rate, RateProblem};

pub use limiter::{Counted, Limiter};
pub use link::LinkKeeper;
pub use report::{LimitFields, NotAdmitted};
pub use subject::Caller;

#[cfg(test)]
mod local_tests;
#[cfg(test)]
mod redis_tests;
