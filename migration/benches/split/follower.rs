//! Who brings rows from one server to the other as they are written.

use std::time::Duration;

use migration::{
    Mapping,
    copy::Progress,
    stream::{self, Direction, Settings, Stage, StreamError, Sync},
};
use sqlx::PgPool;
use testkit::eventually;
use tokio::{sync::watch, task::JoinHandle};

use crate::data::{connect, execute};

const PATIENCE: Duration = Duration::from_secs(60);

/// A stream of this crate's, in tasks of this process.
pub struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), StreamError>>,
}

impl Running {
    pub fn start(
        (source, target): (&PgPool, &PgPool),
        mapping: &Mapping,
        slice: &'static str,
        direction: Direction,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (source, target, mapping) = (source.clone(), target.clone(), mapping.clone());
        let task = tokio::spawn(async move {
            let (settings, (progress, _)) = (Settings::default(), watch::channel(Progress::default()));
            let (source, target, mapping, settings, progress) = (&source, &target, &mapping, &settings, &progress);
            Sync { source, target, mapping, slice, direction, settings, progress }.run(stopped).await
        });
        Self { stop, task }
    }

    /// Waits until changes flow into a database.
    pub async fn flows(&self, to: &PgPool, slice: &str, direction: Direction) {
        eventually(PATIENCE, async || {
            let found = stream::find(to, slice, direction).await.ok().flatten();
            self.task.is_finished() || found.is_some_and(|found| found.stage == Stage::Streaming)
        })
        .await;
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        Ok(self.task.await??)
    }
}

/// Follows `public.beats` of the source by PostgreSQL's own means, until it is dropped there.
pub async fn native(from: &str, to: &str) -> anyhow::Result<()> {
    execute(from, "create publication native for table beats").await?;
    execute(to, &format!("create subscription native connection '{from}' publication native")).await?;
    let mut connection = connect(to).await?;
    let mut ready = false;
    while !ready {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let query = sqlx::query_scalar("select coalesce(bool_and(srsubstate = 'r'), false) from pg_subscription_rel");
        ready = query.fetch_one(&mut connection).await?;
    }
    Ok(())
}
