//! What shadowing costs: the gateway without and with copies of all requests, beside nginx without and with
//! `mirror`, and the gateway while the side that gets the copies is at its worst. One interleaved run.
//!
//! Every contender has one core, the first, and serves all requests from the same origin. The load comes at a
//! fixed rate, by a clock and not by answers, so that a contender that is late is not asked less; origin and load
//! share the other cores. So does the side that gets the copies, but only while they are idle: it stands for another
//! machine. CPU time is user and system time of the contender's processes over its requests; what its upstreams spend
//! is not in it. What a copy costs is the difference to the same program without copies in the same round, over the
//! copies that came back. nginx reads their answers and throws them away; the gateway compares them. The gateway
//! without shadow is there twice, and latencies are compared with both together: how much either seems to differ from
//! both is what the machine adds by itself. Percentiles are the middle ones of all rounds. Run by
//! `scripts/bench shadow`; with `ONLY=text` the gateway without shadow and those whose names have the text are measured.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

mod contender;
mod copies;
mod hostile;
mod load;
#[path = "../stage/median.rs"]
mod median;
#[path = "../stage/nginx.rs"]
mod nginx;
#[path = "../stage/process.rs"]
mod process;
mod report;
mod upstreams;

use std::{env, time::Duration};

use anyhow::{Context as _, ensure};
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use contender::Contender;
use load::Pace;
use report::{Report, Round};
use upstreams::Upstreams;

/// Each contender is measured once a round. Many short rounds, because a p99 differs more from one moment of a machine to
/// the next than between the contenders; each in an order of its own, because a side at its worst may still be busy with
/// the copies of whoever was measured before.
const DEFAULT_ROUNDS: usize = 40;
const DEFAULT_RATE: u32 = 2_000;
const WARM_UP: Duration = Duration::from_millis(250);
/// Longer than the time limit of a copy, so that the copies to a side that takes too long end while it is measured.
const MEASURED: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["load", arguments @ ..] => load::generate(arguments),
        ["hostile", arguments @ ..] => hostile::serve(arguments),
        // `cargo test --benches` would run it for nothing.
        arguments if !arguments.contains(&"--bench") => Ok(()),
        _ => compare(),
    }
}

fn compare() -> anyhow::Result<()> {
    let number = |name: &str, default: usize| match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is no number")),
        Err(_) => Ok(default),
    };
    let rounds = number("ROUNDS", DEFAULT_ROUNDS)?;
    let rate = u32::try_from(number("RATE", DEFAULT_RATE as usize)?)?;
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "one core is the contender's and one the load's: two are needed"
    );
    let upstreams = Upstreams::start()?;
    let mut contenders = contender::all(&upstreams)?;
    if let Ok(only) = env::var("ONLY") {
        contenders.retain(|one| one.name.contains(&only) || [contender::OFF, contender::OFF_AGAIN].contains(&one.name));
    }
    let mut order = StdRng::seed_from_u64(1);
    let mut report = Report::new(rate, contenders.iter().map(|one| one.name));
    for round in 0..rounds {
        let count = contenders.len();
        contenders.shuffle(&mut order);
        for (place, contender) in contenders.iter_mut().enumerate() {
            eprint!("\rround {} of {rounds}, {} of {count}: {:<48}", round + 1, place + 1, contender.name);
            report.add(contender.name, &measure(contender, rate)?)?;
        }
    }
    eprintln!();
    report.print()
}

fn measure(contender: &Contender, rate: u32) -> anyhow::Result<Round> {
    load::run(contender.address, Pace { rate, duration: WARM_UP })?;
    let (cpu_before, copies_before) = (contender.process.cpu()?, contender.copies()?);
    let load = load::run(contender.address, Pace { rate, duration: MEASURED })?;
    let cpu = contender.process.cpu()? - cpu_before;
    ensure!(load.failed == 0, "{}: {} of {} requests failed", contender.name, load.failed, load.requests());
    let copies = contender.copies()?.since(&copies_before);
    Ok(Round { load, cpu, copies, memory_bytes: contender.process.peak_memory_bytes()? })
}
