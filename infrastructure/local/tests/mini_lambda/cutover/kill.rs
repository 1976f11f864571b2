//! The tools killed on the way, at every step and at random, and the gateway, and PostgreSQL. Whoever runs the same again
//! finishes it or begins anew; no client of the tools' kills notices.
//!
//! `CUTOVER_TEST_KILLS` says how often, `CUTOVER_TEST_SEED` repeats an order.

use std::time::{Duration, Instant};

use migration::stream::Direction;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use testkit::{eventually, process::Spawned};

use super::{
    super::{rollout::MOVING, site::PATIENCE},
    Clients, Owner, Split, assert_possible,
    clients::{Failed, Told},
    each_once,
};

/// Kills of the tools in the usual run of the tests, and of a part that everybody needs.
const TOOL_KILLS: u64 = 4;
const PART_KILLS: u64 = 2;

/// The steps of a cutover that a tool can be killed behind.
const STEPS: [&str; 18] = [
    "checking",
    "preparing",
    "begun",
    "asked",
    "holding",
    "fenced",
    "drained",
    "settled",
    "locked",
    "caught_up",
    "compared",
    "opened",
    "deciding",
    "flipped",
    "shut",
    "decided",
    "lifted",
    "done",
];

/// Where a stream can be killed while changes flow.
const STREAM_PLACES: [&str; 3] = ["apply.before_commit", "apply.after_commit", "stream.before_confirm"];

/// A fence outlives its tool by no more than its lease.
const LEASE_MS: f64 = 1_500.0;

/// Connections of a part that is about to die may take one more request, and what lost it may answer one more that it
/// was lost.
const CLOSING: Duration = Duration::from_millis(500);

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A walk to and fro, with somebody who kills on the way.
struct Drill {
    split: Split,
    clients: Clients,
    sync: Spawned,
    random: StdRng,
    owner: Owner,
}

impl Drill {
    async fn start() -> Self {
        let seed = setting("CUTOVER_TEST_SEED", rand::random::<u32>().into());
        eprintln!("CUTOVER_TEST_SEED={seed}");
        let split = Split::start().await;
        let clients = Clients::start(&split.system).await;
        split.system.set_percent(&MOVING, 50).await;
        let sync = split.sync().await;
        Self { split, clients, sync, random: StdRng::seed_from_u64(seed), owner: Owner::Monolith }
    }

    fn verb(&self) -> &'static str {
        if self.owner == Owner::Monolith { "cutover" } else { "rollback" }
    }

    /// Waits for a random number of answers: less than it takes to change the owner, about.
    async fn a_moment(&mut self) {
        let answers = self.random.random_range(1..150);
        self.clients.answers_since(Instant::now(), answers).await;
    }

    /// Kills the tool behind a step of its. One that gives up before it, on a busy machine, has changed nothing.
    async fn kill_tool_at(&mut self, step: &str) {
        let failpoint = format!("cutover.{step}");
        eventually(PATIENCE, async || {
            let tool = self.split.tool(self.verb()).env("STRANGLER_FAILPOINT", &failpoint).spawn().await;
            let status = tool.exited(PATIENCE).await;
            assert!(!status.success(), "it was not killed behind {step}: {}", tool.log());
            status.code().is_none()
        })
        .await;
        self.fence_ends().await;
    }

    async fn kill_tool_at_random(&mut self) {
        let tool = self.split.tool(self.verb()).spawn().await;
        self.a_moment().await;
        tool.kill().await;
        self.fence_ends().await;
    }

    /// Kills the stream while somebody changes the owner, who may be in time or not.
    async fn kill_stream_at_random(&mut self) {
        let tool = self.split.tool(self.verb()).spawn().await;
        self.a_moment().await;
        self.sync.kill().await;
        tool.exited(PATIENCE).await;
        self.fence_ends().await;
        self.sync.spawn_again().await;
    }

    /// Kills the stream at a durable step of its own.
    async fn kill_stream_at(&mut self, place: &str) {
        self.sync.kill().await;
        // Positions are confirmed once in a second only.
        let passes = self.random.random_range(0..if place == "stream.before_confirm" { 2 } else { 20 });
        let doomed = self.split.tool("sync").env("STRANGLER_FAILPOINT", format!("{place}:{passes}")).spawn().await;
        let status = doomed.exited(PATIENCE).await;
        assert!(status.code().is_none(), "it did not come to {place}: {}", doomed.log());
        self.sync.spawn_again().await;
    }

    /// Nobody renews the fence any more.
    async fn fence_ends(&self) {
        let fence = self.split.slice().await["fence"].take();
        assert!(fence["left_ms"].as_f64().is_none_or(|left| left <= LEASE_MS), "{fence}");
        eventually(PATIENCE, async || self.split.slice().await["fence"].is_null()).await;
    }

    /// Runs the same again until it has happened, and compares every row.
    async fn finish(&mut self) {
        let (verb, stage) = match self.owner {
            Owner::Monolith => ("cutover", "cut-over"),
            Owner::Candidate => ("rollback", "synced"),
        };
        eventually(PATIENCE, async || {
            match self.split.operator.attempt(&["db", verb, super::SLICE, "--skip-verify"]).await {
                Ok(_) => true,
                // It was killed behind its last step. Anything else passes: the stream is on its way back.
                Err(why) => why.contains("already"),
            }
        })
        .await;
        assert_eq!(self.split.slice().await["stage"], stage);
        let written;
        (self.owner, written) = match self.owner {
            Owner::Monolith => (Owner::Candidate, Direction::Reverse),
            Owner::Candidate => (Owner::Monolith, Direction::Forward),
        };
        self.split.verify(written).await;
        self.split.has_all(self.owner, &self.clients).await;
    }

    /// Ends the traffic; what clients were told is what there is.
    async fn end(self) -> ([Vec<String>; 2], Told) {
        let mut told = self.clients.stop().await;
        let there = self.split.at_the_end(self.owner, &mut told).await;
        assert_possible(&told);
        self.sync.terminate(PATIENCE).await;
        self.split.system.stack.stop().await;
        (there, told)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_the_tools_on_the_way_and_no_client_notices() {
    let mut drill = Drill::start().await;
    let kills = setting("CUTOVER_TEST_KILLS", TOOL_KILLS);
    for kill in 0..kills {
        let what = match kill % 4 {
            0 | 1 => {
                let step = STEPS[drill.random.random_range(0..STEPS.len())];
                drill.kill_tool_at(step).await;
                format!("{} behind {step}", drill.verb())
            }
            2 => {
                drill.kill_tool_at_random().await;
                format!("{} at random", drill.verb())
            }
            _ if drill.random.random_bool(0.5) => {
                drill.kill_stream_at_random().await;
                format!("the stream during {}", drill.verb())
            }
            _ => {
                let place = STREAM_PLACES[drill.random.random_range(0..STREAM_PLACES.len())];
                drill.kill_stream_at(place).await;
                format!("the stream at {place}")
            }
        };
        let begun = Instant::now();
        drill.finish().await;
        eprintln!("killed {what}; as it should be after {:.1?}", begun.elapsed());
    }
    let ([functions, executions], told) = drill.end().await;
    assert!(told.failed.is_empty(), "{} of {}: {:#?}", told.failed.len(), told.answered.len(), told.failed.first());
    assert_eq!(each_once(&functions), told.functions(), "the functions that clients were told of, and no other");
    assert_eq!(each_once(&executions), told.executions(), "the same of executions");
    eprintln!(
        "{kills} kills, {} requests, none failed; {} functions and {} executions, each once",
        told.answered.len(),
        functions.len(),
        executions.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_the_gateway_on_the_way_and_nothing_is_lost() {
    kill_on_the_way("gateway").await;
}

/// Both databases, of the monolith and of the candidate, are in it.
#[tokio::test(flavor = "multi_thread")]
async fn kill_postgres_on_the_way_and_nothing_is_lost() {
    kill_on_the_way("postgres").await;
}

/// Kills a part of the system while the owner changes.
async fn kill_on_the_way(part: &str) {
    let mut drill = Drill::start().await;
    let kills = setting("CUTOVER_TEST_KILLS", PART_KILLS);
    let mut away = Vec::new();
    for _ in 0..kills {
        let what = format!("{part} during {}", drill.verb());
        let tool = drill.split.tool(drill.verb()).spawn().await;
        drill.a_moment().await;
        let asked = Instant::now();
        drill.split.system.kill(part).await;
        tool.exited(PATIENCE).await;
        drill.split.system.stack.process(part).expect("a part of the document").ready().await;
        away.push((asked, Instant::now()));
        drill.fence_ends().await;
        drill.finish().await;
        eprintln!("killed {what}; as it should be after {:.1?}; the tool:\n{}", asked.elapsed(), tool.log());
        // Now, while it can be told which kill it was.
        assert_possible(&drill.clients.told());
    }
    let ([functions, executions], told) = drill.end().await;
    let was_away =
        |failed: &&Failed| away.iter().any(|(asked, back)| failed.ended >= *asked && failed.began <= *back + CLOSING);
    let others: Vec<&Failed> = told.failed.iter().filter(|failed| !was_away(failed)).collect();
    assert!(others.is_empty(), "{} failed while {part} was there: {:#?}", others.len(), others.first());
    let (functions, executions) = (each_once(&functions), each_once(&executions));
    // What was asked for and not answered may have been done, and nothing else.
    for (there, known, unanswered) in [
        (&functions, told.functions(), told.unanswered(&["create", "delete"])),
        (&executions, told.executions(), told.unanswered(&["call"])),
    ] {
        assert!(known.is_subset(there), "lost: {:?}", known.difference(there).collect::<Vec<_>>());
        let untold = there.difference(&known).count();
        assert!(untold <= unanswered, "{untold} more than clients know of, {unanswered} were not answered");
    }
    eprintln!("{kills} kills, {} requests, {} of them cut", told.answered.len(), told.failed.len());
}
