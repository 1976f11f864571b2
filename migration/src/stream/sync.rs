//! Runs a stream: begins it, copies, catches up, and lets changes flow until it is told to stop.
//!
//! ```text
//!   creating ─► copying ─► catching_up ─► indexing ─► streaming      lost ─► (--restart-lost) creating
//! ```
//! Each step may be interrupted at any instruction, and a later call goes on from it. A reverse stream
//! begins at `streaming`.

use std::{sync::Arc, time::Duration};

use sqlx::{PgConnection, PgPool};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    Begun, Direction, Stage, Stream, StreamError, accept, advance,
    assembly::Assembly,
    begin, divide, find, lanes, later_snapshot, ledger, lose, mark, note, origin_name, publication,
    reader::{Reader, told},
    slot, slot_state, take_down,
};
use crate::{
    apply::{Applier, Event, Fetcher, Flow, Hold, Limits, Writer},
    copy::{self, Progress},
    finding::Finding,
    link::{Address, Feed, Session},
    lsn::Lsn,
    mapping::{Mapping, Owner},
    slice::{SlicePlan, read_plan},
};

/// How a stream is run. Every limit is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How rows are copied before changes flow.
    pub copy: copy::Settings,
    /// Connections that write changes, each with the rows of some keys; at least 1.
    pub lanes: usize,
    /// Changes that are written together at most; a larger transaction is written in pieces.
    pub group_changes: usize,
    /// Bytes of changes that are held at once, about; a single larger row is held all the same.
    pub group_bytes: usize,
    /// Fewer changes than this are written by one lane.
    pub lane_changes: usize,
    /// A transaction that is streamed before it commits is kept in memory up to this, then in a file.
    pub spool_bytes: usize,
    /// A refused row that is larger is not kept in the quarantine; a retry fetches it.
    pub image_bytes: usize,
    /// How often the source is told what is durable here.
    pub confirm: Duration,
    /// After so long without a word from the source, the connection is made anew.
    pub silence: Duration,
    /// How often a mark is written into the source's log, by which a slot moves and lag is measured
    /// when nothing else happens; none for never.
    pub heartbeat: Option<Duration>,
    /// How often the slot and the tables' shapes are looked at.
    pub watch: Duration,
    /// Bytes of log held by the slot that are worth a warning.
    pub wal_warn: u64,
    /// Bytes at which the stream is given up and the slot dropped, before the source's disk is full;
    /// none for never.
    pub wal_stop: Option<u64>,
    /// How long to wait for the slot's snapshot, which waits for every open transaction.
    pub slot_patience: Duration,
    /// How long to wait for a process that was killed to be noticed by the server.
    pub other_process: Duration,
    /// The longest pause before a database that is away is tried again.
    pub longest_pause: Duration,
    /// Whether a stream whose slot is lost begins anew, with a new copy.
    pub restart_lost: bool,
    /// Whether the tables' shapes as they are now are accepted.
    pub accept_ddl: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            copy: copy::Settings::default(),
            lanes: 2,
            group_changes: 10_000,
            group_bytes: 16 << 20,
            lane_changes: 500,
            spool_bytes: 16 << 20,
            image_bytes: 1 << 20,
            confirm: Duration::from_secs(1),
            silence: Duration::from_secs(60),
            heartbeat: Some(Duration::from_secs(1)),
            watch: Duration::from_secs(5),
            wal_warn: 4 << 30,
            wal_stop: Some(64 << 30),
            slot_patience: Duration::from_secs(300),
            other_process: Duration::from_secs(30),
            longest_pause: Duration::from_secs(10),
            restart_lost: false,
            accept_ddl: false,
        }
    }
}

/// Batches of events between the reader and the applier.
const QUEUE: usize = 4;

/// What an operator has answered, until it has been acted upon.
struct Asked {
    restart_lost: bool,
    accept_ddl: bool,
}

/// A stream of a slice, ready to be run.
pub struct Sync<'a> {
    /// The monolith's database.
    pub source: &'a PgPool,
    /// The candidate's.
    pub target: &'a PgPool,
    /// The mapping that has the slice.
    pub mapping: &'a Mapping,
    /// The slice.
    pub slice: &'a str,
    /// Which way.
    pub direction: Direction,
    /// How.
    pub settings: &'a Settings,
    /// Told how far the copy is.
    pub progress: &'a watch::Sender<Progress>,
}

impl Sync<'_> {
    /// Runs until `stop` is true, over restarts of either database. What has arrived by then is
    /// applied and confirmed.
    ///
    /// # Errors
    /// Whatever does not pass by itself. [`StreamError::Stopped`] and [`StreamError::Lost`] are also
    /// in the ledger.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) -> Result<(), StreamError> {
        // Each is an answer to what is there at the start, and not to what may be there later.
        let mut asked = Asked { restart_lost: self.settings.restart_lost, accept_ddl: self.settings.accept_ddl };
        let mut pause = Duration::from_millis(100);
        loop {
            let begun = Instant::now();
            let error = match Box::pin(self.once(&mut asked, stop.clone())).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !error.is_transient() {
                self.write_down(&error).await;
                return Err(error);
            }
            if begun.elapsed() > self.settings.longest_pause {
                pause = Duration::from_millis(100);
            }
            tracing::warn!(slice = self.slice, direction = %self.direction, error = %Chain(&error), pause_ms = pause.as_millis(), "the stream broke; trying again");
            // Many that lost the same server shall not come back at the same moment.
            let jitter = pause.mul_f64(f64::from(begun.elapsed().subsec_nanos() % 1000) / 2000.0);
            tokio::select! {
                () = sleep(pause + jitter) => {}
                () = told(&mut stop) => return Ok(()),
            }
            pause = (pause * 2).min(self.settings.longest_pause);
        }
    }

    /// A reason that stops the stream is told to whoever waits for it.
    async fn write_down(&self, error: &StreamError) {
        let (_, to) = self.direction.ends(self.source, self.target);
        let reason = match error {
            // The ledger says itself that it has stopped.
            StreamError::Stopped { reason, .. } | StreamError::Lost { reason, .. } => reason.clone(),
            other => Chain(other).to_string(),
        };
        let work = async {
            let mut connection = to.acquire().await?;
            note(&mut connection, self.slice, self.direction, Some(&reason)).await
        };
        if let Err(failed) = work.await {
            tracing::warn!(slice = self.slice, error = %failed, "the reason could not be written down");
        }
    }

    async fn once(&self, asked: &mut Asked, mut stop: watch::Receiver<bool>) -> Result<(), StreamError> {
        let (from, to) = self.direction.ends(self.source, self.target);
        let mut keeper =
            to.acquire().await.map_err(StreamError::database("reach the database that changes go to"))?.detach();
        ledger::lock(&mut keeper, self.slice, self.direction, self.settings.other_process).await?;
        let settings = self.settings;
        let plan = self.plan().await?;
        let begun = self.begin(&plan, std::mem::take(&mut asked.restart_lost)).await.inspect_err(|error| {
            asked.restart_lost = error.is_transient() && settings.restart_lost;
        })?;
        // Whatever stopped it has been seen to, or will be found again.
        note(&mut keeper, self.slice, self.direction, None)
            .await
            .map_err(StreamError::database("write the ledger of streams"))?;
        self.compare_shapes(&mut keeper, &plan, asked.accept_ddl).await?;
        asked.accept_ddl = false;
        let mut stream = begun.stream;
        if stream.stage == Stage::Copying {
            let copying = self.copy(&mut keeper, &plan, &stream, begun.snapshot);
            tokio::select! {
                copied = copying => copied?,
                lost = self.watch_slot(from, &stream) => return Err(lost),
                () = told(&mut stop) => return Ok(()),
            }
            stream = find(to, self.slice, self.direction).await?.ok_or_else(|| super::unknown(self.slice))?;
        }
        let writing = || StreamError::database("write the ledger of streams");
        if stream.stage == Stage::CatchingUp {
            let until = stream.consistent_lsn.filter(|consistent| Some(*consistent) > stream.applied_lsn);
            if let Some(until) = until {
                self.flow(&plan, &stream, settings, stop.clone(), Some(until)).await?;
                if *stop.borrow() {
                    return Ok(());
                }
            }
            advance(&mut keeper, self.slice, self.direction, Stage::Indexing, None).await.map_err(writing())?;
            stream.stage = Stage::Indexing;
        }
        if stream.stage == Stage::Indexing {
            crate::failpoint::hit("sync.before_indexes");
            tokio::select! {
                made = copy::finish(self.source, self.target, &plan, &settings.copy, self.progress) => made?,
                lost = self.watch_slot(from, &stream) => return Err(lost),
                () = told(&mut stop) => return Ok(()),
            }
            advance(&mut keeper, self.slice, self.direction, Stage::Streaming, None).await.map_err(writing())?;
        }
        self.flow(&plan, &stream, settings, stop, None).await
    }

    async fn plan(&self) -> Result<SlicePlan, StreamError> {
        match self.direction {
            Direction::Forward => Ok(copy::prepare(self.source, self.target, self.mapping, self.slice).await?),
            Direction::Reverse => {
                let connections =
                    async { Ok((self.source.acquire().await?.detach(), self.target.acquire().await?.detach())) };
                let (mut source, mut target) =
                    connections.await.map_err(StreamError::database("reach both databases"))?;
                Ok(read_plan(&mut source, &mut target, self.mapping, self.slice).await?)
            }
        }
    }

    async fn begin(&self, plan: &SlicePlan, restart_lost: bool) -> Result<Begun, StreamError> {
        let (from, to) = self.direction.ends(self.source, self.target);
        let begun = begin(from, to, plan, self.direction, self.settings.slot_patience).await;
        let Err(StreamError::Lost { slice, reason }) = begun else { return begun };
        if !restart_lost {
            return Err(StreamError::Lost { slice, reason });
        }
        if self.direction == Direction::Reverse || plan.owner == Owner::Append {
            return Err(StreamError::Stopped {
                slice,
                reason: format!(
                    "{reason}; it cannot begin anew, because rows that only one side has would be lost: compare the two \
                     sides by `db verify`, mend what differs, then end the stream and begin it again"
                ),
            });
        }
        tracing::warn!(slice, reason, "the slot was lost: the slice is emptied, and copied anew behind a new slot");
        if let Some(stream) = find(to, self.slice, self.direction).await? {
            take_down(from, to, &stream).await?;
        }
        copy::forget(self.target, plan).await?;
        let plan = self.plan().await?;
        begin(from, to, &plan, self.direction, self.settings.slot_patience).await
    }

    /// Copies, and writes down up to where the rows are of several points.
    async fn copy(
        &self,
        keeper: &mut PgConnection,
        plan: &SlicePlan,
        stream: &Stream,
        snapshot: Option<super::SlotSnapshot>,
    ) -> Result<(), StreamError> {
        let snapshot = match snapshot {
            Some(snapshot) => snapshot,
            None => later_snapshot(self.source, stream, self.settings.slot_patience).await?,
        };
        let outcome =
            copy::run(self.source, self.target, plan, snapshot.snapshot(), &self.settings.copy, self.progress).await?;
        let (earliest, latest): (Lsn, Lsn) =
            (outcome.earliest_lsn.parse().unwrap_or_default(), outcome.consistent_lsn.parse().unwrap_or_default());
        if stream.start_lsn.is_some_and(|start| earliest < start) {
            return Err(StreamError::Stopped {
                slice: self.slice.to_owned(),
                reason: format!(
                    "rows were copied at {earliest}, before the slot: changes since then are missing. Copy them anew: \
                     `db copy --start-over` empties the tables, then begin again"
                ),
            });
        }
        crate::failpoint::hit("sync.after_copy");
        advance(keeper, self.slice, self.direction, Stage::CatchingUp, Some(latest))
            .await
            .map_err(StreamError::database("write the ledger of streams"))
    }

    /// Stops at a table that does not look as it did when it was accepted.
    async fn compare_shapes(
        &self,
        keeper: &mut PgConnection,
        plan: &SlicePlan,
        accepted: bool,
    ) -> Result<(), StreamError> {
        let (from, _) = self.direction.ends(self.source, self.target);
        let reading = || StreamError::database("look at the tables");
        let mut connection = from.acquire().await.map_err(reading())?;
        let now = publication::signatures(&mut connection, plan, self.direction).await.map_err(reading())?;
        let mut before = ledger::signatures(keeper, self.slice, self.direction).await.map_err(reading())?;
        let mut changed = Vec::new();
        for (table, shapes) in &now {
            let known = before.entry(table.clone()).or_default();
            if known.last() != shapes.last() {
                changed.push(table.clone());
                known.extend(shapes.iter().cloned());
            }
        }
        before.retain(|table, _| now.contains_key(table));
        if changed.is_empty() {
            return Ok(());
        }
        if !accepted {
            return Err(StreamError::Stopped { slice: self.slice.to_owned(), reason: changed_shape(&changed) });
        }
        accept(keeper, self.slice, self.direction, &before).await.map_err(reading())
    }

    /// Ends when the slot holds more than it may, or is gone.
    async fn watch_slot(&self, from: &PgPool, stream: &Stream) -> StreamError {
        let mut ticks = interval(self.settings.watch);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned = false;
        loop {
            ticks.tick().await;
            match self.look_at_slot(from, stream, &mut warned).await {
                Ok(()) => {}
                Err(error) => return error,
            }
        }
    }

    async fn look_at_slot(&self, from: &PgPool, stream: &Stream, warned: &mut bool) -> Result<(), StreamError> {
        let (_, to) = self.direction.ends(self.source, self.target);
        let state = slot_state(from, stream).await?;
        let lost = async |reason: String| {
            let writing = StreamError::database("write the ledger of streams");
            let written = async { lose(&mut *to.acquire().await?, self.slice, self.direction, &reason).await };
            match written.await {
                Ok(()) => StreamError::Lost { slice: self.slice.to_owned(), reason },
                Err(error) => writing(error),
            }
        };
        let Some(state) = state else { return Err(lost("the server has no such slot any more".to_owned()).await) };
        if state.wal_status == "lost" {
            return Err(lost("the server has removed log that it needed".to_owned()).await);
        }
        let held = state.held_bytes;
        if self.settings.wal_stop.is_some_and(|limit| held >= limit) {
            let reason = format!(
                "it held {held} bytes of the source's log, more than wal_stop allows, and was given up so that the disk does not fill"
            );
            let error = lost(reason).await;
            if matches!(error, StreamError::Lost { .. }) {
                let dropping = async {
                    // Whoever reads it is this process, which has to let go first.
                    let mut connection = from.acquire().await?;
                    sqlx::query("select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active")
                        .bind(&stream.slot)
                        .execute(&mut *connection)
                        .await?;
                    slot::drop_if_there(&mut connection, &stream.slot).await
                };
                dropping.await.map_err(StreamError::database("drop the slot"))?;
            }
            return Err(error);
        }
        if held >= self.settings.wal_warn && !*warned {
            tracing::warn!(
                slice = self.slice, direction = %self.direction, held_bytes = held, safe_bytes = state.safe_bytes,
                "the source keeps much log for this stream"
            );
        }
        *warned = held >= self.settings.wal_warn;
        Ok(())
    }

    /// Lets changes flow, up to a position or until it is told to stop.
    async fn flow(
        &self,
        plan: &SlicePlan,
        stream: &Stream,
        settings: &Settings,
        stop: watch::Receiver<bool>,
        until: Option<Lsn>,
    ) -> Result<(), StreamError> {
        let (from, _) = self.direction.ends(self.source, self.target);
        let (mut applier, assembly) = self.applier(plan, stream, settings).await?;
        let start = applier.applied_lsn();
        let session = Session::connect(&Address::of(&from.connect_options()))
            .await
            .map_err(StreamError::link("reach the source for replication"))?;
        let publication = crate::projection::legal(&stream.publication).quoted().replace('\'', "''");
        let options = format!("proto_version '2', publication_names '{publication}', messages 'true', streaming 'on'");
        let feed = Feed::start(session, &stream.slot, start, &options, settings.silence)
            .await
            .map_err(StreamError::link("start the stream"))?;
        let (sender, receiver) = mpsc::channel::<Vec<Event>>(QUEUE);
        let applied = applier.applied.subscribe();
        let mut reader = Reader { feed, assembly, events: sender, applied: applied.clone(), every: settings.confirm };
        let (stop_reading, reading_stops) = watch::channel(false);
        let mut tasks: JoinSet<Result<Option<Box<Reader>>, StreamError>> = JoinSet::new();
        tasks.spawn(async move {
            reader.run(reading_stops).await?;
            // Its sender is what keeps the applier waiting.
            let (gone, _) = mpsc::channel(1);
            reader.events = gone;
            Ok(Some(Box::new(reader)))
        });
        tasks.spawn(async move { applier.run(receiver).await.map(|()| None) });
        let supervised = self.supervise(from, plan, stream, stop, applied, until);
        tokio::pin!(supervised);
        let mut reader = None;
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    None => break,
                    Some(ended) => {
                        let ended = ended.map_err(|error| StreamError::Copy(copy::CopyError::Reader(error)))??;
                        reader = reader.or(ended);
                    }
                },
                told = &mut supervised, if !stopping => {
                    told?;
                    stopping = true;
                    stop_reading.send_replace(true);
                }
            }
        }
        // What was applied last is told, so that it does not come again. The lanes know anyway.
        if let Some(mut reader) = reader {
            let _ = timeout(settings.confirm, reader.confirm()).await;
        }
        if stopping {
            Ok(())
        } else {
            Err(StreamError::link("read the stream")(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()))
        }
    }

    /// Ends well when it is told to, or the position is reached; looks after slot and tables meanwhile.
    async fn supervise(
        &self,
        from: &PgPool,
        plan: &SlicePlan,
        stream: &Stream,
        mut stop: watch::Receiver<bool>,
        mut applied: watch::Receiver<Lsn>,
        until: Option<Lsn>,
    ) -> Result<(), StreamError> {
        let reached = async {
            match until {
                // Without its sender the applier is gone, and says why itself.
                Some(until) if applied.wait_for(|applied| *applied >= until).await.is_ok() => {}
                _ => std::future::pending().await,
            }
        };
        let heartbeat = async {
            let Some(every) = self.settings.heartbeat else { std::future::pending().await };
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if let Err(error) = mark(from, self.slice).await {
                    return error;
                }
            }
        };
        let shapes = async {
            loop {
                sleep(self.settings.watch).await;
                let (_, to) = self.direction.ends(self.source, self.target);
                let work = async { to.acquire().await.map_err(StreamError::database("look at the tables")) };
                let compared = match work.await {
                    Ok(mut connection) => self.compare_shapes(&mut connection, plan, false).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = compared {
                    return error;
                }
            }
        };
        tokio::select! {
            () = told(&mut stop) => Ok(()),
            () = reached => Ok(()),
            error = heartbeat => Err(error),
            error = shapes => Err(error),
            error = self.watch_slot(from, stream) => Err(error),
        }
    }

    /// Connects the lanes, each where it was.
    async fn applier(
        &self,
        plan: &SlicePlan,
        stream: &Stream,
        settings: &Settings,
    ) -> Result<(Applier, Assembly), StreamError> {
        let (from, to) = self.direction.ends(self.source, self.target);
        let (from_schema, to_schema) = self.direction.ends(&plan.source_schema, &plan.target_schema);
        let options = to.connect_options();
        let reading = || StreamError::database("read where the stream is");
        let mut writers = vec![Writer::connect(&options, to_schema, &origin_name(&stream.slot, 0)).await?];
        let first = &mut writers[0].connection;
        let flow = Arc::new(Flow::read(first, plan, self.direction).await.map_err(reading())?);
        let mut findings = flow.obstacles(first).await.map_err(reading())?;
        findings.extend(triggers(first, &flow).await.map_err(reading())?);
        if !findings.is_empty() {
            return Err(StreamError::Unfit { findings });
        }
        let mut positions = lanes(first, self.slice, self.direction).await.map_err(reading())?;
        // Lanes that are not at one position are those of a process that was killed: they go on as they are.
        if positions.windows(2).all(|pair| pair[0] == pair[1]) && positions.len() != settings.lanes.max(1) {
            divide(first, self.slice, self.direction, settings.lanes.max(1)).await.map_err(reading())?;
            positions = lanes(first, self.slice, self.direction).await.map_err(reading())?;
        }
        let hold = Hold { slice: self.slice.to_owned(), direction: self.direction, image_bytes: settings.image_bytes };
        let held = hold.rows(first, &flow).await.map_err(reading())?;
        let signatures = ledger::signatures(first, self.slice, self.direction).await.map_err(reading())?;
        let copied_at = match self.direction {
            Direction::Forward => copied_at(first, self.slice, &flow).await.map_err(reading())?,
            Direction::Reverse => vec![Lsn::default(); flow.tables.len()],
        };
        for lane in 1..positions.len() {
            writers.push(Writer::connect(&options, to_schema, &origin_name(&stream.slot, lane)).await?);
        }
        let (applied, _) = watch::channel(positions.iter().copied().min().unwrap_or_default());
        let opposite = slot::stem(self.slice, self.direction.opposite());
        let assembly = Assembly::new(Arc::clone(&flow), signatures, opposite, settings.spool_bytes);
        let applier = Applier {
            flow,
            slice: self.slice.to_owned(),
            direction: self.direction,
            limits: Limits {
                group_changes: settings.group_changes.max(1),
                group_bytes: settings.group_bytes.max(1),
                lane_changes: settings.lane_changes,
            },
            hold,
            may_truncate: plan.owner == Owner::Switch,
            fetcher: Fetcher::new(Arc::unwrap_or_clone(from.connect_options()), from_schema.clone()),
            writers,
            lanes: positions,
            copied_at,
            held,
            applied,
        };
        Ok((applier, assembly))
    }
}

/// Triggers that would change the rows as they come, where they cannot be silenced.
async fn triggers(connection: &mut PgConnection, flow: &Flow) -> sqlx::Result<Vec<Finding>> {
    let role: String =
        sqlx::query_scalar("select current_setting('session_replication_role')").fetch_one(&mut *connection).await?;
    let mut findings = Vec::new();
    if role == "replica" {
        return Ok(findings);
    }
    for table in &flow.tables {
        let there: bool = sqlx::query_scalar(
            "select exists (select from pg_trigger where tgrelid = $1::regclass and not tgisinternal and tgenabled = 'O')",
        )
        .bind(table.to.quoted())
        .fetch_one(&mut *connection)
        .await?;
        if there {
            findings.push(Finding::new(
                &table.place,
                format!("`{}` has triggers that would change the rows as they come", table.to),
                "GRANT SET ON PARAMETER session_replication_role to this role, or disable them meanwhile",
            ));
        }
    }
    Ok(findings)
}

async fn copied_at(connection: &mut PgConnection, slice: &str, flow: &Flow) -> sqlx::Result<Vec<Lsn>> {
    let points = copy::points(connection, slice).await?;
    let point = |name: String| points.get(&name).and_then(|text| text.parse().ok()).unwrap_or_default();
    Ok(flow.tables.iter().map(|table| point(table.to.quoted())).collect())
}

fn changed_shape(tables: &[String]) -> String {
    format!(
        "{} changed since the stream began. Nothing of the new shape has been applied. Change the other side and the \
         mapping accordingly, then go on with --accept-ddl",
        tables.join(", ")
    )
}

/// An error with its causes.
struct Chain<'a>(&'a StreamError);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(source) = cause {
            write!(f, ": {source}")?;
            cause = source.source();
        }
        Ok(())
    }
}
