//! `scripts/bench split`, in three parts, of which `PARTS` (`move,lag,fence`) names those that are run. Each has two
//! servers of its own with default settings but for a larger `max_wal_size`, so that no checkpoint falls into one
//! contender's time and not into another's.
//!
//! - `move`: one large table moved with its types changed, beside pgcopydb, `pg_dump | psql` and plain binary COPY; then
//!   compared. `ROWS` (5000000), `ROUNDS` (1), `KEYS` (`ordered` as UUIDs of version 7, which Mini-Lambda has, or
//!   `random`), `READERS` (4).
//! - `lag`: from a row's own timestamp, which the source gives it before its commit, to the moment in which a reader of
//!   the target sees it, who looks every millisecond. The stream of this crate, which changes types on the way, and
//!   PostgreSQL's own logical replication, which does not, in turn and each alone, at `LAG_RATE` (500) rows a second, one a
//!   transaction, and at twice of it until native replication does not hold the rate any more. `LAG_SECONDS` (12) each, of
//!   which the first quarter does not count, `LAG_WRITERS` (8) connections.
//! - `fence`: how long writes are held while rows change their owner, and how long the slowest write took: `FENCES` (20)
//!   cutovers and rollbacks in turn, with `FENCE_RATE` (500) writes a second that a real gateway sends to whoever owns
//!   the rows, each an insert. In the end every write that was acknowledged is looked for.

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

mod contender;
mod data;
mod fence;
mod follower;
mod lag;
mod moved;
mod ours;
mod site;
mod spread;

use std::env;

use anyhow::Context as _;
use testkit::PrivatePostgres;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        // This program again, so that its memory is only what the work takes.
        Some("--copy") => runtime.block_on(ours::copy(&arguments[2], &arguments[3])),
        Some("--verify") => runtime.block_on(ours::verify(&arguments[2], &arguments[3])),
        _ => runtime.block_on(run()),
    }
}

fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    env::var(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name} is no number: {text}")))
}

async fn run() -> anyhow::Result<()> {
    let parts = env::var("PARTS").unwrap_or_else(|_| "move,lag,fence".to_owned());
    println!("{}", testkit::machine());
    for part in parts.split(',') {
        let (source, target) = (PrivatePostgres::start_durable().await, PrivatePostgres::start_durable().await);
        for server in [&source, &target] {
            data::prepare_server(&server.url("postgres")).await?;
        }
        println!("\n{part}");
        match part {
            "move" => moved::run(&source, &target).await?,
            "lag" => lag::run(&source, &target).await?,
            "fence" => Box::pin(fence::run(&source, &target)).await?,
            other => anyhow::bail!("PARTS has `move`, `lag` and `fence`, not {other}"),
        }
    }
    Ok(())
}
