//! `strangler db verify`: a slice's rows on both sides, compared.

use std::{process::ExitCode, time::Duration};

use migration::{
    slice::{SlicePlan, read_plan},
    stream::{self, Direction},
    verify::{self, Difference, Following, Kind, Outcome, Progress, Settings},
};
use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use super::{open_both, report::Reporter};
use crate::{arguments::verification::VerifyArguments, connection::Connection, output::Output};

/// How often a person is told how far it is.
const EVERY: Duration = Duration::from_secs(2);

/// How long a row that differs waits for the stream.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn verify(
    asked: VerifyArguments,
    gateway: Option<&Connection>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let (source, candidate, mapping) = open_both(&asked.target).await?;
    let plan =
        read_plan(&mut *source.acquire().await?, &mut *candidate.acquire().await?, &mapping, &asked.target.slice)
            .await?;
    let direction = if asked.reversed { Direction::Reverse } else { Direction::Forward };
    let (_, to) = direction.ends(&source, &candidate);
    let stream = stream::find(to, &plan.name, direction).await?;
    let following = stream.map(|_| Following { direction, patience: PATIENCE });
    let settings = settings(&asked, following);
    if asked.start_over {
        verify::forget(&candidate, &plan).await?;
    }
    let told = Told { output, reporter: Reporter::new(gateway, &plan.name, output)? };
    let mut last = None;
    let mut left = if asked.continuous { asked.rounds.unwrap_or(u64::MAX) } else { 1 };
    loop {
        let outcome = tokio::select! {
            outcome = round(&source, &candidate, &plan, &settings, &told, last.as_ref()) => outcome?,
            // What the round has done is remembered.
            _ = tokio::signal::ctrl_c(), if asked.continuous => return Ok(ExitCode::SUCCESS),
        };
        output.result(&outcome, || shown(&outcome))?;
        told.reporter.compared(&outcome).await;
        left -= 1;
        if !outcome.is_clean() {
            return Ok(ExitCode::FAILURE);
        }
        if left == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        last = Some(outcome);
        tokio::select! {
            () = sleep(asked.every) => {}
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn settings(asked: &VerifyArguments, following: Option<Following>) -> Settings {
    Settings {
        readers: usize::from(asked.readers),
        rows_per_second: asked.max_rows_per_second.map(u64::from),
        max_differences: usize::from(asked.max_differences),
        following,
        remember: true,
        ..Settings::default()
    }
}

/// Who is told how far it is.
struct Told<'a> {
    output: &'a Output,
    reporter: Reporter<'a>,
}

async fn round(
    source: &PgPool,
    candidate: &PgPool,
    plan: &SlicePlan,
    settings: &Settings,
    told: &Told<'_>,
    last: Option<&Outcome>,
) -> anyhow::Result<Outcome> {
    let (progress, watched) = watch::channel(Progress::default());
    tokio::select! {
        outcome = verify::run_watched(source, candidate, plan, settings, &progress) => Ok(outcome?),
        never = report(watched, told, last) => Ok(never),
    }
}

async fn report(watched: watch::Receiver<Progress>, told: &Told<'_>, last: Option<&Outcome>) -> Outcome {
    let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let progress = watched.borrow().clone();
        told.output.progress(&progress_line(&progress));
        told.reporter.comparing(&progress, last).await;
    }
}

fn progress_line(progress: &Progress) -> String {
    let Progress { tables_done, tables, parts_done, parts, rows, differences } = progress;
    format!("{tables_done} of {tables} tables, {parts_done} of {parts} parts, {rows} rows, {differences} differ")
}

fn shown(outcome: &Outcome) -> String {
    let mut lines: Vec<String> = outcome.differences.iter().chain(&outcome.unsettled).map(line).collect();
    let more = if outcome.truncated { " or more" } else { "" };
    let unsettled = match outcome.unsettled.len() {
        0 => String::new(),
        rows => format!(", {rows} changed each time they were looked at"),
    };
    lines.push(format!("{} rows compared, {}{more} differ{unsettled}", outcome.rows, outcome.differences.len()));
    lines.join("\n")
}

fn line(Difference { table, key, kind }: &Difference) -> String {
    let what = match kind {
        Kind::Missing => "the candidate does not have it".to_owned(),
        Kind::Extra => "only the candidate has it".to_owned(),
        Kind::Columns(names) => format!("differs in {}", names.join(", ")),
        Kind::Unsettled => "changed each time it was looked at".to_owned(),
    };
    format!("{table} {key}: {what}")
}
