//! Takes the changes as they come, and brings them into the database in groups.

use std::{
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use sqlx::PgConnection;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use xxhash_rust::xxh3::Xxh3;

use super::{
    change::Change,
    flow::Flow,
    hold::{HeldRows, Hold, Refusal, as_it_is},
    writer::{Fetcher, Item, Writer},
};
use crate::{
    lsn::Lsn,
    stream::{Direction, StreamError},
};

/// What the decoded stream consists of.
#[derive(Debug)]
pub(crate) enum Event {
    /// Part of the transaction that is under way.
    Item(Item),
    /// Its end.
    Commit(Position),
    /// Nothing is under way, and everything before this position has been sent.
    Idle(Lsn),
    /// What comes next must not be applied.
    Stop(String),
}

/// Where a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) lsn: Lsn,
    /// Microseconds since 2000-01-01, by the clock over there; none where the server does not say.
    pub(crate) committed_at: Option<i64>,
}

/// How much is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// A group ends when it has so many changes, or bytes, and a transaction ends with them.
    pub(crate) group_changes: usize,
    pub(crate) group_bytes: usize,
    /// Fewer changes than this are not worth dividing among lanes.
    pub(crate) lane_changes: usize,
}

/// How often the quarantine is asked whether somebody wants something of it.
const REQUESTS: Duration = Duration::from_millis(500);

/// A position without changes is not worth a transaction more often than this.
const IDLE: Duration = Duration::from_secs(1);

/// Writes a stream into a database.
pub(crate) struct Applier {
    pub(crate) flow: Arc<Flow>,
    pub(crate) slice: String,
    pub(crate) direction: Direction,
    pub(crate) limits: Limits,
    pub(crate) hold: Hold,
    /// Whether a table may be emptied because the one over there was: not where this side has rows
    /// of its own.
    pub(crate) may_truncate: bool,
    pub(crate) fetcher: Fetcher,
    /// At least one. The first also writes what one alone must write.
    pub(crate) writers: Vec<Writer>,
    /// How far each lane is.
    pub(crate) lanes: Vec<Lsn>,
    /// For each table, the point that its rows were copied at where it is exactly known: what
    /// committed before is in them.
    pub(crate) copied_at: Vec<Lsn>,
    pub(crate) held: HeldRows,
    /// The durable position, for whoever confirms it.
    pub(crate) applied: watch::Sender<Lsn>,
}

/// Transactions that are complete, and the beginning of one that is not.
#[derive(Default)]
struct Group {
    items: Vec<Item>,
    /// How many of the items belong to transactions that have ended.
    complete: usize,
    position: Option<Position>,
    transactions: u64,
    bytes: usize,
}

impl Group {
    fn push(&mut self, item: Item) {
        self.bytes += match &item {
            Item::Change(change) => change.size(),
            Item::Truncate { .. } => 64,
        };
        self.items.push(item);
    }

    fn commit(&mut self, position: Position) {
        self.complete = self.items.len();
        let before = self.position.and_then(|position| position.committed_at);
        self.position = Some(Position { committed_at: position.committed_at.or(before), ..position });
        self.transactions += 1;
    }

    fn is_full(&self, limits: Limits) -> bool {
        self.items.len() >= limits.group_changes || self.bytes >= limits.group_bytes
    }

    /// Takes the transactions that have ended.
    fn take(&mut self) -> Option<(Vec<Item>, Position, u64)> {
        let position = self.position.take()?;
        let rest = self.items.split_off(self.complete);
        let items = std::mem::replace(&mut self.items, rest);
        let transactions = std::mem::take(&mut self.transactions);
        self.complete = 0;
        self.bytes =
            self.items.iter().map(|item| if let Item::Change(change) = item { change.size() } else { 64 }).sum();
        Some((items, position, transactions))
    }
}

impl Applier {
    /// Applies until the stream ends, which is when its sender is gone. Whole transactions that have
    /// arrived by then are applied.
    pub(crate) async fn run(&mut self, mut events: mpsc::Receiver<Vec<Event>>) -> Result<(), StreamError> {
        let mut group = Group::default();
        let mut requests = interval(REQUESTS);
        requests.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_idle = Instant::now() - IDLE;
        loop {
            let mut arrived = tokio::select! {
                arrived = events.recv() => match arrived {
                    Some(arrived) => arrived,
                    None => return Ok(()),
                },
                _ = requests.tick() => {
                    self.answer_requests().await?;
                    continue;
                }
            };
            let mut idle = None;
            let mut stop = None;
            loop {
                for event in arrived {
                    match event {
                        Event::Item(item) => group.push(item),
                        Event::Commit(position) => group.commit(position),
                        Event::Idle(lsn) => idle = Some(lsn),
                        Event::Stop(reason) => stop = Some(reason),
                    }
                }
                if group.is_full(self.limits) || stop.is_some() {
                    break;
                }
                match events.try_recv() {
                    Ok(more) => arrived = more,
                    Err(_nothing_more_yet) => break,
                }
            }
            if let Some((items, position, transactions)) = group.take() {
                self.apply(items, position, transactions).await?;
            }
            if let Some(reason) = stop {
                return Err(StreamError::Stopped { slice: self.slice.clone(), reason });
            }
            if group.is_full(self.limits) {
                self.large(&mut group, &mut events).await?;
            } else if let Some(lsn) = idle.filter(|_| group.items.is_empty())
                && lsn > self.applied_lsn()
                && last_idle.elapsed() >= IDLE
            {
                last_idle = Instant::now();
                self.note_idle(lsn).await?;
            }
        }
    }

    /// Everything before it is applied by every lane.
    pub(crate) fn applied_lsn(&self) -> Lsn {
        self.lanes.iter().copied().min().unwrap_or_default()
    }

    /// The lane that a change belongs to; none when it is between two.
    fn lane(&self, change: &Change) -> Option<usize> {
        if self.lanes.len() == 1 {
            return Some(0);
        }
        let table = &self.flow.tables[change.table];
        if table.key.is_empty() {
            return Some(0);
        }
        let lane = |key: &super::change::Key| {
            let mut hasher = Xxh3::new();
            table.to.quoted().hash(&mut hasher);
            for value in key {
                hasher.write(value.as_text().unwrap_or_default().as_bytes());
                hasher.write_u8(0);
            }
            usize::try_from(hasher.finish() % self.lanes.len() as u64).unwrap_or(0)
        };
        match change.keys(table) {
            (Some(before), Some(after)) => (lane(&before) == lane(&after)).then(|| lane(&before)),
            (Some(key), None) | (None, Some(key)) => Some(lane(&key)),
            (None, None) => Some(0),
        }
    }

    /// Whether an item has been applied already, by its lane or by the copy.
    fn is_done(&self, item: &Item) -> bool {
        match item {
            Item::Change(change) => {
                let applied = match self.lane(change) {
                    Some(lane) => self.lanes[lane],
                    // Only written when all lanes move together.
                    None => self.applied_lsn(),
                };
                change.commit_lsn < applied || change.commit_lsn < self.copied_at[change.table]
            }
            Item::Truncate { tables, commit_lsn } => tables.iter().all(|table| *commit_lsn < self.copied_at[*table]),
        }
    }

    async fn apply(&mut self, items: Vec<Item>, position: Position, transactions: u64) -> Result<(), StreamError> {
        if position.lsn <= self.applied_lsn() {
            return Ok(());
        }
        let items: Vec<Item> = items.into_iter().filter(|item| !self.is_done(item)).collect();
        let alone = self.lanes.len() == 1
            || items.len() < self.limits.lane_changes
            || !self.held.is_empty()
            || items.iter().any(|item| {
                !matches!(item, Item::Change(change)
                if self.lane(change).is_some() && !self.flow.tables[change.table].key.is_empty())
            });
        if alone {
            self.alone(&items, position, transactions).await
        } else {
            self.divided(items, position, transactions).await
        }
    }

    /// One transaction for all, and all lanes are where it ends.
    async fn alone(&mut self, items: &[Item], position: Position, transactions: u64) -> Result<(), StreamError> {
        self.begin().await?;
        self.piece(items).await?;
        self.commit(position, transactions, items.len()).await
    }

    async fn begin(&mut self) -> Result<(), StreamError> {
        self.writers[0].execute("BEGIN").await.map_err(writing())
    }

    /// Writes a part of the transaction that is open. When the database refuses, change by change.
    async fn piece(&mut self, items: &[Item]) -> Result<(), StreamError> {
        if items.is_empty() {
            return Ok(());
        }
        let kept = !self.may_truncate && items.iter().any(|item| matches!(item, Item::Truncate { .. }));
        if self.held.is_empty() && !kept {
            let writer = &mut self.writers[0];
            writer.execute("SAVEPOINT piece").await.map_err(writing())?;
            match writer.write(&self.flow, items.iter(), &self.fetcher).await {
                Ok(()) => return writer.execute("RELEASE SAVEPOINT piece").await.map_err(writing()),
                Err(error) if refusal(&error).is_some() => {
                    writer.execute("ROLLBACK TO SAVEPOINT piece").await.map_err(writing())?;
                }
                Err(error) => return Err(writing()(error)),
            }
        }
        for item in items {
            self.single(item).await?;
        }
        Ok(())
    }

    /// Writes one change as if there were no others; into quarantine with what is refused.
    async fn single(&mut self, item: &Item) -> Result<(), StreamError> {
        let writer = &mut self.writers[0];
        let Item::Change(change) = item else {
            if let Item::Truncate { tables, commit_lsn } = item
                && !self.may_truncate
            {
                for table in tables {
                    let (connection, table) = (&mut writer.connection, &self.flow.tables[*table]);
                    self.hold.put_truncate(connection, table, *commit_lsn).await.map_err(writing())?;
                }
                return Ok(());
            }
            return writer.write(&self.flow, std::iter::once(item), &self.fetcher).await.map_err(writing());
        };
        let (before, after) = change.keys(&self.flow.tables[change.table]);
        let keys: Vec<_> = before.into_iter().chain(after).map(|key| (change.table, key)).collect();
        if keys.iter().any(|key| self.held.contains(key)) {
            self.hold.put(&mut writer.connection, &self.flow, change, None).await.map_err(writing())?;
            self.held.extend(keys);
            return Ok(());
        }
        writer.execute("SAVEPOINT single").await.map_err(writing())?;
        match writer.write(&self.flow, std::iter::once(item), &self.fetcher).await {
            Ok(()) => writer.execute("RELEASE SAVEPOINT single").await.map_err(writing()),
            Err(error) => {
                let Some(refused) = refusal(&error) else { return Err(writing()(error)) };
                writer.execute("ROLLBACK TO SAVEPOINT single").await.map_err(writing())?;
                self.hold.put(&mut writer.connection, &self.flow, change, Some(&refused)).await.map_err(writing())?;
                tracing::warn!(
                    slice = self.slice, direction = %self.direction, table = %self.flow.tables[change.table].to,
                    sqlstate = refused.sqlstate, reason = refused.reason, lsn = %change.commit_lsn,
                    "a change went to quarantine"
                );
                self.held.extend(keys);
                Ok(())
            }
        }
    }

    async fn commit(&mut self, position: Position, transactions: u64, changes: usize) -> Result<(), StreamError> {
        let connection = &mut self.writers[0].connection;
        note(connection, &self.slice, self.direction, None, position, transactions, changes).await.map_err(writing())?;
        crate::failpoint::hit("apply.before_commit");
        self.writers[0].execute("COMMIT").await.map_err(writing())?;
        crate::failpoint::hit("apply.after_commit");
        for lane in &mut self.lanes {
            *lane = position.lsn.max(*lane);
        }
        self.applied.send_replace(self.applied_lsn());
        Ok(())
    }

    /// Each lane writes what is its own, in a transaction with its position.
    async fn divided(&mut self, items: Vec<Item>, position: Position, transactions: u64) -> Result<(), StreamError> {
        let mut parts: Vec<Vec<(usize, Item)>> = self.lanes.iter().map(|_| Vec::new()).collect();
        for (place, item) in items.into_iter().enumerate() {
            let lane = match &item {
                Item::Change(change) => self.lane(change).unwrap_or(0),
                Item::Truncate { .. } => 0,
            };
            parts[lane].push((place, item));
        }
        let (flow, fetcher, slice, direction) = (&self.flow, &self.fetcher, &self.slice, self.direction);
        let lanes = self.writers.iter_mut().zip(&parts).enumerate();
        let written = join_all(lanes.map(|(number, (writer, part))| async move {
            writer.execute("BEGIN").await?;
            let work = async {
                writer.write(flow, part.iter().map(|(_, item)| item), fetcher).await?;
                let number = i32::try_from(number).unwrap_or(0);
                note(&mut writer.connection, slice, direction, Some(number), position, transactions, part.len()).await
            };
            match work.await {
                Ok(()) => {
                    crate::failpoint::hit("apply.before_lane_commit");
                    writer.execute("COMMIT").await
                }
                Err(error) => {
                    if refusal(&error).is_some() {
                        writer.execute("ROLLBACK").await?;
                    }
                    Err(error)
                }
            }
        }))
        .await;
        let mut refused = Vec::new();
        for (lane, written) in written.into_iter().enumerate() {
            match written {
                Ok(()) => self.lanes[lane] = position.lsn,
                Err(error) if refusal(&error).is_some() => refused.append(&mut parts[lane]),
                Err(error) => return Err(writing()(error)),
            }
        }
        if refused.is_empty() && self.applied_lsn() == position.lsn {
            self.applied.send_replace(position.lsn);
            return Ok(());
        }
        // What one lane could not write may only have been too early for another one.
        refused.sort_by_key(|(place, _)| *place);
        let refused: Vec<Item> = refused.into_iter().map(|(_, item)| item).collect();
        self.alone(&refused, position, 0).await
    }

    /// A transaction that does not fit into a group: written as it comes, committed at its end.
    async fn large(&mut self, group: &mut Group, events: &mut mpsc::Receiver<Vec<Event>>) -> Result<(), StreamError> {
        self.begin().await?;
        let mut changes = 0;
        let mut later: Vec<Event> = Vec::new();
        loop {
            let items: Vec<Item> =
                std::mem::take(&mut group.items).into_iter().filter(|item| !self.is_done(item)).collect();
            changes += items.len();
            self.piece(&items).await?;
            *group = Group::default();
            let mut ended = None;
            while ended.is_none() && !group.is_full(self.limits) {
                let Some(arrived) = events.recv().await else { return Ok(()) };
                let mut arrived = arrived.into_iter();
                for event in arrived.by_ref() {
                    match event {
                        Event::Item(item) => group.push(item),
                        Event::Commit(position) => {
                            ended = Some(position);
                            break;
                        }
                        Event::Idle(_) => {}
                        Event::Stop(reason) => {
                            return Err(StreamError::Stopped { slice: self.slice.clone(), reason });
                        }
                    }
                }
                later.extend(arrived);
            }
            if let Some(position) = ended {
                let items: Vec<Item> =
                    std::mem::take(&mut group.items).into_iter().filter(|item| !self.is_done(item)).collect();
                self.piece(&items).await?;
                self.commit(position, 1, changes + items.len()).await?;
                break;
            }
        }
        *group = Group::default();
        for event in later {
            match event {
                Event::Item(item) => group.push(item),
                Event::Commit(position) => group.commit(position),
                Event::Idle(_) => {}
                Event::Stop(reason) => return Err(StreamError::Stopped { slice: self.slice.clone(), reason }),
            }
        }
        if let Some((items, position, transactions)) = group.take() {
            self.apply(items, position, transactions).await?;
        }
        Ok(())
    }

    async fn note_idle(&mut self, lsn: Lsn) -> Result<(), StreamError> {
        let connection = &mut self.writers[0].connection;
        sqlx::query(
            "update strangler.stream_lane set applied_lsn = greatest(applied_lsn, $3::pg_lsn) where slice = $1 and direction = $2",
        )
        .bind(&self.slice)
        .bind(self.direction.as_str())
        .bind(lsn.to_string())
        .execute(connection)
        .await
        .map_err(writing())?;
        for lane in &mut self.lanes {
            *lane = lsn.max(*lane);
        }
        self.applied.send_replace(self.applied_lsn());
        Ok(())
    }

    /// Does what an operator has asked for about changes in quarantine.
    async fn answer_requests(&mut self) -> Result<(), StreamError> {
        let mut done: HashSet<(usize, super::change::Key)> = HashSet::new();
        loop {
            let asked = self.hold.asked(&mut self.writers[0].connection, &self.flow).await.map_err(writing())?;
            let Some((table, key)) = asked else { break };
            if !done.insert((table, key.clone())) {
                break;
            }
            self.writers[0].execute("BEGIN").await.map_err(writing())?;
            self.try_row(table, &key).await?;
            self.writers[0].execute("COMMIT").await.map_err(writing())?;
        }
        if !done.is_empty() {
            self.held = self.hold.rows(&mut self.writers[0].connection, &self.flow).await.map_err(writing())?;
        }
        Ok(())
    }

    /// Everything that is held of one row, in its order, until something is refused.
    async fn try_row(&mut self, table: usize, key: &super::change::Key) -> Result<(), StreamError> {
        let rows = self.hold.of_row(&mut self.writers[0].connection, &self.flow, table, key).await.map_err(writing())?;
        let ids: Vec<i64> = rows.iter().map(|held| held.id).collect();
        for held in rows {
            if held.asked.as_deref() != Some("skip") {
                let change = match held.change {
                    Some(change) => change,
                    None => {
                        let flow_table = &self.flow.tables[table];
                        let keys = [held.key.clone()];
                        let found = self.fetcher.rows(flow_table, &keys).await.map_err(writing())?.remove(&0);
                        as_it_is(table, flow_table, &held.key, found, Lsn::default())
                    }
                };
                let writer = &mut self.writers[0];
                writer.execute("SAVEPOINT held").await.map_err(writing())?;
                let item = if held.is_truncate {
                    Item::Truncate { tables: vec![table], commit_lsn: Lsn::default() }
                } else {
                    Item::Change(change)
                };
                if let Err(error) = writer.write(&self.flow, std::iter::once(&item), &self.fetcher).await {
                    let Some(refused) = refusal(&error) else { return Err(writing()(error)) };
                    writer.execute("ROLLBACK TO SAVEPOINT held").await.map_err(writing())?;
                    self.hold.refused_again(&mut writer.connection, held.id, &refused).await.map_err(writing())?;
                    break;
                }
            }
            self.hold.remove(&mut self.writers[0].connection, held.id).await.map_err(writing())?;
        }
        self.hold.answered(&mut self.writers[0].connection, &ids).await.map_err(writing())
    }
}

fn writing() -> impl FnOnce(sqlx::Error) -> StreamError {
    StreamError::database("write changes")
}

/// What a database refuses because of the row: values, constraints, what a trigger raises. Nothing
/// else of what can fail gets better or worse by leaving a row out.
fn refusal(error: &sqlx::Error) -> Option<Refusal> {
    let database = error.as_database_error()?;
    let sqlstate = database.code()?.into_owned();
    let of_the_row =
        ["21", "22", "23", "38", "39", "44", "54", "P0", "2F"].iter().any(|class| sqlstate.starts_with(class))
            || matches!(sqlstate.as_str(), "428C9" | "42846" | "42804");
    of_the_row.then(|| Refusal { sqlstate, reason: database.message().to_owned() })
}

/// Notes the position in the transaction that is open; of one lane, or of all.
async fn note(
    connection: &mut PgConnection,
    slice: &str,
    direction: Direction,
    lane: Option<i32>,
    position: Position,
    transactions: u64,
    changes: usize,
) -> sqlx::Result<()> {
    sqlx::query(
        "update strangler.stream_lane set applied_lsn = greatest(applied_lsn, $3::pg_lsn), \
             committed_at = coalesce(timestamptz '2000-01-01 00:00:00+00' + $4 * interval '1 microsecond', committed_at), \
             applied_at = case when $4 is null then applied_at else clock_timestamp() end, \
             transactions = transactions + $5, \
             changes = changes + case when lane = coalesce($7, 0) then $6 else 0 end \
         where slice = $1 and direction = $2 and lane = coalesce($7, lane)",
    )
    .bind(slice)
    .bind(direction.as_str())
    .bind(position.lsn.to_string())
    .bind(position.committed_at)
    .bind(i64::try_from(transactions).unwrap_or(0))
    .bind(i64::try_from(changes).unwrap_or(0))
    .bind(lane)
    .execute(connection)
    .await
    .map(drop)
}
