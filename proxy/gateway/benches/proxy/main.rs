//! The gateway beside nginx, HAProxy and bare pingora: CPU time a request, requests a second, latency
//! and memory, in one interleaved run, so that the ratios hold on a noisy machine.
//!
//! Every contender has one worker and the first core to itself. The origin (nginx, 1 KiB of JSON) and
//! the load (wrk, 32 connections kept alive, 1,000 different keys) share the other cores. CPU time is
//! user and system time of the contender's processes divided by its requests; what Redis spends is its
//! own. Run by `scripts/bench proxy`, which installs and builds what this needs.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

mod contender;
mod load;
#[path = "../stage/median.rs"]
mod median;
#[path = "../stage/nginx.rs"]
mod nginx;
#[path = "../stage/process.rs"]
#[allow(dead_code, reason = "the benchmark of shadow uses more of it")]
mod process;
mod report;
mod settings;

use std::{env, time::Duration};

use anyhow::{Context as _, ensure};

use contender::Contender;
use report::Report;
use settings::Servers;

/// Each contender is measured once a round; the order turns by one from round to round.
const DEFAULT_ROUNDS: usize = 6;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    // `cargo bench` also passes `--bench`, and `cargo test --benches` would run it for nothing.
    if !env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let rounds = match env::var("ROUNDS") {
        Ok(text) => text.parse().context("ROUNDS is no number")?,
        Err(_) => DEFAULT_ROUNDS,
    };
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "one core is the contender's and one the load's: two are needed"
    );
    let servers = Servers::start()?;
    let mut contenders = contender::all(&servers)?;
    let mut report = Report::new(contenders.iter().map(|one| one.name));
    for round in 0..rounds {
        let count = contenders.len();
        contenders.rotate_left(usize::from(round > 0));
        for (place, contender) in contenders.iter_mut().enumerate() {
            eprint!("\rround {} of {rounds}, {} of {count}: {:<48}", round + 1, place + 1, contender.name);
            measure(contender, &mut report)?;
        }
    }
    eprintln!();
    report.print();
    Ok(())
}

fn measure(contender: &mut Contender, report: &mut Report) -> anyhow::Result<()> {
    load::run(contender, WARM_UP)?;
    let before = contender.process.cpu()?;
    let load = load::run(contender, MEASURED)?;
    let cpu = contender.process.cpu()? - before;
    ensure!(load.failed == 0, "{}: {} of {} requests failed", contender.name, load.failed, load.requests);
    report.add(contender.name, load, cpu, contender.process.peak_memory_bytes()?);
    Ok(())
}
