//! `strangler demo`: a migration under steady traffic, from one command.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Context as _;
use local_stack::{
    RunningStack, StackOptions, StackSource,
    demo::{self, Pace, Screen, Target},
};

use crate::{
    arguments::{ConnectionArguments, DemoArguments},
    connection,
    output::Output,
    stack,
};

pub(crate) async fn run(
    options: DemoArguments,
    connection: &ConnectionArguments,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    // A fresh folder, so that a demonstration meets no other's functions; removed when all was well.
    let fresh = match &connection.data {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("strangler-demo-").tempdir().context("cannot make a folder")?),
    };
    let data_folder = connection.data.clone().or_else(|| fresh.as_ref().map(|fresh| fresh.path().to_owned()));
    let screen = Screen::stdout();
    let begun = Instant::now();
    let started =
        stack::start(StackOptions { data_folder, ..StackOptions::new(StackSource::demonstration()?) }, output).await;
    let Some(running) = started? else { return Ok(ExitCode::FAILURE) };
    screen.say(&format!("the system answers after {:.1} s", begun.elapsed().as_secs_f64()));
    // Early, so that both sides can be watched while they have traffic.
    if let Some(console) = stack::console(&running) {
        screen.say(&console);
    }

    let pace = Pace { step: options.step, complete: !options.keep, ..Pace::default() };
    let shown = tokio::select! {
        shown = show(&running, pace, &screen) => Some(shown),
        _ = running.wait() => None,
    };
    let good = matches!(&shown, Some(Ok(problems)) if problems.is_empty());
    if options.keep && good {
        connection::leave(&running)?;
        screen.say(&described(&running));
        running.wait().await;
    }
    running.stop().await;
    if let (false, Some(fresh)) = (good, fresh) {
        let kept: PathBuf = fresh.keep();
        screen.say(&format!("logs and data are kept in {}", kept.display()));
    }
    shown.transpose()?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The process that plants the demonstration's defect.
pub(crate) async fn flawed_candidate(listen: SocketAddr, candidate: SocketAddr) -> anyhow::Result<ExitCode> {
    demo::serve_flawed_candidate(listen, candidate).await?;
    Ok(ExitCode::SUCCESS)
}

/// Shows it, and returns what was not as it should be.
async fn show(running: &RunningStack, pace: Pace, screen: &Screen) -> anyhow::Result<Vec<String>> {
    let target = Target::of(running, std::env::current_exe().context("this program has no path")?)?;
    let summary = demo::run(&target, pace, screen).await?;
    screen.summary(&summary);
    Ok(summary.problems)
}

fn described(running: &RunningStack) -> String {
    let data = running.data_folder();
    let mut lines = vec!["\nstill running; Ctrl-C stops everything".to_owned()];
    lines.extend(running.urls().iter().map(|(name, url)| format!("{name:<16} {url}")));
    lines.push(format!("{:<16} {}", "rollout file", running.file("rollout.toml").display()));
    lines.extend(stack::console(running));
    lines.push("in another terminal:".to_owned());
    for words in [
        "status --watch",
        "weight invoke 10",
        "shadow set invoke 100",
        "ramp start invoke",
        "rollback --all",
        "db sync functions",
        "db cutover functions",
    ] {
        lines.push(format!("  strangler --data {} {words}", data.display()));
    }
    lines.join("\n")
}
