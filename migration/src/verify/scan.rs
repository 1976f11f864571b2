//! Reads the digests of one part on both sides at once.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::task::JoinSet;

use super::{
    Settings, VerifyError,
    digest::{Digest, Pages, Side},
    part::{Part, pieces},
};
use crate::{
    copy::{ExportedSnapshot, Throttle, begin_reading},
    identifier::Identifier,
    slice::{SlicePlan, session_settings},
};

/// Rows of a part that are held at once when its buckets are looked into.
const HELD_ROWS: u64 = 100_000;

/// Count and sum of the digests of a bucket's rows. A sum, so that the order does not matter and
/// two equal changes do not cancel each other out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) rows: u64,
    sum: i128,
}

/// Buckets by their number.
pub(super) type Buckets = BTreeMap<i32, Bucket>;

/// A connection to each side.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) source: PgConnection,
    pub(super) target: PgConnection,
}

impl Pair {
    pub(super) async fn open(source: &PgPool, target: &PgPool, plan: &SlicePlan) -> sqlx::Result<Self> {
        let (there, here) = (source.connect_options(), target.connect_options());
        let (source, target) =
            tokio::try_join!(session(&there, &plan.source_schema), session(&here, &plan.target_schema))?;
        Ok(Self { source, target })
    }

    pub(super) fn side(&mut self, side: Side) -> &mut PgConnection {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }
}

pub(super) async fn session(options: &PgConnectOptions, schema: &Identifier) -> sqlx::Result<PgConnection> {
    let mut connection = options.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(session_settings(schema))).execute(&mut connection).await?;
    Ok(connection)
}

/// The buckets of a part on both sides, in one statement on each.
pub(super) async fn buckets(
    pair: &mut Pair,
    digest: &Digest<'_>,
    part: &Part,
    throttle: &Throttle,
) -> sqlx::Result<(Buckets, Buckets)> {
    let there = digest.of_buckets(Side::Source, &part.scope(Side::Source, None), part.mask());
    let here = digest.of_buckets(Side::Target, &part.scope(Side::Target, None), part.mask());
    let read =
        async { tokio::try_join!(read(&mut pair.source, there, throttle), read(&mut pair.target, here, throttle)) };
    read.await
}

/// All rows of a part as one bucket, on both sides: without dividing them it takes a third less.
pub(super) async fn totals(
    pair: &mut Pair,
    digest: &Digest<'_>,
    part: &Part,
    throttle: &Throttle,
) -> sqlx::Result<(Buckets, Buckets)> {
    let there = digest.of_all(Side::Source, &part.scope(Side::Source, None));
    let here = digest.of_all(Side::Target, &part.scope(Side::Target, None));
    tokio::try_join!(total(&mut pair.source, there, throttle), total(&mut pair.target, here, throttle))
}

async fn total(connection: &mut PgConnection, sql: String, throttle: &Throttle) -> sqlx::Result<Buckets> {
    let (rows, sum): (i64, Option<String>) =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_one(connection).await?;
    let sum = sum.as_deref().unwrap_or("0").parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    let rows = u64::try_from(rows).unwrap_or(0);
    throttle.pass(usize::try_from(rows).unwrap_or(usize::MAX)).await;
    Ok(Buckets::from([(0, Bucket { rows, sum })]))
}

async fn read(connection: &mut PgConnection, sql: String, throttle: &Throttle) -> sqlx::Result<Buckets> {
    let rows: Vec<(i32, i64, String)> =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await?;
    let mut buckets = Buckets::new();
    let mut count = 0_usize;
    for (bucket, rows, sum) in rows {
        let sum = sum.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        count = count.saturating_add(usize::try_from(rows).unwrap_or(0));
        buckets.insert(bucket, Bucket { rows: u64::try_from(rows).unwrap_or(0), sum });
    }
    throttle.pass(count).await;
    Ok(buckets)
}

/// The buckets of a part that is read page after page, by several connections that see each side as
/// it was at one point.
pub(super) async fn buckets_by_pages(
    source: &PgPool,
    target: &PgPool,
    plan: &SlicePlan,
    digest: &Digest<'_>,
    part: &Part,
    settings: &Settings,
    throttle: &Arc<Throttle>,
) -> Result<(Buckets, Buckets), VerifyError> {
    let there = by_pages(source, plan, digest, part, Side::Source, settings, throttle);
    let here = by_pages(target, plan, digest, part, Side::Target, settings, throttle);
    tokio::try_join!(there, here)
}

async fn by_pages(
    pool: &PgPool,
    plan: &SlicePlan,
    digest: &Digest<'_>,
    part: &Part,
    side: Side,
    settings: &Settings,
    throttle: &Arc<Throttle>,
) -> Result<Buckets, VerifyError> {
    let failed = |source| VerifyError::Table { table: digest.table.target.to_string(), source };
    let held = ExportedSnapshot::take(pool).await.map_err(VerifyError::Snapshot)?;
    let options = pool.connect_options();
    let name = if side == Side::Source { &digest.table.source } else { &digest.table.target };
    let mut first = session(&options, side.schema(plan)).await.map_err(failed)?;
    let pieces = pieces(&mut first, name, settings.part_bytes).await.map_err(failed)?;
    drop(first);
    let statement = |pages: Pages| digest.of_buckets(side, &part.scope(side, Some(pages)), part.mask());
    let statements: VecDeque<String> = pieces.into_iter().map(statement).collect();
    let readers = settings.readers.max(1).min(statements.len());
    let left = Arc::new(Mutex::new(statements));
    let mut running = JoinSet::new();
    for _ in 0..readers {
        let reader = Reader {
            options: options.as_ref().clone(),
            schema: side.schema(plan).clone(),
            snapshot: held.snapshot().id.clone(),
            left: Arc::clone(&left),
            throttle: Arc::clone(throttle),
        };
        running.spawn(reader.run());
    }
    let mut all = Buckets::new();
    while let Some(ended) = running.join_next().await {
        for (number, found) in ended.map_err(VerifyError::Reader)?.map_err(failed)? {
            let bucket = all.entry(number).or_default();
            bucket.rows += found.rows;
            bucket.sum += found.sum;
        }
    }
    held.release().await.map_err(VerifyError::Snapshot)?;
    Ok(all)
}

struct Reader {
    options: PgConnectOptions,
    schema: Identifier,
    snapshot: String,
    left: Arc<Mutex<VecDeque<String>>>,
    throttle: Arc<Throttle>,
}

impl Reader {
    async fn run(self) -> sqlx::Result<Buckets> {
        let mut connection = session(&self.options, &self.schema).await?;
        sqlx::raw_sql(begin_reading(&self.snapshot)).execute(&mut connection).await?;
        let mut all = Buckets::new();
        loop {
            let next = self.left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(statement) = next else { return Ok(all) };
            for (number, found) in read(&mut connection, statement, &self.throttle).await? {
                let bucket = all.entry(number).or_default();
                bucket.rows += found.rows;
                bucket.sum += found.sum;
            }
        }
    }
}

/// Whether so many rows are in buckets which are not the same that few of them can be on their way.
pub(super) fn mostly_differ(there: &Buckets, here: &Buckets) -> bool {
    let all: u64 = here.values().map(|bucket| bucket.rows).sum();
    let same = here.iter().filter(|(number, bucket)| there.get(number) == Some(bucket));
    let same: u64 = same.map(|(_, bucket)| bucket.rows).sum();
    all - same > all / 8
}

/// The buckets that are not the same, in groups of which the rows can be held.
pub(super) fn differing(there: &Buckets, here: &Buckets) -> Vec<Vec<i32>> {
    let numbers: BTreeSet<i32> = there.keys().chain(here.keys()).copied().collect();
    let mut groups: Vec<Vec<i32>> = Vec::new();
    let mut held = 0;
    for number in numbers.into_iter().filter(|number| there.get(number) != here.get(number)) {
        let rows = |side: &Buckets| side.get(&number).map_or(0, |bucket| bucket.rows);
        let rows = rows(there).max(rows(here));
        match groups.last_mut() {
            Some(group) if held + rows <= HELD_ROWS => {
                group.push(number);
                held += rows;
            }
            _ => {
                groups.push(vec![number]);
                held = rows;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_that_differ_are_taken_in_groups_that_can_be_held() {
        let bucket = |rows, sum| Bucket { rows, sum };
        let there: Buckets =
            [(1, bucket(60_000, 1)), (2, bucket(60_000, 1)), (3, bucket(1, 1)), (4, bucket(5, 5))].into();
        let here: Buckets = [(1, bucket(60_000, 2)), (3, bucket(2, 2)), (4, bucket(5, 5)), (5, bucket(1, 0))].into();
        assert_eq!(differing(&there, &here), [vec![1], vec![2, 3, 5]]);
        assert_eq!(differing(&here, &here), Vec::<Vec<i32>>::new());
    }
}
