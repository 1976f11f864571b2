//! What an earlier call has left, and the end of the way.

use super::{
    CutoverError, Settings,
    executor::{Cutover, Report, Step, stage_after},
    gateway::DataStage,
    journal::{Attempt, AttemptStep, Note},
    plan::Obstacle,
};
use crate::stream::{self, Direction};

impl Cutover<'_> {
    /// Finishes or takes back what an earlier call has left. Its report, when that is what was asked for now.
    pub(super) async fn resume(&self, asked: Direction) -> Result<Option<Report>, CutoverError> {
        let latest = self.latest().await?;
        let Some(left) = latest.filter(|attempt| attempt.step < AttemptStep::Done) else { return Ok(None) };
        self.reached(Step::Resuming).await;
        if !self.has_flipped(&left).await? {
            let reason = left.reason.clone().unwrap_or_else(|| "whoever did it has gone".to_owned());
            self.undo(left.direction, left.id, &left.token, &reason).await?;
            return Ok(None);
        }
        let _ = self.gateway.lift(&self.plan.name, &left.token).await;
        if left.step < AttemptStep::Decided {
            let reason = "gone while deciding: until now the old owner's tables may have been written directly";
            self.note(left.id, AttemptStep::Decided, &Note { reason: Some(reason.to_owned()), ..Note::default() })
                .await?;
        }
        self.finish(left.direction, left.id).await?;
        let report = Report {
            slice: self.plan.name.clone(),
            direction: left.direction,
            revision: left.revision.map(i64::cast_unsigned),
            held_ms: left.held_ms,
            waited: 0,
            found_in_flight: 0,
            drained_ms: None,
            caught_up_ms: None,
            resumed: true,
        };
        Ok((left.direction == asked).then_some(report))
    }

    async fn has_flipped(&self, left: &Attempt) -> Result<bool, CutoverError> {
        match left.step {
            AttemptStep::Decided => Ok(true),
            AttemptStep::Deciding => {
                // A flip that is still on its way finds no fence any more.
                let _ = self.gateway.lift(&self.plan.name, &left.token).await;
                let known = self.ask_what_came_of_it(stage_after(left.direction)).await;
                known.ok_or_else(|| CutoverError::Unknown { why: "the gateway does not answer".to_owned() })
            }
            _ => Ok(false),
        }
    }

    /// Ends the way back: drops both streams with their slots and publications, and the candidate's door. The
    /// monolith's stays shut, so that nobody writes rows there that nobody reads.
    ///
    /// # Errors
    /// [`CutoverError::Obstacles`] when the slice is not cut over; else what could not be done, and the same
    /// again goes on there.
    pub async fn complete(&self) -> Result<(), CutoverError> {
        let _alone = self.alone().await?;
        drop(self.resume(Direction::Forward).await?);
        let slice = self.gateway.slice(&self.plan.name).await?;
        match slice.map(|slice| slice.stage) {
            Some(DataStage::CutOver) => {
                // First, because from here on there is no way back, whatever is still to be dropped.
                self.gateway.set_stage(&self.plan.name, DataStage::Complete, None).await?;
            }
            Some(DataStage::Complete) => {}
            _ => {
                return Err(CutoverError::Obstacles(vec![Obstacle {
                    what: "its rows are not the candidate's".to_owned(),
                    fix: format!("run `strangler db cutover {}` first", self.plan.name),
                }]));
            }
        }
        stream::end(self.candidate, self.monolith, &self.plan.name, Direction::Reverse).await?;
        stream::end(self.monolith, self.candidate, &self.plan.name, Direction::Forward).await?;
        let Settings { patience, lock_wait, .. } = *self.settings;
        let (_, candidate) = self.doors(Direction::Forward);
        candidate
            .remove(self.candidate, lock_wait, patience)
            .await
            .map_err(CutoverError::database("take the candidate's door away"))
    }
}
