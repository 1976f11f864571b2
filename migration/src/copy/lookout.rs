//! Looks at the load of both servers while a copy goes on, and lets it wait.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{CopyError, Load, LoadLimits, NAME, load::micros, progress::Meter, throttle::Throttle};
use crate::finding::Finding;

/// The prefix of the messages whose commits are timed; streams pass over them.
const PREFIX: &str = "strangler.load";

/// When bytes may be sent: not too many a second, and none while a server has too much to do.
pub(super) struct Pace {
    throttle: Throttle,
    paused: watch::Receiver<bool>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: Option<u64>, paused: watch::Receiver<bool>) -> Self {
        Self { throttle: Throttle::new(bytes_per_second), paused }
    }

    /// Waits until `bytes` may be sent.
    pub(super) async fn pass(&self, bytes: usize) {
        self.throttle.pass(bytes).await;
        // Without its sender nobody looks any more, and the copy ends for that reason.
        let _ = self.paused.clone().wait_for(|paused| !paused).await;
    }
}

/// Sessions of its own, so that it sees how it is even where a pool is empty.
pub(super) struct Lookout {
    source: PgConnection,
    target: PgConnection,
    limits: LoadLimits,
    paused: watch::Sender<bool>,
    meter: Arc<Meter>,
}

impl Lookout {
    /// None without a limit.
    pub(super) async fn open(
        (source, target): (&PgConnectOptions, &PgConnectOptions),
        limits: LoadLimits,
        paused: watch::Sender<bool>,
        meter: Arc<Meter>,
    ) -> Result<Option<Self>, CopyError> {
        if limits.is_none() {
            return Ok(None);
        }
        let failed = || CopyError::database("look at the load");
        let mut source = source.clone().application_name(NAME).connect().await.map_err(failed())?;
        let mut target = target.clone().application_name(NAME).connect().await.map_err(failed())?;
        let mut findings = Vec::new();
        let needs_source = limits.active_sessions.is_some() || limits.lag_bytes.is_some();
        for (connection, server, needed) in
            [(&mut source, "source", needs_source), (&mut target, "target", limits.lag_bytes.is_some())]
        {
            if needed && !sees_others(connection).await.map_err(failed())? {
                findings.push(Finding::new(
                    server,
                    "this role does not see what others do there, so that a limit on it would never be reached",
                    "GRANT pg_read_all_stats TO this role, or leave the limit out",
                ));
            }
        }
        if !findings.is_empty() {
            return Err(CopyError::Unfit { findings });
        }
        Ok(Some(Self { source, target, limits, paused, meter }))
    }

    /// Looks once.
    pub(super) async fn look(&mut self) -> Result<(), CopyError> {
        self.read().await.map_err(CopyError::database("look at the load"))
    }

    /// Looks until it cannot.
    pub(super) async fn keep_looking(mut self) -> CopyError {
        let mut ticks = interval(self.limits.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look().await {
                return error;
            }
        }
    }

    async fn read(&mut self) -> sqlx::Result<()> {
        let mut load = Load::default();
        if self.limits.active_sessions.is_some() {
            load.active_sessions = Some(active_sessions(&mut self.source).await?);
        }
        if self.limits.lag_bytes.is_some() {
            load.lag_bytes = Some(lag_bytes(&mut self.source).await?.max(lag_bytes(&mut self.target).await?));
        }
        if let Some(limit) = self.limits.commit {
            load.commit_us = Some(self.commit(limit, &load).await?);
        }
        conclude(&self.limits, &self.meter, &self.paused, &load);
        Ok(())
    }

    /// What a commit takes. One that takes longer than it may is known to before it is over.
    async fn commit(&mut self, limit: Duration, so_far: &Load) -> sqlx::Result<u64> {
        let begun = Instant::now();
        let Self { source, .. } = self;
        let committing = sqlx::query("select pg_logical_emit_message(true, $1, '')").bind(PREFIX).execute(source);
        tokio::pin!(committing);
        if let Ok(done) = timeout(limit + Duration::from_millis(1), &mut committing).await {
            done?;
        } else {
            conclude(
                &self.limits,
                &self.meter,
                &self.paused,
                &Load { commit_us: Some(micros(begun.elapsed())), ..*so_far },
            );
            committing.await?;
        }
        Ok(micros(begun.elapsed()))
    }
}

fn conclude(limits: &LoadLimits, meter: &Meter, paused: &watch::Sender<bool>, load: &Load) {
    let why = limits.exceeded(load);
    let wait = why.is_some();
    // Told first: who sees that it goes on, or waits, finds out why as well.
    meter.looked(*load, why);
    paused.send_if_modified(|paused| std::mem::replace(paused, wait) != wait);
}

async fn sees_others(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select pg_has_role('pg_read_all_stats', 'USAGE')").fetch_one(connection).await
}

/// Ours are known by their name; they are what is being throttled.
async fn active_sessions(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let found: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and state = 'active' \
         and backend_type = 'client backend' and pid <> pg_backend_pid() and application_name <> $1",
    )
    .bind(NAME)
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(found).unwrap_or(0))
}

/// A slot that nobody reads is not waited for: it does not catch up by our waiting.
async fn lag_bytes(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let found: i64 = sqlx::query_scalar(
        "select greatest(0, \
           (select max(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), standby.replay_lsn)) from pg_stat_replication as standby \
            where not exists (select from pg_replication_slots as slot where slot.active_pid = standby.pid and slot.slot_type = 'logical')), \
           (select max(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), confirmed_flush_lsn)) from pg_replication_slots \
            where slot_type = 'logical' and active and not temporary and database = current_database()))::bigint",
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(found).unwrap_or(0))
}
