//! The newest rows once more, while nobody writes: what the stream brought last is what nobody has compared.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    slice::SlicePlan,
    verify::{Digest, Side, shown},
};

/// The newest rows of each table of a slice, of those that have any: a table without a key has no newest rows, and is
/// left to the comparison before.
#[derive(Debug)]
pub(super) struct Tail<'a> {
    tables: Vec<Digest<'a>>,
    rows: u32,
}

/// Rows of one table by the candidate's key.
pub(super) type Rows = BTreeMap<Vec<String>, Row>;

/// What is known of a row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The monolith's key.
    source_key: Vec<String>,
    /// Of each column.
    digests: Vec<i64>,
}

/// A table's place, a row's keys as [`Rows`] and [`Row`] have them, and its digests.
type Found = (i32, Vec<String>, Vec<String>, Vec<i64>);

impl<'a> Tail<'a> {
    pub(super) fn of(plan: &'a SlicePlan, rows: u32) -> Self {
        let tables = plan.tables.iter().filter(|table| rows > 0 && !table.identity.is_empty());
        Self { tables: tables.map(|table| Digest::new(table, 0)).collect(), rows }
    }

    /// The newest rows by key, of each table in its place.
    pub(super) async fn newest(&self, connection: &mut PgConnection, side: Side) -> sqlx::Result<Vec<Rows>> {
        let mut newest = vec![Rows::new(); self.tables.len()];
        if newest.is_empty() {
            return Ok(newest);
        }
        let tables = self.tables.iter().enumerate();
        let tables = tables.map(|(place, digest)| format!("({})", digest.of_newest(side, place, self.rows)));
        let sql = tables.collect::<Vec<_>>().join(" UNION ALL ");
        let found: Vec<Found> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await?;
        for (place, key, source_key, digests) in found {
            if let Some(rows) = usize::try_from(place).ok().and_then(|place| newest.get_mut(place)) {
                rows.insert(key, Row { source_key, digests });
            }
        }
        Ok(newest)
    }

    /// Compares the newest rows of both sides by key and value; names those that differ.
    pub(super) async fn differing(
        &self,
        (monolith, there): (&mut PgConnection, &[Rows]),
        (candidate, here): (&mut PgConnection, &[Rows]),
    ) -> sqlx::Result<Vec<String>> {
        let mut differing = Vec::new();
        for (digest, (there, here)) in self.tables.iter().zip(there.iter().zip(here)) {
            // The newest of one side may be in another order than those of the other, which sorts by other types.
            let not_here: Vec<&[String]> = missing(there, here).map(|(key, _)| key.as_slice()).collect();
            let not_there: Vec<&[String]> = missing(here, there).map(|(_, row)| row.source_key.as_slice()).collect();
            let more_here = with_keys(candidate, digest, Side::Target, &not_here).await?;
            let more_there = with_keys(monolith, digest, Side::Source, &not_there).await?;
            for (key, row) in there {
                if here.get(key).map(|row| &row.digests).or_else(|| more_here.get(key)) != Some(&row.digests) {
                    differing.push(format!("{} {}", digest.table.target, shown(key)));
                }
            }
            for (key, row) in missing(here, there) {
                if more_there.get(key) != Some(&row.digests) {
                    differing.push(format!("{} {}", digest.table.target, shown(key)));
                }
            }
        }
        Ok(differing)
    }
}

/// What only the first has.
fn missing<'r>(these: &'r Rows, those: &'r Rows) -> impl Iterator<Item = (&'r Vec<String>, &'r Row)> {
    these.iter().filter(|(key, _)| !those.contains_key(*key))
}

/// The digests of the rows that have these keys on this side.
async fn with_keys(
    connection: &mut PgConnection,
    digest: &Digest<'_>,
    side: Side,
    keys: &[&[String]],
) -> sqlx::Result<BTreeMap<Vec<String>, Vec<i64>>> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut query = sqlx::query_as(AssertSqlSafe(digest.of_columns(side)));
    for place in 0..digest.table.identity.len() {
        query = query.bind(keys.iter().filter_map(|key| key.get(place).cloned()).collect::<Vec<String>>());
    }
    let found: Vec<(Vec<String>, Vec<i64>)> = query.fetch_all(connection).await?;
    Ok(found.into_iter().collect())
}
