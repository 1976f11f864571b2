//! Fences of all gateways that share a rollout through PostgreSQL.
//!
//! One task of each gateway has a connection of its own: it shows that this gateway is there, follows the
//! fences that stand, and says how this gateway stands behind them. Whoever asks something of a fence here
//! asks that task.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc::Sender},
    time::Duration,
};

use serde::Serialize;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{FenceError, Hold, Slices, fleet_rows as rows};
use crate::{
    config::PostgresConfig,
    control::{Control, StoreError, chain, connect, fence_channel, options, within},
    route_table::SliceId,
};

/// The first pause after the store was lost.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// How often the fences are looked at while one stands, although nothing was announced.
const WHILE_ONE_STANDS: Duration = Duration::from_millis(25);

/// Questions that may wait for the task.
const QUEUE: usize = 64;

/// One gateway, and what it says of a fence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Instance {
    pub(crate) instance: Uuid,
    pub(crate) name: String,
    /// The revision of the rollout document in force there.
    pub(crate) revision: u64,
    /// Writes in flight when it closed; `null` until it has.
    pub(crate) found: Option<u64>,
    /// When the last of them had ended; `null` until then.
    pub(crate) drained_after_ms: Option<f64>,
}

/// What could not be done with a fence of the fleet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    #[error(transparent)]
    Fence(#[from] FenceError),
    #[error("the gateways' shared store cannot be reached, so nobody knows what the others do: {0}")]
    Away(String),
}

enum Act {
    Place(Hold),
    Renew(Duration),
    Lift,
    Look,
}

struct Question {
    slice: SliceId,
    token: String,
    act: Act,
    answer: oneshot::Sender<Result<Vec<Instance>, FleetError>>,
}

/// Whom to ask about fences of all gateways.
pub(crate) struct Fleet {
    questions: mpsc::Sender<Question>,
    patience: Duration,
}

impl Fleet {
    /// The front, and the task behind it.
    pub(crate) fn new(slices: Arc<Slices>, control: Arc<Control>, config: &PostgresConfig) -> (Self, Follower) {
        let (questions, asked) = mpsc::channel(QUEUE);
        let patience = config.connect_timeout.get() + config.timeout.get();
        let follower = Follower {
            slices,
            control,
            config: config.clone(),
            instance: Uuid::now_v7(),
            name: format!("{}:{}", host_name(), std::process::id()),
            asked,
        };
        (Self { questions, patience }, follower)
    }

    pub(crate) async fn place(&self, slice: SliceId, token: &str, hold: Hold) -> Result<Vec<Instance>, FleetError> {
        self.ask(slice, token, Act::Place(hold)).await
    }

    pub(crate) async fn renew(
        &self,
        slice: SliceId,
        token: &str,
        lease: Duration,
    ) -> Result<Vec<Instance>, FleetError> {
        self.ask(slice, token, Act::Renew(lease)).await
    }

    pub(crate) async fn lift(&self, slice: SliceId, token: &str) -> Result<Vec<Instance>, FleetError> {
        self.ask(slice, token, Act::Lift).await
    }

    pub(crate) async fn look(&self, slice: SliceId, token: &str) -> Result<Vec<Instance>, FleetError> {
        self.ask(slice, token, Act::Look).await
    }

    async fn ask(&self, slice: SliceId, token: &str, act: Act) -> Result<Vec<Instance>, FleetError> {
        let (answer, answered) = oneshot::channel();
        let question = Question { slice, token: token.to_owned(), act, answer };
        let gone = || FleetError::Away("it does not answer".to_owned());
        let asking = async {
            self.questions.send(question).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        };
        timeout(self.patience, asking).await.unwrap_or_else(|_| Err(gone()))
    }
}

fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = read.trim();
    if name.is_empty() { "gateway".to_owned() } else { name.to_owned() }
}

/// The task behind [`Fleet`].
pub(crate) struct Follower {
    slices: Arc<Slices>,
    control: Arc<Control>,
    config: PostgresConfig,
    instance: Uuid,
    name: String,
    asked: mpsc::Receiver<Question>,
}

/// What one connection has done so far.
#[derive(Default)]
struct Done {
    beat: Option<(Instant, u64)>,
    /// What was acknowledged last, by slice.
    acknowledged: BTreeMap<SliceId, (String, Option<Duration>)>,
}

impl Follower {
    /// How long the first look may take.
    pub(super) fn patience(&self) -> Duration {
        self.config.connect_timeout.get() + self.config.timeout.get()
    }

    /// Never ends. `looked` is told when the fences that stand have been looked at, or cannot be.
    pub(super) async fn run(mut self, looked: Sender<()>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = self.follow(&looked, &mut pause).await;
            // Who started this one has long gone on, but for the first time.
            let _ = looked.send(());
            let said = chain(&error);
            tracing::debug!(error = %said, "fences of other gateways are not followed");
            let rest = pause.mul_f64(rand::random_range(0.5..1.0));
            pause = (pause * 2).min(self.config.retry_interval.get());
            let until = Instant::now() + rest;
            // Nobody waits for a store that is away.
            while let Ok(Some(question)) = tokio::time::timeout_at(until, self.asked.recv()).await {
                let _ = question.answer.send(Err(FleetError::Away(said.clone())));
            }
        }
    }

    async fn follow(&mut self, looked: &Sender<()>, pause: &mut Duration) -> StoreError {
        let mut listener = match self.listen().await {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        let mut done = Done::default();
        let control = self.control.clone();
        loop {
            // Registered before the look, so that what changes in between is not slept through.
            let revised = control.next_revision();
            if let Err(error) = self.look(&mut listener, &mut done).await {
                return error;
            }
            *pause = FIRST_PAUSE;
            let _ = looked.send(());
            let stands = self.slices.iter().any(|(_, gate)| gate.fence(Instant::now()).is_some());
            let patience = if stands { WHILE_ONE_STANDS } else { self.config.instance_lease.get() / 3 };
            tokio::select! {
                notice = listener.try_recv() => match notice {
                    Ok(Some(_)) => {}
                    Ok(None) => return StoreError::Away(sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into())),
                    Err(error) => return StoreError::Away(error),
                },
                Some(question) = self.asked.recv() => {
                    if let Err(error) = self.answer(&mut listener, &mut done, question).await {
                        return error;
                    }
                }
                () = self.slices.changed(patience) => {}
                // Whoever flips the owner waits until every gateway has said that it follows.
                () = revised => {}
            }
        }
    }

    async fn listen(&self) -> Result<PgListener, StoreError> {
        let limit = self.config.connect_timeout.get();
        // Makes the tables where they are missing.
        drop(connect(&self.config, &mut false).await?);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(limit)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options(&self.config)?);
        let mut listener = within(limit, PgListener::connect_with(&pool)).await?;
        listener.eager_reconnect(false);
        let limit = self.config.timeout.get();
        within(limit, listener.listen(&fence_channel(&self.config))).await?;
        within(limit, rows::forget_gone(&mut listener)).await?;
        Ok(listener)
    }

    /// Shows that this gateway is there, stands behind the fences that stand, and says so.
    async fn look(&self, listener: &mut PgListener, done: &mut Done) -> Result<(), StoreError> {
        let limit = self.config.timeout.get();
        let (now, revision) = (Instant::now(), self.control.snapshot().revision());
        let lease = self.config.instance_lease.get();
        if done.beat.is_none_or(|(at, said)| said != revision || now.duration_since(at) >= lease / 3) {
            let beat = rows::Beat { instance: self.instance, name: &self.name, lease, revision };
            within(limit, rows::beat(listener, &beat)).await?;
            done.beat = Some((now, revision));
        }
        let standing = within(limit, rows::standing(listener)).await?;
        let now = Instant::now();
        for id in (0..self.slices.len()).map(SliceId::new) {
            let (gate, name) = (self.slices.gate(id), &self.control.table().slice(id).name);
            match standing.iter().find(|row| row.slice == *name) {
                Some(row) => gate.stand_behind(&row.token, row.left, now),
                None => gate.stand_back(now),
            }
            let Some(fence) = gate.fence(now) else { continue };
            let say = (fence.token, fence.drained_after);
            if done.acknowledged.get(&id) != Some(&say) {
                let saying = rows::acknowledge(listener, self.instance, name, &say.0, (fence.found, say.1));
                within(limit, saying).await?;
                done.acknowledged.insert(id, say);
            }
        }
        Ok(())
    }

    async fn answer(&self, listener: &mut PgListener, done: &mut Done, question: Question) -> Result<(), StoreError> {
        let Question { slice, token, act, answer } = question;
        let outcome = self.act(listener, done, slice, &token, act).await;
        let (answered, lost) = match outcome {
            Ok(answered) => (answered, Ok(())),
            Err(error) => (Err(FleetError::Away(chain(&error))), Err(error)),
        };
        // Whoever has asked may have gone.
        let _ = answer.send(answered);
        lost
    }

    async fn act(
        &self,
        listener: &mut PgListener,
        done: &mut Done,
        slice: SliceId,
        token: &str,
        act: Act,
    ) -> Result<Result<Vec<Instance>, FleetError>, StoreError> {
        let limit = self.config.timeout.get();
        let name = &self.control.table().slice(slice).name;
        let held = match act {
            Act::Place(hold) => match self.slices.gate(slice).check(hold) {
                Err(error) => return Ok(Err(error.into())),
                Ok(()) if within(limit, rows::place(listener, name, token, hold)).await? => Ok(()),
                Ok(()) => Err(FenceError::HeldByAnother),
            },
            Act::Renew(lease) => {
                let renewed = within(limit, rows::renew(listener, name, token, lease)).await?;
                renewed.then_some(()).ok_or(FenceError::NotHeld)
            }
            Act::Lift => {
                let lifted = within(limit, rows::lift(listener, name, token)).await?;
                lifted.then_some(()).ok_or(FenceError::NotHeld)
            }
            Act::Look => Ok(()),
        };
        if let Err(error) = held {
            return Ok(Err(error.into()));
        }
        self.look(listener, done).await?;
        Ok(Ok(within(limit, rows::instances(listener, name, token)).await?))
    }
}
