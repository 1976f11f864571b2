//! Where a ramp stands, and what comes next.
//!
//! ```text
//!            start                     gates passed (or promoted), another step
//!   (none) ────────► running ◄───────────────────────────────┐
//!                    │ ▲ │ └────────────────────────────────┘
//!              pause │ │ │ gates passed, last step
//!   weight by hand   ▼ │ └──────────────────────────────► completed
//!                 paused│ resume
//!                       │
//!   restart, lapse ─► recovering      any of the three ── guard, gate, operator ──► rolled_back, aborted
//! ```

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize, Serializer};

use super::plan::{NoDataPolicy, RampPlan};
use crate::guard::Verdict;

/// Where a ramp stands; what is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RampState {
    /// What it is doing.
    pub phase: Phase,
    /// The step it is in, from 0.
    pub step: usize,
    /// The weight it has asked for, in basis points.
    pub weight: u16,
    /// The highest weight whose gates have passed, in basis points. It may be in force without a lease.
    pub proven: u16,
    /// Whether somebody has approved the end of this step.
    pub approved: bool,
    /// Why it is in this phase, in words.
    pub reason: String,
}

/// What a ramp is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A step is in force and judged.
    Running,
    /// The proven weight is in force for one lease; then the step starts over.
    Recovering,
    /// Nothing moves until somebody resumes it. The guard goes on.
    Paused,
    /// Every step has passed.
    Completed,
    /// The guard or a gate has sent everything back to legacy.
    RolledBack,
    /// An operator has ended it.
    Aborted,
}

impl Phase {
    /// All of them, in the order they are declared.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Recovering, Self::Paused, Self::Completed, Self::RolledBack, Self::Aborted];

    /// The name in documents, metrics and API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Recovering => "recovering",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::RolledBack => "rolled_back",
            Self::Aborted => "aborted",
        }
    }

    /// Whether it may still move.
    #[must_use]
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Running | Self::Recovering | Self::Paused)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to a ramp.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Time has passed, and this is known now.
    Tick(Progress),
    /// The process that conducts is another, or lost the lease, or its clock jumped.
    Interrupted(String),
    /// Somebody set another weight, in basis points.
    WeightSetByHand(u16),
    /// Somebody wants it to stay where it is.
    Pause(String),
    /// Somebody wants it to go on.
    Resume,
    /// Somebody approves the end of this step.
    Approve,
    /// Somebody vouches for this step: it passes at once.
    Promote(String),
    /// Somebody wants everything back on legacy.
    Abort(String),
    /// Everything is back on legacy.
    RolledBack(String),
}

/// What is known at a tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// How long this process has had the step, or the recovery, in force.
    pub time: Duration,
    /// The candidate's requests in this step.
    pub requests: u64,
    /// Judged pairs of requests in this step.
    pub pairs: u64,
    /// What the guard says.
    pub verdict: Verdict,
    /// The share of requests whose shape was compared often enough, if any was seen.
    pub coverage: Option<f64>,
    /// What the outside checks say.
    pub gates: GateState,
}

/// What outside checks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateState {
    /// Nobody objects.
    Passed,
    /// Somebody wants to wait, or has not been heard.
    Waiting(String),
    /// Somebody objects.
    Failed(String),
}

/// What a step still waits for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "for")]
pub enum Holding {
    /// Its least time.
    Time {
        /// What is left of it.
        #[serde(rename = "left_ms", serialize_with = "as_ms")]
        left: Duration,
    },
    /// Requests to judge: there is not enough to see.
    Data {
        /// How many there are.
        pairs: u64,
        /// How many there must be.
        least: u64,
    },
    /// Comparisons of the shapes that legacy sees.
    Coverage {
        /// The share that was compared often enough.
        share: f64,
        /// What it must be.
        least: f64,
    },
    /// An outside check.
    Gate {
        /// Which, and what it said.
        said: String,
    },
    /// Somebody's approval.
    Approval,
    /// The end of the recovery.
    Recovery {
        /// What is left of it.
        #[serde(rename = "left_ms", serialize_with = "as_ms")]
        left: Duration,
    },
    /// Somebody's `resume`.
    Resume,
}

fn as_ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// A ramp after an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The state it is in now.
    pub state: RampState,
    /// What it waits for.
    pub holding: Option<Holding>,
    /// Why everything must go back to legacy, if it must.
    pub roll_back: Option<String>,
}

/// An event that this ramp cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it is doing.
    pub phase: Phase,
    /// What was asked.
    pub asked: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ramp is {}, so it cannot {}", self.phase.as_str().replace('_', " "), self.asked)
    }
}

impl std::error::Error for Refusal {}

impl RampState {
    /// A ramp in its first step. `proven` is the weight that is in force before it, in basis points:
    /// whoever set it answers for it.
    #[must_use]
    pub fn start(plan: &RampPlan, proven: u16) -> Self {
        let step = plan.steps.iter().position(|step| step.weight > proven).unwrap_or(plan.steps.len() - 1);
        Self {
            phase: Phase::Running,
            step,
            weight: plan.step(step).weight,
            proven: proven.min(plan.step(step).weight),
            approved: false,
            reason: "started".to_owned(),
        }
    }

    /// Whether its weight holds only as long as the lease does.
    #[must_use]
    pub fn needs_lease(&self) -> bool {
        self.phase.is_under_way() && self.weight > self.proven
    }

    /// What comes after an event.
    ///
    /// # Errors
    /// When the ramp cannot have this event; then nothing changes.
    pub fn next(&self, plan: &RampPlan, event: Event) -> Result<Transition, Refusal> {
        let refused = |asked| Err(Refusal { phase: self.phase, asked });
        match event {
            Event::Tick(progress) => Ok(self.tick(plan, &progress)),
            Event::Interrupted(why) => Ok(match self.phase {
                Phase::Running | Phase::Recovering => self.to(Phase::Recovering, self.step, self.proven, why),
                // The weight of a pause was held by the lease that is gone.
                Phase::Paused if self.needs_lease() => self.to(Phase::Paused, self.step, self.proven, why),
                _ => self.stays(None),
            }),
            Event::WeightSetByHand(weight) if self.phase.is_under_way() => {
                let mut paused = self.to(
                    Phase::Paused,
                    self.step,
                    weight,
                    format!("somebody set the weight to {} % by hand", f64::from(weight) / 100.0),
                );
                // They answer for it, as for any weight set by hand.
                paused.state.proven = weight;
                Ok(paused)
            }
            Event::WeightSetByHand(_) => Ok(self.stays(None)),
            Event::Pause(why) if self.phase.is_under_way() => Ok(self.to(Phase::Paused, self.step, self.weight, why)),
            Event::Pause(_) => refused("pause"),
            Event::Resume if self.phase == Phase::Paused => {
                let mut state = Self::start(plan, self.proven);
                state.reason = "resumed".to_owned();
                Ok(Transition { state, holding: None, roll_back: None })
            }
            Event::Resume => refused("resume"),
            Event::Approve if self.phase.is_under_way() => {
                let mut same = self.stays(None);
                same.state.approved = true;
                Ok(same)
            }
            Event::Approve => refused("be approved"),
            Event::Promote(why) if self.phase == Phase::Running => Ok(self.passed(plan, why)),
            Event::Promote(_) => refused("be promoted"),
            Event::Abort(why) if self.phase.is_under_way() => {
                let mut ended = self.to(Phase::Aborted, self.step, 0, why.clone());
                ended.state.proven = 0;
                ended.roll_back = Some(why);
                Ok(ended)
            }
            Event::Abort(_) => refused("be aborted"),
            Event::RolledBack(why) if self.phase.is_under_way() => Ok(self.back(why, false)),
            Event::RolledBack(_) => Ok(self.stays(None)),
        }
    }

    fn tick(&self, plan: &RampPlan, progress: &Progress) -> Transition {
        match (self.phase, &progress.verdict, &progress.gates) {
            (phase, _, _) if !phase.is_under_way() => self.stays(None),
            (_, Verdict::RollBack(reason), _) => self.back(reason.to_string(), true),
            (Phase::Paused, _, _) => self.stays(Some(Holding::Resume)),
            (Phase::Recovering, _, _) if progress.time < plan.lease => {
                self.stays(Some(Holding::Recovery { left: plan.lease - progress.time }))
            }
            (Phase::Recovering, _, _) => {
                let weight = plan.step(self.step).weight;
                self.to(Phase::Running, self.step, weight, "the step starts over".to_owned())
            }
            (_, _, GateState::Failed(said)) => self.back(format!("a gate failed: {said}"), true),
            _ => match self.holding(plan, progress) {
                Some(holding) => self.stays(Some(holding)),
                None => self.passed(plan, format!("passed with {} pairs of requests", progress.pairs)),
            },
        }
    }

    fn holding(&self, plan: &RampPlan, progress: &Progress) -> Option<Holding> {
        let step = plan.step(self.step);
        let alone = plan.no_data == NoDataPolicy::Absolute && step.weight == 10_000;
        let judged = if alone { progress.requests } else { progress.pairs };
        let unseen = progress.verdict == Verdict::NoData && !alone;
        if progress.time < step.least_time {
            return Some(Holding::Time { left: step.least_time - progress.time });
        }
        if judged < step.least_requests || unseen {
            return Some(Holding::Data { pairs: judged, least: step.least_requests });
        }
        let share = progress.coverage.unwrap_or(0.0);
        if share < plan.coverage {
            return Some(Holding::Coverage { share, least: plan.coverage });
        }
        if let GateState::Waiting(said) = &progress.gates {
            return Some(Holding::Gate { said: said.clone() });
        }
        (step.approval && !self.approved).then_some(Holding::Approval)
    }

    fn passed(&self, plan: &RampPlan, why: String) -> Transition {
        let mut next = if plan.goes_on_after(self.step) {
            self.to(Phase::Running, self.step + 1, plan.step(self.step + 1).weight, why)
        } else {
            self.to(Phase::Completed, self.step, self.weight, why)
        };
        next.state.proven = self.weight;
        next
    }

    fn back(&self, why: String, by_us: bool) -> Transition {
        let mut ended = self.to(Phase::RolledBack, self.step, 0, why.clone());
        ended.state.proven = 0;
        ended.roll_back = by_us.then_some(why);
        ended
    }

    fn stays(&self, holding: Option<Holding>) -> Transition {
        Transition { state: self.clone(), holding, roll_back: None }
    }

    fn to(&self, phase: Phase, step: usize, weight: u16, reason: String) -> Transition {
        let approved = self.approved && step == self.step;
        let state = Self { phase, step, weight, proven: self.proven, approved, reason };
        Transition { state, holding: None, roll_back: None }
    }
}
