//! `strangler db sync`: one slice kept in step, from the copy on, until it is told to stop.

use std::{process::ExitCode, time::Duration};

use migration::{
    Mapping, Owner,
    copy::{self, Progress},
    stream::{self, Direction, Settings, Stage, Status, Sync},
};
use sqlx::PgPool;
use telemetry::{LogFormat, TelemetryConfig};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use super::{metrics, open_both, report::Reporter};
use crate::{
    arguments::sync::{SyncArguments, Way},
    connection::Connection,
    output::{Output, Refused},
};

/// How often a person is told how far it is.
const EVERY: Duration = Duration::from_secs(5);

pub(crate) async fn sync(
    asked: SyncArguments,
    gateway: Option<&Connection>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let log_format = if output.is_json() { LogFormat::Json } else { LogFormat::Text };
    // A long-running process says what happens to it, other than one that answers and ends.
    let _logs = telemetry::init(
        "strangler",
        &TelemetryConfig { log_format, log_filter: "warn".to_owned(), ..TelemetryConfig::default() },
    )?;
    let (source, target, mapping) = open_both(&asked.target).await?;
    let slice = asked.target.slice.as_str();
    let owner = mapping.slices.get(slice).map(|slice| slice.owner).ok_or_else(|| {
        let there: Vec<&str> = mapping.slices.keys().map(String::as_str).collect();
        Refused(format!("the mapping has no slice `{slice}`; it has: {}", there.join(", ")))
    })?;
    let listener = metrics::listen(asked.metrics, output).await?;
    let (stop, stopped) = watch::channel(false);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let settings = settings(&asked);
    let (progress, watched) = watch::channel(Progress::default());
    let both =
        Both { source: &source, target: &target, mapping: &mapping, slice, settings: &settings, progress: &progress };
    let mut running = Box::pin(both.run(asked.direction, owner, stopped));
    let mut served = Box::pin(metrics::serve(listener, &source, &target, slice, Some(watched.clone())));
    let reporter = Reporter::new(gateway, slice, output)?;
    let mut told = Box::pin(reporter.streams(&source, &target, watched.clone()));
    let mut said = Box::pin(report(&source, &target, slice, watched, output));
    loop {
        tokio::select! {
            ended = &mut running => {
                ended?;
                break;
            }
            _ = terminate.recv() => { stop.send_replace(true); }
            _ = interrupt.recv() => { stop.send_replace(true); }
            () = &mut said => {}
            () = &mut told => {}
            () = &mut served => {}
        }
    }
    if gateway.is_some() {
        reporter.say("streams", reporter.streams_now(&source, &target, None).await?).await;
    }
    let status = stream::status(&source, &target, slice).await?;
    output.result(&status, || "stopped; a later sync goes on from here".to_owned())?;
    Ok(ExitCode::SUCCESS)
}

fn settings(asked: &SyncArguments) -> Settings {
    Settings {
        copy: copy::Settings {
            readers: usize::from(asked.readers),
            bytes_per_second: asked.max_mib_per_second.map(|rate| u64::from(rate) << 20),
            load: asked.load.limits(),
            builders: usize::from(asked.indexes.builders),
            index_memory_bytes: u64::from(asked.indexes.index_memory_mib) << 20,
            ..copy::Settings::default()
        },
        lanes: usize::from(asked.lanes),
        wal_warn: u64::from(asked.wal_warn_mib) << 20,
        wal_stop: (asked.wal_stop_mib > 0).then(|| u64::from(asked.wal_stop_mib) << 20),
        restart_lost: asked.restart_lost,
        accept_ddl: asked.accept_ddl,
        ..Settings::default()
    }
}

struct Both<'a> {
    source: &'a PgPool,
    target: &'a PgPool,
    mapping: &'a Mapping,
    slice: &'a str,
    settings: &'a Settings,
    progress: &'a watch::Sender<Progress>,
}

impl Both<'_> {
    async fn run(&self, way: Option<Way>, owner: Owner, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        match way {
            Some(Way::Forward) => self.one(Direction::Forward, stop).await,
            Some(Way::Reverse) => self.one(Direction::Reverse, stop).await,
            Some(Way::Both) => self.both(true, stop).await,
            None => self.both(owner == Owner::Append, stop).await,
        }
    }

    /// Forward at once, and back from when it makes sense: when rows are there, and somebody wants it.
    async fn both(&self, wanted: bool, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let back = async {
            let mut stop = stop.clone();
            loop {
                let due = async {
                    let begun = stream::find(self.source, self.slice, Direction::Reverse).await?.is_some();
                    let copied = stream::find(self.target, self.slice, Direction::Forward).await?;
                    Ok::<_, stream::StreamError>(
                        begun || wanted && copied.is_some_and(|copied| copied.stage == Stage::Streaming),
                    )
                };
                // A database that is away is the other direction's to report.
                if due.await.unwrap_or(false) {
                    return self.one(Direction::Reverse, stop).await;
                }
                tokio::select! {
                    () = sleep(Duration::from_millis(500)) => {}
                    told = stop.wait_for(|stop| *stop) => { drop(told); return Ok(()) }
                }
            }
        };
        tokio::try_join!(self.one(Direction::Forward, stop.clone()), back).map(drop)
    }

    async fn one(&self, direction: Direction, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let Self { source, target, mapping, slice, settings, progress } = *self;
        Sync { source, target, mapping, slice, direction, settings, progress }.run(stop).await.map_err(Into::into)
    }
}

/// Says how far it is, to a person.
async fn report(source: &PgPool, target: &PgPool, slice: &str, copied: watch::Receiver<Progress>, output: &Output) {
    let mut ticks = interval_at(Instant::now() + Duration::from_secs(1), EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        match stream::status(source, target, slice).await {
            Ok(streams) => streams.iter().for_each(|stream| output.progress(&line(stream, &copied.borrow()))),
            Err(error) => output.progress(&format!("a database is away: {error}")),
        }
    }
}

pub(super) fn line(status: &Status, copied: &Progress) -> String {
    let stream = &status.stream;
    let held = status
        .slot
        .as_ref()
        .map_or_else(|| "no slot".to_owned(), |slot| format!("{} MiB of log held", slot.held_bytes >> 20));
    let what = match stream.stage {
        Stage::Copying => super::copy::line(copied),
        Stage::Indexing => format!("indexes and constraints: {} of {}", copied.definitions_done, copied.definitions),
        _ => format!(
            "{} transactions, {} changes, {} KiB and {} ms behind",
            stream.transactions,
            stream.changes,
            status.lag_bytes.unwrap_or(0) >> 10,
            stream.lag_ms.unwrap_or(0),
        ),
    };
    let quarantined =
        if stream.quarantined > 0 { format!(", {} IN QUARANTINE", stream.quarantined) } else { String::new() };
    let stopped = stream.reason.as_ref().map(|reason| format!("; stopped: {reason}")).unwrap_or_default();
    format!("{} {}: {what}, {held}{quarantined}{stopped}", stream.direction, stream.stage.as_str())
}
