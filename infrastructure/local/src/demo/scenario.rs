//! The steps of the demonstration, and the checks that make it fail.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::{
    Pace, Screen, Target,
    defect::{self, Found},
    functions::KINDS,
    platform::{Platform, Side},
    rollout_file,
    tally::{Sample, Tally},
    traffic::{Function, Traffic},
};

/// The routes that move: their keys are function ids, and they share a salt, so that a function is
/// called and read on the same side.
pub(super) const MOVING_ROUTES: [&str; 3] = ["invoke", "function", "executions"];

/// How far the observed share of keys may lie from the one asked for, in percentage points.
const SHARE_TOLERANCE: f64 = 3.0;

/// A step goes on until every key was seen, at most this many times its length: the share of a few
/// keys says little about the split.
const LONGEST_STEP: u32 = 10;

/// A saved file must be in force within this time.
const RELOAD_DEADLINE: Duration = Duration::from_secs(5);

/// Where a step sends the traffic.
#[derive(Clone, Copy, PartialEq)]
enum Move {
    /// Edit the percentage in the rollout file.
    Edit(f64),
    /// Throw the rollback switch.
    RollBack,
}

/// What a step showed.
pub(super) struct StepResult {
    pub(super) name: &'static str,
    pub(super) asked_percent: f64,
    pub(super) took: Duration,
    pub(super) tally: Tally,
}

/// What the whole demonstration showed.
pub struct Summary {
    pub(super) steps: Vec<StepResult>,
    /// What became of the defective candidate.
    pub(super) found: Found,
    /// Keys that were on the candidate at 10 %, and those of them still there at 50 %.
    pub(super) kept: (usize, usize),
    /// Requests that were begun after the rollback had returned and went to the candidate.
    pub(super) candidate_after_rollback: u64,
    /// Every reason for which the demonstration failed.
    pub problems: Vec<String>,
}

/// Creates the functions, drives the traffic through every step, and says what was seen.
///
/// # Errors
/// When the system cannot be used at all; what went wrong with the traffic is in the summary.
pub async fn run(target: &Target, pace: Pace, screen: &Screen) -> anyhow::Result<Summary> {
    let platform = Platform::new(target)?;
    let functions = create_functions(&platform, pace, screen).await?;
    let (sender, samples) = mpsc::unbounded_channel();
    let traffic = Traffic::start(&platform, &functions, pace, sender);
    let mut stage = Stage { target, platform, pace, screen, samples, rolled_back: None, after_rollback: 0 };
    let mut steps = vec![stage.step("legacy", Move::Edit(0.0)).await?];
    let found = defect::find(&mut stage).await?;
    for (name, step) in [
        ("10 %", Move::Edit(10.0)),
        ("50 %", Move::Edit(50.0)),
        ("100 %", Move::Edit(100.0)),
        ("rollback", Move::RollBack),
        ("100 % again", Move::Edit(100.0)),
    ] {
        steps.push(stage.step(name, step).await?);
    }
    traffic.stop().await?;
    // What was still out when the last step ended belongs to it.
    let last = steps.last_mut().context("there are steps")?;
    while let Ok(sample) = stage.samples.try_recv() {
        last.tally.add(&sample);
    }
    Ok(summarize(steps, found, pace.keys, stage.after_rollback))
}

async fn create_functions(platform: &Platform, pace: Pace, screen: &Screen) -> anyhow::Result<Arc<[Function]>> {
    screen.say(&format!("creating {} functions of {} kinds through the gateway", pace.keys, KINDS.len()));
    // Names are unique, and a stack may be shown twice.
    let run = uuid::Uuid::now_v7().simple().to_string();
    let functions = stream::iter(0..pace.keys)
        .map(|number| {
            let kind = &KINDS[number % KINDS.len()];
            let name = format!("{}-{run}-{number}", kind.name);
            async move { anyhow::Ok(Function { id: platform.create(kind, &name).await?, kind }) }
        })
        .buffered(16)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(functions.into())
}

/// What a step works with.
pub(super) struct Stage<'a> {
    pub(super) target: &'a Target,
    pub(super) platform: Platform,
    pub(super) pace: Pace,
    pub(super) screen: &'a Screen,
    samples: mpsc::UnboundedReceiver<Sample>,
    /// When the rollback returned, until the traffic is moved again.
    rolled_back: Option<Instant>,
    after_rollback: u64,
}

impl Stage<'_> {
    async fn step(&mut self, name: &'static str, step: Move) -> anyhow::Result<StepResult> {
        let asked_percent = match step {
            Move::Edit(percent) => {
                self.rolled_back = None;
                rollout_file::set_percent(&self.target.rollout_file, &MOVING_ROUTES, percent)?;
                self.wait_in_force(percent).await?;
                percent
            }
            Move::RollBack => {
                self.platform.roll_back().await?;
                self.rolled_back = Some(Instant::now());
                0.0
            }
        };
        self.screen.step(name, asked_percent, step == Move::RollBack);
        let start = Instant::now();
        let mut whole = Tally::default();
        let pace = self.pace;
        let enough = |whole: &Tally| whole.keys().0 >= pace.keys || start.elapsed() >= pace.step * LONGEST_STEP;
        while start.elapsed() < pace.step || !enough(&whole) {
            let second = self.collect(start, Duration::from_secs(1), &mut whole).await;
            self.screen.second(name, asked_percent, &second.0, second.1);
        }
        Ok(StepResult { name, asked_percent, took: start.elapsed(), tally: whole })
    }

    /// Collects what comes back for a while. Requests that were begun before the step are counted
    /// in no share: the percentage was another one then.
    pub(super) async fn collect(
        &mut self,
        step_start: Instant,
        window: Duration,
        whole: &mut Tally,
    ) -> (Tally, Duration) {
        let start = Instant::now();
        let mut second = Tally::default();
        while let Ok(Some(sample)) =
            tokio::time::timeout(window.saturating_sub(start.elapsed()), self.samples.recv()).await
        {
            if let (Some(rolled_back), Ok((Side::Candidate, _))) = (self.rolled_back, &sample.outcome)
                && sample.started > rolled_back
            {
                self.after_rollback += 1;
            }
            if sample.started >= step_start || sample.outcome.is_err() {
                second.add(&sample);
                whole.add(&sample);
            }
        }
        (second, start.elapsed())
    }

    pub(super) async fn wait_in_force(&self, percent: f64) -> anyhow::Result<()> {
        let deadline = Instant::now() + RELOAD_DEADLINE;
        loop {
            let in_force = self.platform.percentages().await?;
            let moved = |route: &&str| in_force.iter().any(|(name, now)| name == route && *now == percent);
            if MOVING_ROUTES.iter().all(moved) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} was saved with {percent} %, but the gateway has {in_force:?} after {RELOAD_DEADLINE:?}",
                self.target.rollout_file.display()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn summarize(steps: Vec<StepResult>, found: Found, keys: usize, candidate_after_rollback: u64) -> Summary {
    let on_candidate = |percent: f64| -> HashSet<usize> {
        let step = steps.iter().find(|step| step.asked_percent == percent);
        let keys = step.into_iter().flat_map(|step| &step.tally.side_of_key);
        keys.filter(|(_, side)| **side == Side::Candidate).map(|(key, _)| *key).collect()
    };
    let (at_10, at_50) = (on_candidate(10.0), on_candidate(50.0));
    let kept = (at_10.len(), at_10.intersection(&at_50).count());

    let mut problems = Vec::new();
    if found.different == 0 || found.different == found.compared {
        problems.push(format!("the shadow saw {} of {} answers differ", found.different, found.compared));
    }
    if found.failed_in_shadow > 0 {
        problems.push(format!("{} requests failed while only the shadow saw the candidate", found.failed_in_shadow));
    }
    if found.taken_off_after.is_none() || found.by.0 != "guard" {
        problems.push("the guard did not take the defective candidate off".to_owned());
    }
    for step in &steps {
        let (name, tally) = (step.name, &step.tally);
        if let Some(first) = tally.failures.first() {
            problems.push(format!("{name}: {} failed requests, the first: {first}", tally.failures.len()));
        }
        match tally.observed_percent() {
            None => problems.push(format!("{name}: nothing was served")),
            Some(observed) if (observed - step.asked_percent).abs() > SHARE_TOLERANCE => problems
                .push(format!("{name}: {observed:.1} % of keys on the candidate, {} % asked", step.asked_percent)),
            Some(_) => {}
        }
        if tally.keys().0 < keys {
            problems.push(format!("{name}: only {} of {keys} keys were seen in {:.0?}", tally.keys().0, step.took));
        }
        if tally.keys_on_both_sides > 0 {
            problems.push(format!("{name}: {} keys changed sides within the step", tally.keys_on_both_sides));
        }
    }
    if kept.0 != kept.1 {
        problems.push(format!("{} keys were on the candidate at 10 %, only {} of them at 50 %", kept.0, kept.1));
    }
    if candidate_after_rollback > 0 {
        problems
            .push(format!("{candidate_after_rollback} requests went to the candidate after the rollback had returned"));
    }
    Summary { steps, found, kept, candidate_after_rollback, problems }
}
