//! What a call costs: by the executor alone, by the lambda service in sandboxes and in Docker, and through the gateway,
//! beside the monolith, `docker exec`, a bare process and a ping-pong over a Unix socket. One run, with what is compared
//! in turn, so that the ratios hold on a noisy machine.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its result and ends at the first failure"
)]

mod docker;
mod executor;
mod gateway;
mod report;
mod service;
mod throughput;

use docker::Docker;

const PYTHON: &str = "def handler(event, context):\n    return event\n";
const NODE: &str = "function handler(event, context) { return event; }\n";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // `cargo bench` also passes `--bench`, and `cargo test --benches` would run it for nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    println!("{}", testkit::machine());
    let docker = Docker::find().await;
    if let Err(why) = &docker {
        println!("Docker is left out: {why}");
    }
    let docker = docker.ok();
    executor::warm_calls().await?;
    executor::starts(docker.as_ref()).await?;
    service::measure(docker.as_ref()).await?;
    // The daemon ends before what has no need of it.
    drop(docker);
    gateway::measure().await
}
