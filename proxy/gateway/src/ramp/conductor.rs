//! The task that conducts the ramps of a gateway.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use judgement::{GateState, Moment};
use pingora::{server::ShutdownWatch, services::background::BackgroundService};
use tokio::time;

use super::{Ramps, duty::Duty, gates::Gates};
use crate::control::{Control, on_blocking_thread};

/// Between two looks at every ramp. A lease is much longer, and a rollback waits for none of them.
const TICK: Duration = Duration::from_millis(200);

/// See the module.
pub(crate) struct Conductor {
    ramps: Arc<Ramps>,
    control: Arc<Control>,
    started: Instant,
    gates: Gates,
}

impl Conductor {
    pub(crate) fn new(ramps: Arc<Ramps>, control: Arc<Control>) -> Self {
        Self { ramps, control, started: Instant::now(), gates: Gates::new() }
    }

    fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { monotonic: self.started.elapsed(), wall }
    }
}

#[async_trait]
impl BackgroundService for Conductor {
    /// Goes on while the process drains, until its runtime ends: the guard judges the requests that
    /// are still served, and what it rolls back is kept.
    async fn start(&self, _shutdown: ShutdownWatch) {
        // Only has to differ from the numbers of other processes; one bit less than the database has.
        let holder = rand::random::<u64>() >> 1;
        let mut duties: Vec<Duty> = self.ramps.iter().map(|ramp| Duty::new(ramp.clone(), holder)).collect();
        let mut tick = time::interval(TICK);
        tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        while !duties.is_empty() {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.ramps.wake.notified() => {}
            }
            let (control, now) = (self.control.clone(), self.now());
            duties = on_blocking_thread(move || {
                // The guard's own rollbacks, which are in force already.
                if !control.pending_rollbacks().is_empty() {
                    drop(control.keep_taken(Vec::new()));
                }
                for duty in &mut duties {
                    duty.tick(&control, now);
                }
                duties
            })
            .await;
            for duty in &mut duties {
                self.ask_gates(duty).await;
            }
        }
    }
}

impl Conductor {
    /// Asks the outside checks of a step that has passed everything else.
    async fn ask_gates(&self, duty: &mut Duty) {
        if !duty.waits_for_gates() {
            return;
        }
        let ramp = duty.ramp().clone();
        let Some(plan) = &ramp.plan else { return };
        let mut answers = Vec::with_capacity(plan.gates.len());
        for (index, gate) in plan.gates.iter().enumerate() {
            let known = duty.gates.get(index).filter(|known| **known == GateState::Passed).cloned();
            answers.push(match known {
                Some(passed) => passed,
                None => self.gates.ask(gate, &ramp).await,
            });
        }
        duty.gates = answers;
    }
}
