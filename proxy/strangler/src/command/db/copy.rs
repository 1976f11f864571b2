//! `strangler db copy`: one slice's rows, as they are now, into the candidate's own database.

use std::{process::ExitCode, time::Duration};

use migration::{
    Owner,
    copy::{self, CopyError, ExportedSnapshot, Outcome, Progress, Settings},
    slice::SlicePlan,
};
use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::open_both;
use crate::{
    arguments::CopyArguments,
    output::{Output, Refused},
};

/// How often a person is told how far it is.
const EVERY: Duration = Duration::from_secs(2);

pub(crate) async fn copy(asked: CopyArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let (source, target, mapping) = open_both(&asked.target).await?;
    let settings = settings(&asked);
    let mut plan = copy::prepare(&source, &target, &mapping, &asked.target.slice).await?;
    if asked.start_over {
        if plan.owner == Owner::Append {
            return Err(
                Refused("--start-over would delete the rows that the candidate has added itself".to_owned()).into()
            );
        }
        copy::forget(&target, &plan).await?;
        // Indexes can be put off again, now that the tables are empty.
        plan = copy::prepare(&source, &target, &mapping, &asked.target.slice).await?;
    }
    let (progress, watched) = watch::channel(Progress::default());
    let outcome = tokio::select! {
        outcome = all(&source, &target, &plan, &settings, &progress) => outcome?,
        never = report(watched, output) => never,
    };
    output.result(&outcome, || shown(&outcome))?;
    Ok(ExitCode::SUCCESS)
}

fn settings(asked: &CopyArguments) -> Settings {
    Settings {
        readers: usize::from(asked.readers),
        chunk_bytes: u64::from(asked.chunk_mib) << 20,
        bytes_per_second: asked.max_mib_per_second.map(|rate| u64::from(rate) << 20),
        load: asked.load.limits(),
        builders: usize::from(asked.indexes.builders),
        index_memory_bytes: u64::from(asked.indexes.index_memory_mib) << 20,
        ..Settings::default()
    }
}

async fn all(
    source: &PgPool,
    target: &PgPool,
    plan: &SlicePlan,
    settings: &Settings,
    progress: &watch::Sender<Progress>,
) -> Result<Outcome, CopyError> {
    let exported = ExportedSnapshot::take(source).await?;
    let outcome = copy::run(source, target, plan, exported.snapshot(), settings, progress).await?;
    exported.release().await?;
    copy::finish(source, target, plan, settings, progress).await?;
    Ok(outcome)
}

async fn report(watched: watch::Receiver<Progress>, output: &Output) -> Outcome {
    let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        output.progress(&line(&watched.borrow()));
    }
}

pub(super) fn line(progress: &Progress) -> String {
    if progress.definitions > 0 {
        return format!("indexes and constraints: {} of {}", progress.definitions_done, progress.definitions);
    }
    let left = progress
        .time_left()
        .map(|left| format!(", about {} left", humantime::format_duration(Duration::from_secs(left.as_secs()))))
        .unwrap_or_default();
    let paused = progress.paused.as_ref().map(|why| format!("; paused: {why}")).unwrap_or_default();
    format!(
        "{} of {} parts, {} rows, {} MiB, {:.1} MiB/s{left}{paused}",
        progress.chunks_done,
        progress.chunks,
        progress.rows,
        progress.bytes >> 20,
        mebibytes(progress.bytes_per_second()),
    )
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn shown(outcome: &Outcome) -> String {
    let Outcome { rows, bytes, copied_chunks, earliest_lsn, consistent_lsn } = outcome;
    let sum = format!("{rows} rows, {:.1} MiB, as they were at {consistent_lsn}", mebibytes(*bytes));
    if *copied_chunks == 0 {
        format!("{sum}; all of them were there already, --start-over copies them anew")
    } else if earliest_lsn == consistent_lsn {
        sum
    } else {
        format!(
            "{sum}, the first at {earliest_lsn}: the copy was interrupted. What was written in between is there in part; \
             --start-over copies all at one point"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(copied_chunks: u64, earliest_lsn: &str) -> Outcome {
        Outcome {
            rows: 7,
            bytes: 3 << 19,
            copied_chunks,
            earliest_lsn: earliest_lsn.to_owned(),
            consistent_lsn: "0/2".to_owned(),
        }
    }

    #[test]
    fn a_copy_of_two_points_says_so() {
        assert_eq!(shown(&outcome(1, "0/2")), "7 rows, 1.5 MiB, as they were at 0/2");
        assert!(shown(&outcome(1, "0/1")).contains("the first at 0/1: the copy was interrupted"));
        assert!(shown(&outcome(0, "0/2")).contains("--start-over"));
    }

    #[test]
    fn progress_is_one_line() {
        let copying = Progress {
            chunks: 10,
            chunks_done: 5,
            chunks_of_this_run: 5,
            rows: 1000,
            bytes: 3 << 20,
            bytes_of_this_run: 3 << 20,
            elapsed_ms: 2000,
            ..Progress::default()
        };
        assert_eq!(line(&copying), "5 of 10 parts, 1000 rows, 3 MiB, 1.5 MiB/s, about 2s left");
        let waits = Progress { paused: Some("a commit takes long".to_owned()), ..copying };
        assert!(line(&waits).ends_with("about 2s left; paused: a commit takes long"), "{}", line(&waits));
        assert_eq!(
            line(&Progress { definitions: 4, definitions_done: 1, ..copying }),
            "indexes and constraints: 1 of 4"
        );
    }
}
