//! What the gateway's console shows of a slice: this tool has the addresses of the databases, the gateway has not.

use std::{cell::Cell, time::Duration};

use migration::{
    copy::Progress,
    stream::{self, Direction, Quarantined, Stage, Status},
    verify::{self, Outcome},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{admin::Admin, connection::Connection, output::Output};

/// How often a running stream is reported.
const EVERY: Duration = Duration::from_secs(2);

/// Changes in quarantine that are reported of each direction, the oldest first.
const MOST_QUARANTINED: u32 = 20;

/// Rows that differ, as many as are reported.
const MOST_DIFFERENCES: usize = 50;

/// Tells a gateway; without one, nobody. Whoever works on databases does not fail because a console cannot be told.
pub(super) struct Reporter<'a> {
    admin: Option<Admin<'a>>,
    slice: &'a str,
    output: &'a Output,
    failing: Cell<bool>,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(gateway: Option<&'a Connection>, slice: &'a str, output: &'a Output) -> anyhow::Result<Self> {
        let admin = gateway.map(Admin::new).transpose()?;
        Ok(Self { admin, slice, output, failing: Cell::new(false) })
    }

    /// Says it. That it could not be said is said once, until it could.
    pub(super) async fn say(&self, about: &str, said: Value) {
        let Some(admin) = &self.admin else { return };
        let failed = admin.report(self.slice, about, said).await.err();
        if let Some(error) = failed.as_ref().filter(|_| !self.failing.get()) {
            self.output.progress(&format!("the console is not told: {error:#}"));
        }
        self.failing.set(failed.is_some());
    }

    /// Says how the streams are, again and again.
    pub(super) async fn streams(&self, source: &PgPool, target: &PgPool, copied: watch::Receiver<Progress>) {
        if self.admin.is_none() {
            return std::future::pending().await;
        }
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            // A database that is away is said elsewhere; the last report grows old.
            if let Ok(said) = self.streams_now(source, target, Some(&copied)).await {
                self.say("streams", said).await;
            }
        }
    }

    /// How the streams are; `copied` is how this process copies, as long as it runs.
    pub(super) async fn streams_now(
        &self,
        source: &PgPool,
        target: &PgPool,
        copied: Option<&watch::Receiver<Progress>>,
    ) -> Result<Value, stream::StreamError> {
        let streams = stream::status(source, target, self.slice).await?;
        let mut held = Vec::new();
        if streams.iter().any(|status| status.stream.quarantined > 0) {
            for (database, direction) in [(target, Direction::Forward), (source, Direction::Reverse)] {
                held.extend(stream::quarantined(database, self.slice, Some(direction), MOST_QUARANTINED).await?);
            }
        }
        Ok(streams_said(&streams, &held, copied.map(|copied| copied.borrow().clone()).as_ref()))
    }

    /// Says how far a comparison is, beside what the last one found.
    pub(super) async fn comparing(&self, progress: &verify::Progress, last: Option<&Outcome>) {
        self.say("verify", json!({ "running": progress, "last": last.map(compared) })).await;
    }

    /// Says what a comparison has found.
    pub(super) async fn compared(&self, outcome: &Outcome) {
        self.say("verify", json!({ "running": null, "last": compared(outcome) })).await;
    }
}

fn compared(outcome: &Outcome) -> Value {
    let Outcome { rows, differences, unsettled, truncated } = outcome;
    json!({
        "clean": outcome.is_clean(),
        "rows": rows,
        "differ": differences.len(),
        "unsettled": unsettled.len(),
        "truncated": truncated,
        "differences": differences.iter().chain(unsettled).take(MOST_DIFFERENCES).collect::<Vec<_>>(),
    })
}

fn streams_said(streams: &[Status], held: &[Quarantined], copied: Option<&Progress>) -> Value {
    let copies = streams.iter().any(|status| matches!(status.stream.stage, Stage::Copying | Stage::Indexing));
    let copying = copied.filter(|_| copies).map(|copied| {
        json!({
            "chunks_done": copied.chunks_done, "chunks": copied.chunks, "rows": copied.rows, "bytes": copied.bytes,
            "bytes_per_second": copied.bytes_per_second(),
            "seconds_left": copied.time_left().map(|left| left.as_secs_f64()),
            "definitions_done": copied.definitions_done, "definitions": copied.definitions,
        })
    });
    // The rows themselves stay where they are.
    let quarantine: Vec<Value> = held
        .iter()
        .map(|held| {
            json!({
                "id": held.id, "direction": held.direction, "table": held.table_name, "row_key": held.row_key,
                "kind": held.kind, "sqlstate": held.sqlstate, "reason": held.reason, "attempts": held.attempts,
                "asked": held.asked,
            })
        })
        .collect();
    json!({ "running": copied.is_some(), "streams": streams, "copying": copying, "quarantine": quarantine })
}
