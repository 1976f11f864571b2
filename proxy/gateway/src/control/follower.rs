//! Following a shared store: woken by its notices, and looking by itself in case one was lost.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time;

use super::{
    Control, Revision, StoreError,
    chain::{Break, Fault},
    on_blocking_thread,
    store::{PAGE, channel, options, revisions_from, within},
};
use crate::config::PostgresConfig;

/// The first pause after the store was lost.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Follows the store of a control for as long as it runs.
pub(super) struct Follower {
    pub(super) control: Arc<Control>,
    pub(super) config: PostgresConfig,
    pub(super) poll_interval: Duration,
}

impl Follower {
    /// Never ends; whoever started it stops it by dropping it, which it may be at any point.
    pub(super) async fn run(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = self.follow(&mut pause).await;
            let control = self.control.clone();
            on_blocking_thread(move || control.store_lost(&error)).await;
            // Gateways that lost the store together do not come back together.
            time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(self.config.retry_interval.get());
        }
    }

    /// Follows over one connection until that is lost.
    async fn follow(&self, pause: &mut Duration) -> StoreError {
        let mut listener = match self.listen().await {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        let mut poll = time::interval(self.poll_interval);
        poll.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            match self.look(&mut listener).await {
                Ok(true) => continue,
                Ok(false) => *pause = FIRST_PAUSE,
                Err(error) => return error,
            }
            tokio::select! {
                notice = listener.try_recv() => match notice {
                    Ok(Some(_)) => {}
                    Ok(None) => return StoreError::Away(sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into())),
                    Err(error) => return StoreError::Away(error),
                },
                _ = poll.tick() => {}
            }
        }
    }

    async fn listen(&self) -> Result<PgListener, StoreError> {
        let limit = self.config.connect_timeout.get();
        // One connection, over which notices come and questions go.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(limit)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options(&self.config)?);
        let mut listener = within(limit, PgListener::connect_with(&pool)).await?;
        listener.eager_reconnect(false);
        within(self.config.timeout.get(), listener.listen(&channel(&self.config))).await?;
        // Makes the tables where they are missing, and has a first look.
        let control = self.control.clone();
        on_blocking_thread(move || control.meet_store()).await?;
        Ok(listener)
    }

    /// Looks for revisions. `true` when there may be more.
    async fn look(&self, listener: &mut PgListener) -> Result<bool, StoreError> {
        let control = self.control.clone();
        let known = on_blocking_thread(move || control.head().revision).await;
        let found = within(self.config.timeout.get(), revisions_from(listener, known)).await?;
        let more = found.len() == PAGE;
        let control = self.control.clone();
        on_blocking_thread(move || control.hear(known, &found)).await?;
        Ok(more)
    }
}

impl Control {
    /// The store can be reached, perhaps for the first time.
    fn meet_store(&self) -> Result<(), StoreError> {
        let mut writer = self.writer();
        self.catch_up(&mut writer)?;
        self.import(&mut writer)
    }

    /// Takes in what was found in the store from this revision on.
    fn hear(&self, known: u64, found: &[Revision]) -> Result<(), StoreError> {
        let mut writer = self.writer();
        let head = &writer.head;
        // A change from here may have come in between; then the next look compares.
        if known == head.revision && known > 0 {
            let same = found.first().is_some_and(|first| first.entry.hash == head.hash);
            if !same {
                let fault = if found.is_empty() { Fault::Missing(head.hash.clone()) } else { Fault::Link };
                return Err(StoreError::Diverged(Break { revision: known, fault }));
            }
        }
        self.follow(&mut writer, found)?;
        self.store_answered();
        if self.live.pending().is_empty() {
            return Ok(());
        }
        self.keep_pending(&mut writer)?;
        self.keep_here(&mut writer);
        tracing::info!("the rollbacks made here are in the store now");
        Ok(())
    }
}
