//! How far a round is and what it has found: in the target database, or in memory only.

use sqlx::{Connection, PgConnection, PgPool, types::Json};

use super::{Difference, Kind, Latest, Outcome, VerifyError, part::Part};
use crate::{
    books,
    slice::{KeyRange, TablePlan},
};

/// One round over a slice.
#[derive(Debug)]
pub(super) struct Ledger {
    slice: String,
    /// None when nothing is to be remembered.
    keeper: Option<PgConnection>,
    pub(super) seed: i64,
}

impl Ledger {
    /// For a round that is not remembered.
    pub(super) fn forgetful(slice: &str, seed: i64) -> Self {
        Self { slice: slice.to_owned(), keeper: None, seed }
    }

    /// Goes on with the round that was begun under the same plan, or begins one. Only one at a time
    /// does, for as long as the connection lives.
    pub(super) async fn open(
        mut keeper: PgConnection,
        slice: &str,
        plan: &str,
        seed: i64,
    ) -> Result<Self, VerifyError> {
        let failed = VerifyError::database("keep the books of the comparison");
        let work = async {
            books::ensure(&mut keeper, "strangler.verify_outcome", include_str!("ledger.sql")).await?;
            let free: bool =
                sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended('strangler verify ' || $1, 0))")
                    .bind(slice)
                    .fetch_one(&mut keeper)
                    .await?;
            if !free {
                return Ok(None);
            }
            sqlx::query("delete from strangler.verify_round where slice = $1 and plan <> $2")
                .bind(slice)
                .bind(plan)
                .execute(&mut keeper)
                .await?;
            let seed: i64 = sqlx::query_scalar(
                "insert into strangler.verify_round (slice, plan, seed) values ($1, $2, $3) \
                 on conflict (slice) do update set plan = excluded.plan returning seed",
            )
            .bind(slice)
            .bind(plan)
            .bind(seed)
            .fetch_one(&mut keeper)
            .await?;
            sqlx::Result::Ok(Some(seed))
        };
        match work.await.map_err(failed)? {
            Some(seed) => Ok(Self { slice: slice.to_owned(), keeper: Some(keeper), seed }),
            None => Err(VerifyError::Busy),
        }
    }

    /// The parts of a table, with the rows of those that are done; none when it is not divided.
    pub(super) async fn parts(&mut self, table: &TablePlan) -> sqlx::Result<Vec<(Part, Option<u64>)>> {
        type Keys = Option<Vec<String>>;
        type Row = (i32, Keys, Keys, Keys, Keys, Option<i64>, Option<i64>, i64, bool, Option<i64>);
        let Some(keeper) = &mut self.keeper else { return Ok(Vec::new()) };
        let rows: Vec<Row> = sqlx::query_as(
            "select part, source_after, source_upto, target_after, target_upto, share, shares, buckets, by_pages, \
             row_count from strangler.verify_part where slice = $1 and table_name = $2 order by part",
        )
        .bind(&self.slice)
        .bind(table.target.quoted())
        .fetch_all(keeper)
        .await?;
        let part = |(
            number,
            source_after,
            source_upto,
            target_after,
            target_upto,
            share,
            shares,
            buckets,
            by_pages,
            rows,
        ): Row| {
            let part = Part {
                number,
                source: KeyRange { after: source_after, upto: source_upto },
                target: KeyRange { after: target_after, upto: target_upto },
                share: share.zip(shares),
                buckets,
                by_pages,
            };
            (part, rows.map(|rows| u64::try_from(rows).unwrap_or(0)))
        };
        Ok(rows.into_iter().map(part).collect())
    }

    /// Remembers how a table is divided, all of it or nothing.
    pub(super) async fn divide(&mut self, table: &TablePlan, parts: &[Part]) -> sqlx::Result<()> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        let mut transaction = keeper.begin().await?;
        for part in parts {
            sqlx::query(
                "insert into strangler.verify_part (slice, table_name, part, source_after, source_upto, target_after, \
                 target_upto, share, shares, buckets, by_pages) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            )
            .bind(&self.slice)
            .bind(table.target.quoted())
            .bind(part.number)
            .bind(&part.source.after)
            .bind(&part.source.upto)
            .bind(&part.target.after)
            .bind(&part.target.upto)
            .bind(part.share.map(|(share, _)| share))
            .bind(part.share.map(|(_, shares)| shares))
            .bind(part.buckets)
            .bind(part.by_pages)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
    }

    /// A part is done, and this was found in it.
    pub(super) async fn done(
        &mut self,
        table: &TablePlan,
        part: &Part,
        rows: u64,
        found: &[Difference],
    ) -> sqlx::Result<()> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        let mut transaction = keeper.begin().await?;
        for difference in found {
            let columns = if let Kind::Columns(columns) = &difference.kind { columns.as_slice() } else { &[] };
            sqlx::query(
                "insert into strangler.verify_difference (slice, table_name, row_key, kind, columns) \
                 values ($1, $2, $3, $4, $5) on conflict (slice, table_name, row_key) do nothing",
            )
            .bind(&self.slice)
            .bind(&difference.table)
            .bind(&difference.key)
            .bind(difference.kind.name())
            .bind(columns)
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query(
            "update strangler.verify_part set done_at = now(), row_count = $4 \
             where slice = $1 and table_name = $2 and part = $3",
        )
        .bind(&self.slice)
        .bind(table.target.quoted())
        .bind(part.number)
        .bind(i64::try_from(rows).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    /// What the round has found so far.
    pub(super) async fn found(&mut self) -> sqlx::Result<Vec<Difference>> {
        let Some(keeper) = &mut self.keeper else { return Ok(Vec::new()) };
        let rows: Vec<(String, String, Json<Kind>)> = sqlx::query_as(
            "select table_name, row_key, case when kind = 'columns' then jsonb_build_object('columns', columns) \
             else to_jsonb(kind) end from strangler.verify_difference where slice = $1 order by table_name, row_key",
        )
        .bind(&self.slice)
        .fetch_all(keeper)
        .await?;
        Ok(rows.into_iter().map(|(table, key, Json(kind))| Difference { table, key, kind }).collect())
    }

    /// The round is over: what it has found stays, and the next one begins anew.
    pub(super) async fn close(mut self, outcome: &Outcome) -> sqlx::Result<()> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let mut transaction = keeper.begin().await?;
        sqlx::query(
            "insert into strangler.verify_outcome (slice, row_count, differences, unsettled) values ($1, $2, $3, $4) \
             on conflict (slice) do update set ended_at = now(), row_count = excluded.row_count, \
             differences = excluded.differences, unsettled = excluded.unsettled",
        )
        .bind(&self.slice)
        .bind(i64::try_from(outcome.rows).unwrap_or(i64::MAX))
        .bind(count(outcome.differences.len()))
        .bind(count(outcome.unsettled.len()))
        .execute(&mut *transaction)
        .await?;
        sqlx::query("delete from strangler.verify_round where slice = $1")
            .bind(&self.slice)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }
}

/// What the latest round that ended has found; none before the first.
pub(super) async fn latest(pool: &PgPool, slice: &str) -> sqlx::Result<Option<Latest>> {
    let there: bool =
        sqlx::query_scalar("select to_regclass('strangler.verify_outcome') is not null").fetch_one(pool).await?;
    if !there {
        return Ok(None);
    }
    let found: Option<(i64, i64, i64, i64)> = sqlx::query_as(
        "select row_count, differences, unsettled, \
         greatest(0, extract(epoch from now() - ended_at))::bigint from strangler.verify_outcome where slice = $1",
    )
    .bind(slice)
    .fetch_optional(pool)
    .await?;
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(found.map(|(rows, differences, unsettled, seconds)| Latest {
        rows: count(rows),
        differences: count(differences),
        unsettled: count(unsettled),
        seconds_ago: count(seconds),
    }))
}

/// Forgets an unfinished round.
pub(super) async fn forget(keeper: &mut PgConnection, slice: &str) -> sqlx::Result<()> {
    books::ensure(keeper, "strangler.verify_outcome", include_str!("ledger.sql")).await?;
    sqlx::query("delete from strangler.verify_round where slice = $1").bind(slice).execute(keeper).await.map(drop)
}
