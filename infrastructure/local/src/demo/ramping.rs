//! Chapters in which the gateway raises the weight of calls by itself, and takes it back by itself.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use chrono::{DateTime, Utc};

use super::{
    operator::Change,
    platform::Side,
    stage::{FOLLOWING_ROUTES, GUARDED_ROUTE, Stage, StepResult},
    tally::{Failed, Ratchet, Tally},
};

/// Between two looks at a ramp.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The guard must have acted within this time.
const GUARD_DEADLINE: Duration = Duration::from_secs(60);

/// What was done must be in force, and in the history, within this time.
const RECORD_DEADLINE: Duration = Duration::from_secs(5);

/// A ramp must be through within this time.
const RAMP_DEADLINE: Duration = Duration::from_secs(180);

/// What became of a candidate that should not have had traffic.
pub(super) struct TakenBack {
    /// Calls that it answered.
    pub(super) calls: u64,
    /// Those of them whose answer was bad: callers who saw the defect.
    pub(super) bad_answers: u64,
    /// Requests that failed for another reason.
    pub(super) other_failures: Vec<Failed>,
    /// From the start of the ramp, and from the first bad answer, until legacy had everything again.
    pub(super) after_start: Duration,
    pub(super) after_first: Option<Duration>,
    /// What the gateway's history says about it.
    pub(super) change: Change,
}

/// Begins the ramp of the candidate as it is, and waits until the guard has ended it.
pub(super) async fn until_taken_back(stage: &mut Stage<'_>, name: &str) -> anyhow::Result<TakenBack> {
    stage.screen.chapter(name, &format!("strangler ramp start {GUARDED_ROUTE}, in spite of what the shadow found"));
    let (start, began_at) = (Instant::now(), Utc::now());
    stage.operator.start_ramp(GUARDED_ROUTE).await?;
    let (mut tally, mut said) = (Tally::default(), Instant::now());
    loop {
        stage.collect(start, LOOK_INTERVAL, &mut [&mut tally]).await;
        let ramp = stage.operator.ramp(GUARDED_ROUTE).await?;
        if ramp.state() != "running" {
            break;
        }
        if said.elapsed() >= Duration::from_secs(1) {
            said = Instant::now();
            stage.screen.ramp_second(ramp.percent, &tally);
        }
        ensure!(start.elapsed() < GUARD_DEADLINE, "the guard has not acted within {GUARD_DEADLINE:?}");
    }
    stage.rolled_back = Some(Instant::now());
    stage.settle(start, &mut tally).await?;
    let change = stage.operator.taken_back_by_guard(GUARDED_ROUTE, began_at, RECORD_DEADLINE).await?;
    let ended = change.at;
    let (bad, other): (Vec<_>, Vec<_>) =
        tally.failures.into_iter().partition(|failed| failed.side == Some(Side::Candidate));
    let taken_back = TakenBack {
        calls: tally.candidate.requests + tally.candidate.errors,
        bad_answers: tally.candidate.errors,
        other_failures: other,
        after_start: between(began_at, ended),
        after_first: bad
            .iter()
            .map(|failed| failed.ended)
            .min()
            .map(|first| between(Utc::now() - first.elapsed(), ended)),
        change,
    };
    stage.screen.taken_back(&taken_back);
    Ok(taken_back)
}

/// Begins the ramp of the good candidate, and goes with it to its end.
pub(super) async fn to_the_end(stage: &mut Stage<'_>, name: &str) -> anyhow::Result<Vec<StepResult>> {
    stage.rolled_back = None;
    stage.ratchet = Some(Ratchet::default());
    stage.screen.chapter(name, &format!("strangler ramp start {GUARDED_ROUTE}; reads follow each step"));
    stage.operator.start_ramp(GUARDED_ROUTE).await?;
    stage.screen.columns();
    let (begun, mut steps) = (Instant::now(), Vec::new());
    let mut percent = first_step(stage).await?;
    loop {
        for route in FOLLOWING_ROUTES {
            stage.operator.set_weight(route, percent).await?;
        }
        stage.wait_in_force(&FOLLOWING_ROUTES, percent).await?;
        let (step, next) = step(stage, percent, begun).await?;
        steps.push(step);
        match next {
            Some(next) => percent = next,
            None => return Ok(steps),
        }
    }
}

/// The percentage of the first step, which is in force once its lease is.
async fn first_step(stage: &Stage<'_>) -> anyhow::Result<f64> {
    let until = Instant::now() + RECORD_DEADLINE;
    loop {
        let percent = stage.operator.ramp(GUARDED_ROUTE).await?.percent;
        if percent > 0.0 {
            return Ok(percent);
        }
        ensure!(Instant::now() < until, "the ramp's first step is not in force after {RECORD_DEADLINE:?}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// One step, until the gateway goes on to the next percentage, which is returned, or says that it is through.
async fn step(stage: &mut Stage<'_>, percent: f64, begun: Instant) -> anyhow::Result<(StepResult, Option<f64>)> {
    let name = format!("ramp {percent} %");
    let (start, mut tally) = (Instant::now(), Tally::default());
    let (mut second, mut second_start) = (Tally::default(), Instant::now());
    let next = loop {
        stage.collect(start, LOOK_INTERVAL, &mut [&mut tally, &mut second]).await;
        if second_start.elapsed() >= Duration::from_secs(1) {
            stage.screen.second(&name, percent, &std::mem::take(&mut second), second_start.elapsed());
            second_start = Instant::now();
        }
        let ramp = stage.operator.ramp(GUARDED_ROUTE).await?;
        match ramp.state() {
            "running" if ramp.percent > percent => break Some(ramp.percent),
            "running" => {}
            "completed" => break None,
            other => bail!("the good candidate's ramp is {other} at {} %: {}", ramp.percent, ramp.reason()),
        }
        ensure!(begun.elapsed() < RAMP_DEADLINE, "the ramp stands at {percent} % after {RAMP_DEADLINE:?}");
    };
    let step = StepResult { name, asked_percent: percent, took: start.elapsed(), tally, ramped: true };
    Ok((step, next))
}

fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    (to - from).to_std().unwrap_or_default()
}
