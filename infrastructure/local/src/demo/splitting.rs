//! Chapters in which the data of the functions goes to a database of its own, back, and there to stay, while everything
//! goes on: calls and reads as before, and new functions.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Target,
    databases::{Counts, Databases, Owner},
    functions::KINDS,
    operator::Operator,
    platform::Platform,
    stage::Stage,
    tally::Tally,
    tool::{Running, Tool},
};

/// The slice in mapping.toml and gateway.toml.
const SLICE: &str = "functions";

/// The copy must be there, and changes flow, within this time.
const SYNC_DEADLINE: Duration = Duration::from_secs(60);

const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The stream to the candidate as `strangler db status` has it.
#[derive(Debug, Clone, Deserialize)]
struct Streamed {
    stage: String,
    lag_ms: Option<i64>,
    quarantined: u64,
    copy: Option<Copied>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Copied {
    rows: u64,
    bytes: u64,
}

/// A copy that changes follow.
#[derive(Debug, Clone, Default)]
pub(super) struct Synced {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) took: Duration,
    pub(super) lag_ms: i64,
}

/// A comparison of all rows, as `strangler db verify` has it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Compared {
    pub(super) rows: u64,
    differences: Vec<serde_json::Value>,
    unsettled: Vec<serde_json::Value>,
}

impl Compared {
    pub(super) fn differ(&self) -> usize {
        self.differences.len() + self.unsettled.len()
    }
}

/// Rows that have got another owner, as `strangler db cutover` and `rollback` have it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Passed {
    pub(super) held_ms: Option<f64>,
    pub(super) waited: u64,
    pub(super) found_in_flight: u64,
}

/// One change of the owner, and what callers met afterwards.
pub(super) struct Change {
    pub(super) name: &'static str,
    pub(super) passed: Passed,
    pub(super) compared: Compared,
    pub(super) counts: Counts,
    /// Requests that began afterwards and were answered by the other side.
    pub(super) astray: u64,
}

/// What these chapters showed.
pub(super) struct Moved {
    pub(super) synced: Synced,
    pub(super) compared: Compared,
    pub(super) changes: Vec<Change>,
    /// With whom the rows stay, and whether for good.
    pub(super) owner: Owner,
    pub(super) completed: bool,
    /// Functions that were created meanwhile, and why others were not.
    pub(super) created: u64,
    pub(super) not_created: Vec<String>,
    /// All requests of these chapters, and those that failed.
    pub(super) requests: u64,
    pub(super) failed: usize,
}

/// Refuses a system whose data has gone already.
pub(super) async fn ensure_unmoved(target: &Target) -> anyhow::Result<()> {
    let (owner, data) = (Operator::new(target)?.owner_of(SLICE).await?, target.data.display());
    ensure!(owner == "legacy", "the functions of the system in {data} are in their own database already; use another");
    Ok(())
}

/// Moves the data to and fro. The traffic goes on afterwards.
pub(super) async fn to_and_fro(stage: &mut Stage<'_>, platform: &Platform) -> anyhow::Result<Moved> {
    let (tool, databases) = (Tool::new(stage.target), Databases::of(&stage.target.data)?);
    let creators = Creators::start(platform, stage.pace.creations_per_s);
    let (requests, failed) = (stage.whole.requests(), stage.whole.failures.len());
    stage.screen.chapter("split", "strangler db sync functions: its rows are copied, and every change follows");
    let (stream, synced) = follow(&tool).await?;
    stage.screen.synced(&synced);
    let compared: Compared = tool.ask(&["db", "verify", SLICE, "--report", "--start-over"]).await?;
    stage.screen.verified("verify", &compared);
    let mut mover = Mover { stage, tool: &tool, databases: &databases, platform };
    let mut changes = vec![
        mover.pass("own database", "cutover", Owner::Candidate).await?,
        mover.pass("taken back", "rollback", Owner::Monolith).await?,
        mover.pass("own again", "cutover", Owner::Candidate).await?,
    ];
    let completed = mover.stage.pace.complete;
    if completed {
        stream.stop().await?;
        let _: serde_json::Value = tool.ask(&["db", "complete", SLICE, "--confirm"]).await?;
        mover.stage.screen.completed();
    } else {
        changes.push(mover.pass("to be tried", "rollback", Owner::Monolith).await?);
        stream.stop().await?;
    }
    let (created, not_created) = creators.stop().await?;
    stage.collect_rest();
    Ok(Moved {
        synced,
        compared,
        owner: if completed { Owner::Candidate } else { Owner::Monolith },
        changes,
        completed,
        requests: stage.whole.requests() - requests + created + not_created.len() as u64,
        failed: stage.whole.failures.len() - failed + not_created.len(),
        created,
        not_created,
    })
}

/// What callers were told of is in the database of whom the rows stayed with, when nobody is at work any more.
pub(super) async fn account(moved: &Moved, platform: &Platform) -> anyhow::Result<Counts> {
    Databases::of(&platform.target().data)?.count(moved.owner, &platform.told.so_far()).await
}

/// Starts the stream, and waits until changes flow.
async fn follow(tool: &Tool) -> anyhow::Result<(Running, Synced)> {
    let begun = Instant::now();
    // Whoever has the console open sees there how far it is.
    let mut stream = tool.start(&["db", "sync", SLICE, "--report"], "sync.log")?;
    loop {
        stream.ensure_runs()?;
        let streams: Vec<Streamed> = tool.ask(&["db", "status", SLICE]).await?;
        if let Some(Streamed { stage, lag_ms: Some(lag_ms), quarantined, copy }) = streams.first()
            && stage == "streaming"
        {
            ensure!(*quarantined == 0, "{quarantined} changes are in quarantine");
            let Copied { rows, bytes } = copy.clone().unwrap_or_default();
            return Ok((stream, Synced { rows, bytes, took: begun.elapsed(), lag_ms: *lag_ms }));
        }
        ensure!(begun.elapsed() < SYNC_DEADLINE, "changes do not flow after {SYNC_DEADLINE:?}: {streams:?}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

struct Mover<'a, 'b> {
    stage: &'a mut Stage<'b>,
    tool: &'a Tool,
    databases: &'a Databases,
    platform: &'a Platform,
}

impl Mover<'_, '_> {
    /// Gives the rows to another owner, watches for a while, and looks whether everything is there.
    async fn pass(&mut self, name: &'static str, verb: &str, owner: Owner) -> anyhow::Result<Change> {
        self.stage.rolled_back = None;
        self.stage.screen.chapter(name, &format!("strangler db {verb} {SLICE}"));
        let passed: Passed = self.tool.ask(&["db", verb, SLICE]).await?;
        self.stage.screen.passed(owner, &passed);
        let percent = if owner == Owner::Candidate { 100.0 } else { 0.0 };
        let tally = self.stage.watch_for(name, percent, self.stage.pace.step / 2).await;
        let words = ["db", "verify", SLICE, "--report", "--start-over", "--reversed"];
        let words = if owner == Owner::Candidate { &words[..] } else { &words[..5] };
        let compared: Compared = self.tool.ask(words).await?;
        let counts = self.databases.count(owner, &self.platform.told.so_far()).await?;
        self.stage.screen.verified("verify", &compared);
        self.stage.screen.counted(owner, &counts);
        Ok(Change { name, passed, compared, counts, astray: astray(&tally, owner) })
    }
}

fn astray(tally: &Tally, owner: Owner) -> u64 {
    match owner {
        Owner::Candidate => tally.legacy.requests,
        Owner::Monolith => tally.candidate.requests,
    }
}

/// Somebody who creates functions at a steady rate.
struct Creators {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
    created: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Creators {
    fn start(platform: &Platform, per_s: u32) -> Self {
        let (stop, created) = (CancellationToken::new(), Arc::<AtomicU64>::default());
        let failed = Arc::<Mutex<Vec<String>>>::default();
        let work = {
            let (stop, created, failed, platform) =
                (stop.clone(), Arc::clone(&created), Arc::clone(&failed), platform.clone());
            async move {
                let mut ticks = interval(Duration::from_secs(1) / per_s.max(1));
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                for kind in KINDS.iter().cycle() {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        _ = ticks.tick() => {}
                    }
                    let name = format!("{}-{}", kind.name, uuid::Uuid::now_v7().simple());
                    match platform.create(kind, &name).await {
                        Ok(_) => {
                            created.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => failed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}")),
                    }
                }
            }
        };
        Self { stop, task: AbortOnDropHandle::new(tokio::spawn(work)), created, failed }
    }

    /// How many were created, and why others were not.
    async fn stop(self) -> anyhow::Result<(u64, Vec<String>)> {
        self.stop.cancel();
        self.task.await?;
        let failed = std::mem::take(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((self.created.load(Ordering::Relaxed), failed))
    }
}
