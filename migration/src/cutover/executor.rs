//! Carrying a cutover out, step by step.

use std::{fmt, time::Duration};

use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::{
    join,
    task::AbortHandle,
    time::{Instant, timeout_at},
    try_join,
};

use super::{
    CutoverError, Settings,
    door::{Door, is_locked},
    gateway::{DataStage, Fence, GatewayClient},
    hooks::{Asking, HookPoint, Hooks},
    journal::{self, Attempt, AttemptStep, Note},
    lock::Lock,
    plan::Plan,
    sequence::Sequences,
    situation,
    tail::Tail,
};
use crate::{
    slice::{SlicePlan, session_settings},
    stream::{self, Direction},
    verify::Side,
};

/// Between two looks at something that others do.
const POLL: Duration = Duration::from_millis(4);

/// How long gateways are asked what came of the flip.
const ASKING: Duration = Duration::from_secs(15);

/// How far a cutover has come, for those who watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Something that was begun before is finished or undone.
    Resuming,
    /// Everything is looked at, and the rows are compared.
    Checking,
    /// The stream back begins, and the doors are hung.
    Preparing,
    /// An attempt is in the journal.
    Begun,
    /// The hooks `before` have said yes.
    Asked,
    /// The journal says that writes are held.
    Holding,
    /// They are, in every gateway that answers.
    Fenced,
    /// None is in flight.
    Drained,
    /// The hooks `settle` have said yes.
    Settled,
    /// Nobody writes the old owner's tables.
    Locked,
    /// Every row is with the new owner.
    CaughtUp,
    /// Sequences are set, and the newest rows are the same.
    Compared,
    /// The new owner's tables take writes.
    Opened,
    /// The journal says that the rollout is asked.
    Deciding,
    /// The new owner is in force.
    Flipped,
    /// The old owner's tables refuse writes.
    Shut,
    /// The journal says that it has happened.
    Decided,
    /// Writes go on.
    Lifted,
    /// The hooks `after` have said yes; nothing is left to do.
    Done,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 19] = [
        Self::Resuming,
        Self::Checking,
        Self::Preparing,
        Self::Begun,
        Self::Asked,
        Self::Holding,
        Self::Fenced,
        Self::Drained,
        Self::Settled,
        Self::Locked,
        Self::CaughtUp,
        Self::Compared,
        Self::Opened,
        Self::Deciding,
        Self::Flipped,
        Self::Shut,
        Self::Decided,
        Self::Lifted,
        Self::Done,
    ];

    /// Where a test may kill the process.
    const fn failpoint(self) -> &'static str {
        match self {
            Self::Resuming => "cutover.resuming",
            Self::Checking => "cutover.checking",
            Self::Preparing => "cutover.preparing",
            Self::Begun => "cutover.begun",
            Self::Asked => "cutover.asked",
            Self::Holding => "cutover.holding",
            Self::Fenced => "cutover.fenced",
            Self::Drained => "cutover.drained",
            Self::Settled => "cutover.settled",
            Self::Locked => "cutover.locked",
            Self::CaughtUp => "cutover.caught_up",
            Self::Compared => "cutover.compared",
            Self::Opened => "cutover.opened",
            Self::Deciding => "cutover.deciding",
            Self::Flipped => "cutover.flipped",
            Self::Shut => "cutover.shut",
            Self::Decided => "cutover.decided",
            Self::Lifted => "cutover.lifted",
            Self::Done => "cutover.done",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Resuming => "an earlier attempt is finished or taken back",
            Self::Checking => "looking, and comparing the rows",
            Self::Preparing => "preparing the stream back",
            Self::Begun => "begun",
            Self::Asked => "hooks `before`: yes",
            Self::Holding => "about to hold writes",
            Self::Fenced => "writes are held",
            Self::Drained => "no write is in flight",
            Self::Settled => "hooks `settle`: yes",
            Self::Locked => "nobody writes the old owner's tables",
            Self::CaughtUp => "every row is with the new owner",
            Self::Compared => "the newest rows are the same",
            Self::Opened => "the new owner's tables take writes",
            Self::Deciding => "asking for the new owner",
            Self::Flipped => "the new owner is in force",
            Self::Shut => "the old owner's tables refuse writes",
            Self::Decided => "decided",
            Self::Lifted => "writes go on",
            Self::Done => "done",
        };
        f.write_str(text)
    }
}

/// Told of each step when it is reached; the cutover waits for it.
pub type Watch<'a> = &'a (dyn Fn(Step) -> BoxFuture<'static, ()> + Send + Sync);

/// A cutover that has happened, or a rollback.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The slice.
    pub slice: String,
    /// To the candidate, or back.
    pub direction: Direction,
    /// The revision of the rollout that has the new owner.
    pub revision: Option<u64>,
    /// How long writes were held, in milliseconds; none when an earlier call held them.
    pub held_ms: Option<f64>,
    /// Writes that waited in the gateway that was asked.
    pub waited: u64,
    /// Writes that were in flight when they were first held, in all gateways.
    pub found_in_flight: u64,
    /// From the fence until none was in flight, in milliseconds.
    pub drained_ms: Option<f64>,
    /// From there until every row was with the new owner, in milliseconds.
    pub caught_up_ms: Option<f64>,
    /// Whether an earlier call had begun it, and this one has only finished it.
    pub resumed: bool,
}

/// One slice, its two databases, and the gateway in front.
pub struct Cutover<'a> {
    /// The monolith's database.
    pub monolith: &'a PgPool,
    /// The candidate's own.
    pub candidate: &'a PgPool,
    /// The slice between them.
    pub plan: &'a SlicePlan,
    /// A gateway; of several that share their rollout any.
    pub gateway: &'a GatewayClient,
    /// What services are asked.
    pub hooks: &'a Hooks,
    /// What is allowed.
    pub settings: &'a Settings,
    /// Who watches.
    pub watch: Watch<'a>,
}

/// What is made before anybody waits: connections, statements, and pages that have been read once.
struct Ready<'a> {
    settle: Asking<'a>,
    /// For the old owner's tables, and what shuts their door.
    lock: PgConnection,
    shut: String,
    /// For the new owner's, and what opens theirs.
    door: PgConnection,
    open: String,
    /// To read both.
    old: PgConnection,
    new: PgConnection,
    tail: Tail<'a>,
    sequences: Sequences,
}

/// Both owners' tables, while nothing that was done to them can be seen.
struct Locks {
    /// Nobody writes the old owner's, and their door is shut.
    old: Lock,
    /// The door of the new owner's is open.
    new: Lock,
}

/// What an attempt has in hand.
pub(super) struct Held {
    pub(super) attempt: i64,
    pub(super) token: String,
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Cutover<'_> {
    /// What would happen, or what stands against it. Changes nothing.
    ///
    /// # Errors
    /// When something could not be looked at.
    pub async fn plan(&self, direction: Direction) -> Result<Plan, CutoverError> {
        let Self { monolith, candidate, plan, gateway, settings, .. } = self;
        let situation = situation::look(monolith, candidate, plan, gateway, direction, settings).await?;
        Ok(Plan::new(situation, self.settings.hold))
    }

    /// Makes the candidate the owner of the slice's rows.
    ///
    /// # Errors
    /// [`CutoverError`]; unless it says otherwise everything is as it was.
    pub async fn cut_over(&self) -> Result<Report, CutoverError> {
        self.pass(Direction::Forward).await
    }

    /// Makes the monolith the owner again, with every row that the candidate has written since.
    ///
    /// # Errors
    /// [`CutoverError`]; unless it says otherwise everything is as it was.
    pub async fn roll_back(&self) -> Result<Report, CutoverError> {
        self.pass(Direction::Reverse).await
    }

    async fn pass(&self, direction: Direction) -> Result<Report, CutoverError> {
        let _alone = self.alone().await?;
        if let Some(report) = self.resume(direction).await? {
            return Ok(report);
        }
        self.reached(Step::Checking).await;
        let plan = self.plan(direction).await?;
        if !plan.obstacles.is_empty() {
            return Err(CutoverError::Obstacles(plan.obstacles));
        }
        let ready = self.prepare(direction).await?;
        let token = format!("{}-{}", self.plan.name, uuid::Uuid::now_v7().simple());
        let begin = journal::begin(self.candidate, &self.plan.name, direction, &token);
        let attempt = begin.await.map_err(CutoverError::database("write the journal"))?;
        self.reached(Step::Begun).await;
        let mut report = Report {
            slice: self.plan.name.clone(),
            direction,
            revision: None,
            held_ms: None,
            waited: 0,
            found_in_flight: 0,
            drained_ms: None,
            caught_up_ms: None,
            resumed: false,
        };
        match self.attempt(direction, attempt, &token, ready, &mut report).await {
            Ok(()) => Ok(report),
            Err(error @ (CutoverError::Unknown { .. } | CutoverError::Unfinished(_))) => Err(error),
            Err(error) => {
                self.undo(direction, attempt, &token, &error.to_string()).await?;
                Err(error)
            }
        }
    }

    /// What may take long, while nothing is held.
    async fn prepare(&self, direction: Direction) -> Result<Ready<'_>, CutoverError> {
        self.reached(Step::Preparing).await;
        let Settings { patience, lock_wait, max_lag, .. } = *self.settings;
        let (from, to) = direction.ends(self.monolith, self.candidate);
        let back = direction.opposite();
        // Its slot waits for open transactions, which must not happen while writes are held.
        drop(stream::begin(to, from, self.plan, back, patience).await?);
        let (old, new) = self.doors(direction);
        for (door, pool) in [(&old, from), (&new, to)] {
            door.hang(pool, lock_wait, patience)
                .await
                .map_err(CutoverError::database("hang the door of the tables"))?;
        }
        new.shut(to, lock_wait, patience).await.map_err(CutoverError::database("shut the new owner's door"))?;
        let position = stream::mark(from, &self.plan.name).await?;
        stream::wait_until_applied(to, &self.plan.name, direction, position, max_lag).await?;
        let settle = self.hooks.ready(&self.plan.name, direction, HookPoint::Settle)?;
        let connecting = self.connect(direction, settle).await;
        connecting.map_err(CutoverError::database("make ready in both databases"))
    }

    async fn connect<'a>(&'a self, direction: Direction, settle: Asking<'a>) -> sqlx::Result<Ready<'a>> {
        let (from, to) = direction.ends(self.monolith, self.candidate);
        let (old_door, new_door) = self.doors(direction);
        let (old_schema, new_schema) = direction.ends(&self.plan.source_schema, &self.plan.target_schema);
        let (mut old, mut new) = (from.acquire().await?.detach(), to.acquire().await?.detach());
        for (connection, schema) in [(&mut old, old_schema), (&mut new, new_schema)] {
            sqlx::raw_sql(AssertSqlSafe(session_settings(schema))).execute(connection).await?;
        }
        let sequences = Sequences::find(&mut old, &mut new, self.plan, direction).await?;
        let tail = Tail::of(self.plan, self.settings.tail_rows);
        // What they find is of no use yet; the same statements are quicker the second time.
        let (old_side, new_side) = direction.ends(Side::Source, Side::Target);
        sequences.given_out(&mut old).await?;
        tail.newest(&mut old, old_side).await?;
        tail.newest(&mut new, new_side).await?;
        Ok(Ready {
            settle,
            lock: Lock::connect(from, self.settings.hold).await?,
            shut: old_door.shutting(&mut old).await?,
            door: Lock::connect(to, self.settings.hold).await?,
            open: new_door.opening(&mut new).await?,
            old,
            new,
            tail,
            sequences,
        })
    }

    async fn attempt(
        &self,
        direction: Direction,
        attempt: i64,
        token: &str,
        ready: Ready<'_>,
        report: &mut Report,
    ) -> Result<(), CutoverError> {
        let slice = self.plan.name.as_str();
        self.hooks.ask(slice, direction, HookPoint::Before).await?;
        self.reached(Step::Asked).await;
        self.note(attempt, AttemptStep::Held, &Note::default()).await?;
        self.reached(Step::Holding).await;
        let since = Instant::now();
        let held = Held { attempt, token: token.to_owned(), since, until: since + self.settings.hold };
        let fence = self.gateway.place(slice, token, (self.settings.hold, self.settings.lease)).await?;
        let renewal = Renewal::start(self.gateway, slice, token, self.settings.lease);
        self.reached(Step::Fenced).await;
        let locks = self.bring_over(direction, &held, ready, fence, report).await?;
        let lock = self.open(&held, locks).await?;
        let (revision, lock) = self.flip(direction, &held, lock).await?;
        report.revision = (revision > 0).then_some(revision);
        let finishing = async {
            let note = Note { revision: report.revision, held: Some(held.since.elapsed()), ..Note::default() };
            let (shut, noted, ()) = join!(
                lock.commit(),
                self.note(attempt, AttemptStep::Decided, &note),
                self.everywhere(&held, revision),
            );
            // Should it have failed, the end of the attempt shuts the door in a transaction of its own.
            if shut.is_ok() {
                self.reached(Step::Shut).await;
            }
            noted?;
            self.reached(Step::Decided).await;
            drop(renewal);
            if let Ok(lifted) = self.gateway.lift(slice, token).await {
                report.held_ms = lifted.held_ms;
                report.waited = lifted.released;
            }
            self.reached(Step::Lifted).await;
            if let Ok(connection) = shut {
                let _ = connection.close().await;
            }
            self.finish(direction, attempt).await
        };
        finishing.await.map_err(|error| CutoverError::Unfinished(Box::new(error)))
    }

    /// Everything between the fence and the flip: nothing of it can be seen from outside when it is dropped.
    async fn bring_over(
        &self,
        direction: Direction,
        held: &Held,
        ready: Ready<'_>,
        fence: Fence,
        report: &mut Report,
    ) -> Result<Locks, CutoverError> {
        let Ready { settle, lock, shut, door, open, mut old, mut new, tail, sequences } = ready;
        let Settings { lock_wait, .. } = *self.settings;
        let (old_side, new_side) = direction.ends(Side::Source, Side::Target);
        let fence = self.within(held, "writes in flight", self.drained(held, fence)).await?;
        report.found_in_flight = fence.gateways.iter().filter_map(|gateway| gateway.found).sum();
        report.drained_ms = Some(ms(held.since.elapsed()));
        self.reached(Step::Drained).await;
        self.within(held, "the hooks `settle`", async { Ok(settle.ask().await?) }).await?;
        self.reached(Step::Settled).await;
        let (old_door, _) = self.doors(direction);
        let locking = async {
            let taken = Lock::take(lock, &old_door.lock_statement(), lock_wait, held.until).await;
            taken.map_err(|error| {
                if is_locked(&error) {
                    too_long(held, "others write the tables")
                } else {
                    CutoverError::database("lock the old owner's tables")(error)
                }
            })
        };
        let mut lock = self.within(held, "others write the tables", locking).await?;
        self.reached(Step::Locked).await;
        // What is to be known of the old owner's tables, while their last rows are on their way.
        let shutting = async { lock.execute(&shut).await.map_err(CutoverError::database("shut the old owner's door")) };
        let reading = async {
            let given_out = sequences.given_out(&mut old).await;
            let given_out = given_out.map_err(CutoverError::database("read the old owner's sequences"))?;
            let newest = tail.newest(&mut old, old_side).await;
            let newest = newest.map_err(CutoverError::database("read the newest rows"))?;
            Ok::<_, CutoverError>((given_out, newest))
        };
        let coming = async { try_join!(self.caught_up(direction, held), shutting, reading) };
        let ((), (), (given_out, newest)) = self.within(held, "rows on their way", coming).await?;
        report.caught_up_ms = Some(ms(held.since.elapsed()) - report.drained_ms.unwrap_or_default());
        self.reached(Step::CaughtUp).await;
        let comparing = async {
            let comparing = || CutoverError::database("compare the newest rows");
            let came = tail.newest(&mut new, new_side).await.map_err(comparing())?;
            let ends = ((&mut old, newest.as_slice()), (&mut new, came.as_slice()));
            let (monolith, candidate) = match direction {
                Direction::Forward => ends,
                Direction::Reverse => (ends.1, ends.0),
            };
            let differing = tail.differing(monolith, candidate).await.map_err(comparing())?;
            if !differing.is_empty() {
                return Err(CutoverError::TailDiffers(differing));
            }
            let carried = sequences.carry(&mut new, &given_out).await;
            carried.map_err(CutoverError::database("set the new owner's sequences"))
        };
        let opening = async {
            let opened = Lock::take(door, &open, lock_wait, held.until).await;
            opened.map_err(CutoverError::database("open the new owner's door"))
        };
        let comparing = async { try_join!(comparing, opening) };
        let ((), opening) = self.within(held, "the newest rows", comparing).await?;
        self.reached(Step::Compared).await;
        Ok(Locks { old: lock, new: opening })
    }

    /// Waits until the stream has brought every row, and none of them into quarantine.
    async fn caught_up(&self, direction: Direction, held: &Held) -> Result<(), CutoverError> {
        let slice = self.plan.name.as_str();
        let (from, to) = direction.ends(self.monolith, self.candidate);
        let position = stream::mark(from, slice).await?;
        let left = held.until.saturating_duration_since(Instant::now());
        let stream = stream::wait_until_applied(to, slice, direction, position, left).await?;
        if stream.quarantined == 0 { Ok(()) } else { Err(CutoverError::Quarantine(stream.quarantined)) }
    }

    /// Lets the new owner's tables take writes, and writes down that the rollout is about to be asked. Neither needs the
    /// other to come first: nobody is sent there before both are done.
    async fn open(&self, held: &Held, locks: Locks) -> Result<Lock, CutoverError> {
        let Locks { old, new } = locks;
        let opening = async {
            let note = Note::default();
            let (opened, noted) = join!(new.commit(), self.note(held.attempt, AttemptStep::Deciding, &note));
            opened.map_err(CutoverError::database("open the new owner's door"))?;
            noted
        };
        self.within(held, "the doors", opening).await?;
        self.reached(Step::Opened).await;
        Ok(old)
    }

    /// Asks for the new owner. Returns the revision that has it, 0 where that is not known, and the lock of the old one's
    /// tables.
    async fn flip(&self, direction: Direction, held: &Held, lock: Lock) -> Result<(u64, Lock), CutoverError> {
        self.reached(Step::Deciding).await;
        if Instant::now() >= held.until {
            return Err(too_long(held, "the journal"));
        }
        let stage = stage_after(direction);
        let revision = match self.gateway.set_stage(&self.plan.name, stage, Some(&held.token)).await {
            Ok(revision) => revision,
            Err(error) if error.is_refusal() => {
                let _ = lock.release().await;
                return Err(error.into());
            }
            // The lock stays while nobody knows: the server lets go of it when the bound is over.
            Err(error) => match self.ask_what_came_of_it(stage).await {
                Some(true) => 0,
                Some(false) => return Err(error.into()),
                None => return Err(CutoverError::Unknown { why: error.to_string() }),
            },
        };
        self.reached(Step::Flipped).await;
        Ok((revision, lock))
    }

    /// Whether the rollout has this stage, once the gateway says so.
    pub(super) async fn ask_what_came_of_it(&self, stage: DataStage) -> Option<bool> {
        let until = Instant::now() + ASKING;
        loop {
            if let Ok(Some(slice)) = self.gateway.settled_slice(&self.plan.name).await {
                return Some(slice.stage == stage);
            }
            if Instant::now() >= until {
                return None;
            }
            tokio::time::sleep(POLL * 25).await;
        }
    }

    /// Waits until no write is in flight through any gateway.
    async fn drained(&self, held: &Held, mut fence: Fence) -> Result<Fence, CutoverError> {
        while !fence.drained {
            let left = held.until.saturating_duration_since(Instant::now());
            fence = self.gateway.drained_fence(&self.plan.name, &held.token, left).await?;
        }
        Ok(fence)
    }

    /// Waits until every gateway has the new owner in force, as far as the bound lets it: one that has not
    /// would send the writes that it has held to the old owner, which refuses them.
    async fn everywhere(&self, held: &Held, revision: u64) {
        while Instant::now() < held.until {
            match self.gateway.fence(&self.plan.name, &held.token).await {
                Ok(fence) if fence.gateways.iter().all(|gateway| gateway.revision >= revision) => return,
                Ok(_) => tokio::time::sleep(POLL).await,
                Err(_) => return,
            }
        }
    }

    /// Everything that follows the flip and may be done again.
    pub(super) async fn finish(&self, direction: Direction, attempt: i64) -> Result<(), CutoverError> {
        let Settings { patience, lock_wait, .. } = *self.settings;
        let (from, to) = direction.ends(self.monolith, self.candidate);
        let (old, new) = self.doors(direction);
        new.open(to, lock_wait, patience).await.map_err(CutoverError::database("open the new owner's door"))?;
        old.shut(from, lock_wait, patience).await.map_err(CutoverError::database("shut the old owner's door"))?;
        self.hooks.ask(&self.plan.name, direction, HookPoint::After).await?;
        self.note(attempt, AttemptStep::Done, &Note::default()).await?;
        self.reached(Step::Done).await;
        Ok(())
    }

    /// Takes back whatever an attempt that did not come to its flip has left.
    pub(super) async fn undo(
        &self,
        direction: Direction,
        attempt: i64,
        token: &str,
        reason: &str,
    ) -> Result<(), CutoverError> {
        let Settings { patience, lock_wait, .. } = *self.settings;
        // It falls by itself where the gateway does not answer.
        let _ = self.gateway.lift(&self.plan.name, token).await;
        let (_, to) = direction.ends(self.monolith, self.candidate);
        let (_, new) = self.doors(direction);
        let shut = new.shut_after_all(to, lock_wait, patience).await;
        shut.map_err(CutoverError::database("shut the new owner's door"))?;
        self.hooks.ask(&self.plan.name, direction, HookPoint::Undone).await?;
        self.note(attempt, AttemptStep::Undone, &Note { reason: Some(reason.to_owned()), ..Note::default() }).await
    }

    /// The old owner's door, and the new one's.
    pub(super) fn doors(&self, direction: Direction) -> (Door, Door) {
        direction.ends(Door::of_monolith(self.plan), Door::of_candidate(self.plan))
    }

    /// Nobody else is at this slice for as long as the connection lives.
    pub(super) async fn alone(&self) -> Result<PgConnection, CutoverError> {
        let taking = async {
            let mut connection = self.candidate.acquire().await?.detach();
            journal::ensure(&mut connection).await?;
            let until = Instant::now() + self.settings.lock_wait * 20;
            while !journal::lock(&mut connection, &self.plan.name).await? {
                // The server may not have noticed yet that an earlier process is gone.
                if Instant::now() >= until {
                    return Ok(None);
                }
                tokio::time::sleep(POLL * 5).await;
            }
            Ok(Some(connection))
        };
        let taken = taking.await.map_err(CutoverError::database("lock the slice"))?;
        taken.ok_or(CutoverError::Busy)
    }

    /// The latest attempt.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn latest(&self) -> Result<Option<Attempt>, CutoverError> {
        journal::latest(self.candidate, &self.plan.name).await.map_err(CutoverError::database("read the journal"))
    }

    pub(super) async fn note(&self, attempt: i64, step: AttemptStep, note: &Note) -> Result<(), CutoverError> {
        journal::reach(self.candidate, attempt, step, note).await.map_err(CutoverError::database("write the journal"))
    }

    pub(super) async fn reached(&self, step: Step) {
        tracing::info!(slice = %self.plan.name, %step, "cutover");
        (self.watch)(step).await;
        crate::failpoint::hit(step.failpoint());
    }

    async fn within<T>(
        &self,
        held: &Held,
        during: &'static str,
        work: impl Future<Output = Result<T, CutoverError>>,
    ) -> Result<T, CutoverError> {
        timeout_at(held.until, work).await.unwrap_or_else(|_| Err(too_long(held, during)))
    }
}

fn too_long(held: &Held, during: &'static str) -> CutoverError {
    CutoverError::TooLong { held: held.since.elapsed(), during }
}

/// How far the rows are when they have come to their new owner.
pub(super) fn stage_after(direction: Direction) -> DataStage {
    match direction {
        Direction::Forward => DataStage::CutOver,
        Direction::Reverse => DataStage::Synced,
    }
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// A task that renews the lease of a fence until this is dropped.
struct Renewal(AbortHandle);

impl Renewal {
    fn start(gateway: &GatewayClient, slice: &str, token: &str, lease: Duration) -> Self {
        let (gateway, slice, token) = (gateway.clone(), slice.to_owned(), token.to_owned());
        let renewing = async move {
            loop {
                tokio::time::sleep(lease / 3).await;
                // Should it fail, the fence ends, and the gateway refuses the flip.
                if let Err(error) = gateway.renew(&slice, &token, lease).await {
                    tracing::warn!(%error, "the fence could not be renewed");
                }
            }
        };
        Self(tokio::spawn(renewing).abort_handle())
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}
