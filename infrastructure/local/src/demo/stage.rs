//! What all chapters work with.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use tokio::sync::mpsc;

use super::{
    Pace, Screen, Target,
    operator::Operator,
    platform::Side,
    rollout_file,
    tally::{Ratchet, Sample, Tally},
    traffic::{Outstanding, Traffic},
};

/// The route of calls, which the gateway guards and ramps.
pub(super) const GUARDED_ROUTE: &str = "invoke";

/// Routes that go where it goes: they have the same keys, function ids, and share its salt, so that a function is
/// called and read on the same side.
pub(super) const FOLLOWING_ROUTES: [&str; 2] = ["function", "executions"];

/// All that move.
pub(super) const MOVING_ROUTES: [&str; 3] = ["invoke", "function", "executions"];

/// A step goes on until every key was seen, at most this many times its length: the share of a few keys says little
/// about the split.
const LONGEST_STEP: u32 = 10;

/// Longer than any request takes.
const SETTLE_DEADLINE: Duration = Duration::from_secs(40);

const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// What was set must be in force within this time.
const CHANGE_DEADLINE: Duration = Duration::from_secs(5);

/// What a step at one percentage showed.
pub(super) struct StepResult {
    pub(super) name: String,
    pub(super) asked_percent: f64,
    pub(super) took: Duration,
    pub(super) tally: Tally,
    /// Somebody else may have changed the percentage of calls before the step was over.
    pub(super) ramped: bool,
}

/// What a chapter works with.
pub(super) struct Stage<'a> {
    pub(super) target: &'a Target,
    pub(super) operator: Operator,
    pub(super) pace: Pace,
    pub(super) screen: &'a Screen,
    samples: mpsc::UnboundedReceiver<Sample>,
    outstanding: Arc<Outstanding>,
    /// Everything that came back.
    pub(super) whole: Tally,
    /// While percentages only rise.
    pub(super) ratchet: Option<Ratchet>,
    /// When everything was back on legacy, until it moves again.
    pub(super) rolled_back: Option<Instant>,
    /// Requests that were begun later than that and went to the candidate.
    pub(super) candidate_after_rollback: u64,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        target: &'a Target,
        pace: Pace,
        screen: &'a Screen,
        samples: mpsc::UnboundedReceiver<Sample>,
        traffic: &Traffic,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            target,
            operator: Operator::new(target)?,
            pace,
            screen,
            samples,
            outstanding: Arc::clone(&traffic.outstanding),
            whole: Tally::default(),
            ratchet: None,
            rolled_back: None,
            candidate_after_rollback: 0,
        })
    }

    /// A step at a percentage that is edited into the rollout file.
    pub(super) async fn edit(&mut self, name: &str, percent: f64) -> anyhow::Result<StepResult> {
        self.rolled_back = None;
        rollout_file::set_percent(&self.target.rollout_file, &MOVING_ROUTES, percent)?;
        self.wait_in_force(&MOVING_ROUTES, percent).await?;
        self.screen.chapter(name, &format!("rollout.toml saved: percent = {percent}"));
        Ok(self.watch(name, percent).await)
    }

    /// A step at 0 %, after the rollback switch.
    pub(super) async fn roll_back(&mut self, name: &str) -> anyhow::Result<StepResult> {
        let asked = Instant::now();
        let routes = self.operator.roll_back().await?;
        self.rolled_back = Some(Instant::now());
        let ms = asked.elapsed().as_secs_f64() * 1_000.0;
        self.screen.chapter(name, &format!("strangler rollback --all: {routes} routes on legacy, kept, in {ms:.1} ms"));
        Ok(self.watch(name, 0.0).await)
    }

    async fn watch(&mut self, name: &str, percent: f64) -> StepResult {
        self.screen.columns();
        let start = Instant::now();
        let mut tally = Tally::default();
        let pace = self.pace;
        let enough = |tally: &Tally| tally.keys().0 >= pace.keys || start.elapsed() >= pace.step * LONGEST_STEP;
        while start.elapsed() < pace.step || !enough(&tally) {
            let (mut second, second_start) = (Tally::default(), Instant::now());
            self.collect(start, Duration::from_secs(1), &mut [&mut tally, &mut second]).await;
            self.screen.second(name, percent, &second, second_start.elapsed());
        }
        StepResult { name: name.to_owned(), asked_percent: percent, took: start.elapsed(), tally, ramped: false }
    }

    /// Shows what comes back for so long, of requests that begin from now on.
    pub(super) async fn watch_for(&mut self, name: &str, percent: f64, period: Duration) -> Tally {
        self.screen.columns();
        let (start, mut tally) = (Instant::now(), Tally::default());
        while start.elapsed() < period {
            let (mut second, second_start) = (Tally::default(), Instant::now());
            self.collect(start, Duration::from_secs(1), &mut [&mut tally, &mut second]).await;
            self.screen.second(name, percent, &second, second_start.elapsed());
        }
        tally
    }

    /// Collects what comes back for a while, in each of the tallies. Requests that were begun before the step are
    /// counted in no share: the percentage was another one then.
    pub(super) async fn collect(&mut self, step_start: Instant, window: Duration, tallies: &mut [&mut Tally]) {
        let start = Instant::now();
        while let Ok(Some(sample)) =
            tokio::time::timeout(window.saturating_sub(start.elapsed()), self.samples.recv()).await
        {
            self.take(&sample);
            if sample.started >= step_start || sample.outcome.is_err() {
                tallies.iter_mut().for_each(|tally| tally.add(&sample));
            }
        }
    }

    /// Collects until every request has ended that has begun by now.
    pub(super) async fn settle(&mut self, step_start: Instant, tally: &mut Tally) -> anyhow::Result<()> {
        let (mark, until) = (self.outstanding.mark(), Instant::now() + SETTLE_DEADLINE);
        while !self.outstanding.has_ended(mark) {
            ensure!(Instant::now() < until, "a request has not ended within {SETTLE_DEADLINE:?}");
            self.collect(step_start, SETTLE_INTERVAL, &mut [tally]).await;
        }
        // What ended last is in the channel by now.
        self.collect(step_start, SETTLE_INTERVAL, &mut [tally]).await;
        Ok(())
    }

    /// What is left when the traffic has stopped.
    pub(super) fn collect_rest(&mut self) {
        while let Ok(sample) = self.samples.try_recv() {
            self.take(&sample);
        }
    }

    /// Counts a request in what goes over all chapters.
    fn take(&mut self, sample: &Sample) {
        self.whole.add(sample);
        if let Some(ratchet) = &mut self.ratchet {
            ratchet.add(sample);
        }
        let side = match &sample.outcome {
            Ok((side, _)) => Some(*side),
            Err(failure) => failure.side,
        };
        if side == Some(Side::Candidate) && self.rolled_back.is_some_and(|rolled_back| sample.started > rolled_back) {
            self.candidate_after_rollback += 1;
        }
    }

    pub(super) async fn wait_in_force(&self, routes: &[&str], percent: f64) -> anyhow::Result<()> {
        let deadline = Instant::now() + CHANGE_DEADLINE;
        loop {
            let in_force = self.operator.percentages().await?;
            let moved = |route: &&str| in_force.iter().any(|(name, now)| name == route && *now == percent);
            if routes.iter().all(moved) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{routes:?} were set to {percent} %, but the gateway has {in_force:?} after {CHANGE_DEADLINE:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
