//! What an operator may ask of a ramp.

use judgement::{Event, RampState, Refusal};

use super::{Plan, Ramps, RouteRamp};
use crate::{
    control::{Authorship, Change, ChangeError, Control, Expect, StoreError},
    rollout::{RampRecord, Ramping},
    route_table::RouteId,
};

/// How often a command starts again because the ramp moved meanwhile.
const ATTEMPTS: usize = 8;

/// What an operator may ask of a ramp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Begin it.
    Start,
    /// Stay at this weight.
    Pause,
    /// Go on.
    Resume,
    /// Let this step end.
    Approve,
    /// Pass this step at once.
    Promote,
    /// End it, with everything on legacy.
    Abort,
}

/// Why a command was not followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("route `{0}` has no plan; add [routes.ramp] to it in the gateway's configuration")]
    NoPlan(String),
    #[error("route `{0}` has no ramp; `strangler ramp start` begins one")]
    NoRamp(String),
    #[error("a ramp of this route is under way; abort it first")]
    UnderWay,
    #[error("the route is at the last step's weight already; there is nothing to ramp")]
    NothingLeft,
    #[error("{0}")]
    Refused(Refusal),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Command {
    const ALL: [Self; 6] = [Self::Start, Self::Pause, Self::Resume, Self::Approve, Self::Promote, Self::Abort];

    /// What it is to a ramp under way; `None` for the one that begins it.
    fn event(self, by: &Authorship) -> Option<Event> {
        let why =
            |act: &str| format!("{act} by {}{}{}", by.actor, if by.reason.is_empty() { "" } else { ": " }, by.reason);
        match self {
            Self::Start => None,
            Self::Pause => Some(Event::Pause(why("paused"))),
            Self::Resume => Some(Event::Resume),
            Self::Approve => Some(Event::Approve),
            Self::Promote => Some(Event::Promote(why("promoted"))),
            Self::Abort => Some(Event::Abort(why("aborted"))),
        }
    }
}

impl RouteRamp {
    /// The commands that would be followed as things stand.
    pub(crate) fn followed(&self, known: Option<&Ramping>, weight: u16) -> Vec<Command> {
        let Some(plan) = &self.plan else { return Vec::new() };
        let by = Authorship { actor: String::new(), reason: String::new(), authenticated_as: String::new() };
        let is_followed = |command: &Command| match command.event(&by) {
            None => may_start(plan, known, weight).is_ok(),
            Some(event) => known.is_some_and(|known| known.record.state.next(&plan.plan, event).is_ok()),
        };
        Command::ALL.into_iter().filter(is_followed).collect()
    }
}

impl Ramps {
    /// Follows a command; returns where the ramp stands then. Waits for the store, so not for the
    /// runtime's own threads.
    pub(crate) fn command(
        &self,
        control: &Control,
        route: RouteId,
        command: Command,
        by: &Authorship,
        expect: Expect,
    ) -> Result<RampState, CommandError> {
        let name = || control.table().get(route).name.clone();
        let planned = self.get(route).and_then(|ramp| Some((ramp, ramp.plan.as_ref()?)));
        let (ramp, plan) = planned.ok_or_else(|| CommandError::NoPlan(name()))?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let snapshot = control.snapshot().clone();
            let (known, weight) = (snapshot.ramp(route), snapshot.get(route).weight.points());
            let revision = match expect {
                Expect::Any => snapshot.revision(),
                Expect::Revision(expected) => expected,
            };
            let outcome = match command.event(by) {
                None => start(control, ramp, plan, known.map(AsRef::as_ref), weight, revision, by),
                Some(event) => {
                    let ramping = known.ok_or_else(|| CommandError::NoRamp(name()))?;
                    act(control, ramp, plan, ramping, event, revision, by)
                }
            };
            self.wake.notify_one();
            match outcome {
                Err(CommandError::Change(ChangeError::Conflict { .. }))
                    if expect == Expect::Any && attempts < ATTEMPTS => {}
                outcome => return outcome,
            }
        }
    }
}

fn start(
    control: &Control,
    ramp: &RouteRamp,
    plan: &Plan,
    known: Option<&Ramping>,
    weight: u16,
    revision: u64,
    by: &Authorship,
) -> Result<RampState, CommandError> {
    may_start(plan, known, weight)?;
    control.drop_lease(ramp.id)?;
    let state = RampState::start(&plan.plan, weight);
    keep(control, ramp, &plan.hash, state, revision, by)
}

fn may_start(plan: &Plan, known: Option<&Ramping>, weight: u16) -> Result<(), CommandError> {
    if known.is_some_and(|known| known.record.state.phase.is_under_way()) {
        return Err(CommandError::UnderWay);
    }
    if plan.plan.steps.iter().all(|step| step.weight <= weight) {
        return Err(CommandError::NothingLeft);
    }
    Ok(())
}

fn act(
    control: &Control,
    ramp: &RouteRamp,
    plan: &Plan,
    ramping: &Ramping,
    event: Event,
    revision: u64,
    by: &Authorship,
) -> Result<RampState, CommandError> {
    let next = ramping.record.state.next(&plan.plan, event).map_err(CommandError::Refused)?;
    let revision = if next.roll_back.is_some() {
        // Traffic first; a document that says so comes after.
        control.roll_back(&[ramp.id], by);
        control.snapshot().revision()
    } else {
        revision
    };
    // A plan that was changed while the ramp was paused is the plan from here on.
    keep(control, ramp, &plan.hash, next.state, revision, by)
}

fn keep(
    control: &Control,
    ramp: &RouteRamp,
    plan: &str,
    state: RampState,
    revision: u64,
    by: &Authorship,
) -> Result<RampState, CommandError> {
    let record = RampRecord { plan: plan.to_owned(), state: state.clone() };
    control.change(&Change::Ramp { route: ramp.id, record }, by, Expect::Revision(revision))?;
    Ok(state)
}
