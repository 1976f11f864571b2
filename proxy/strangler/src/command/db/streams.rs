//! `strangler db status` and `strangler db quarantine`.

use std::process::ExitCode;

use migration::{
    copy::Progress,
    stream::{self, Ask, Direction, Quarantined},
};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{metrics, open_both, sync::line};
use crate::{
    arguments::sync::{QuarantineArguments, QuarantineCommand, StreamStatusArguments, Way},
    output::{Output, Refused},
};

pub(crate) async fn stream_status(asked: StreamStatusArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let (source, target, _) = open_both(&asked.target).await?;
    let listener = metrics::listen(asked.metrics, output).await?;
    let mut served = Box::pin(metrics::serve(listener, &source, &target, &asked.target.slice, None));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut ticks = interval(asked.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = false;
    loop {
        tokio::select! {
            _ = ticks.tick(), if asked.watch || !shown => {}
            () = &mut served => {}
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        }
        shown = true;
        let streams = stream::status(&source, &target, &asked.target.slice).await?;
        output.result(&streams, || {
            if streams.is_empty() {
                return format!("no stream of `{}`: none has begun, or the slice is complete", asked.target.slice);
            }
            let copied = |status: &stream::Status| {
                let copy = status.copy.clone().unwrap_or_default();
                Progress {
                    chunks: copy.chunks,
                    chunks_done: copy.done,
                    rows: copy.rows,
                    bytes: copy.bytes,
                    ..Progress::default()
                }
            };
            streams.iter().map(|status| line(status, &copied(status))).collect::<Vec<_>>().join("\n")
        })?;
        if !asked.watch && asked.metrics.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

pub(crate) async fn quarantine(command: QuarantineCommand, output: &Output) -> anyhow::Result<ExitCode> {
    match command {
        QuarantineCommand::List { target, limit } => {
            let (source, candidate, _) = open_both(&target).await?;
            let mut held = stream::quarantined(&candidate, &target.slice, Some(Direction::Forward), limit).await?;
            held.extend(stream::quarantined(&source, &target.slice, Some(Direction::Reverse), limit).await?);
            output.result(&held, || {
                if held.is_empty() {
                    "nothing is in quarantine".to_owned()
                } else {
                    held.iter().map(shown).collect::<Vec<_>>().join("\n")
                }
            })?;
            Ok(ExitCode::SUCCESS)
        }
        QuarantineCommand::Retry(asked) => ask(asked, Ask::Retry, output).await,
        QuarantineCommand::Skip(asked) => ask(asked, Ask::Skip, output).await,
    }
}

async fn ask(asked: QuarantineArguments, what: Ask, output: &Output) -> anyhow::Result<ExitCode> {
    let (source, target, _) = open_both(&asked.target).await?;
    let direction = match asked.direction {
        Way::Forward => Direction::Forward,
        Way::Reverse => Direction::Reverse,
        Way::Both => return Err(Refused("name the direction whose change it is: forward or reverse".to_owned()).into()),
    };
    let (_, to) = direction.ends(&source, &target);
    let count = stream::ask(to, &asked.target.slice, if asked.all { None } else { asked.id }, what).await?;
    output.result(&json!({"asked": count}), || match count {
        0 => "there is no such change in quarantine".to_owned(),
        count => format!("asked for {count}; a running sync does it within a second"),
    })?;
    Ok(if count == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn shown(held: &Quarantined) -> String {
    let key: Vec<&str> = held.row_key.iter().map(|part| part.as_deref().unwrap_or("null")).collect();
    let why = match (&held.sqlstate, &held.reason) {
        (Some(sqlstate), Some(reason)) => format!("{reason} ({sqlstate}), refused {} times", held.attempts),
        _ => "waits behind an earlier change of the row".to_owned(),
    };
    format!(
        "{} {} {} of {} ({}) at {}: {why}",
        held.id,
        held.direction,
        held.kind,
        held.table_name,
        key.join(", "),
        held.lsn
    )
}
