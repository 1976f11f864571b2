//! The newest rows once more, while nobody writes: what the stream brought last is what nobody has compared.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    projection::BASE,
    slice::{CANDIDATE, SlicePlan, TablePlan, TargetColumn},
};

type Rows = BTreeMap<String, Option<String>>;

/// The newest rows of each table of a slice, of those that have any: a table without a key has no newest rows, and is
/// left to the comparison before.
#[derive(Debug)]
pub(super) struct Tail<'a> {
    tables: Vec<&'a TablePlan>,
    rows: u32,
}

/// A side of the slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Monolith,
    Candidate,
}

impl<'a> Tail<'a> {
    pub(super) fn of(plan: &'a SlicePlan, rows: u32) -> Self {
        let tables = plan.tables.iter().filter(|table| rows > 0 && !table.identity.is_empty()).collect();
        Self { tables, rows }
    }

    /// The newest rows by key, of each table in its place.
    pub(super) async fn newest(&self, connection: &mut PgConnection, side: Side) -> sqlx::Result<Vec<Rows>> {
        let mut newest = vec![Rows::new(); self.tables.len()];
        if newest.is_empty() {
            return Ok(newest);
        }
        let of_table = |(place, table): (usize, &&TablePlan)| {
            let Shape { from, key, digest, order } = side.shape(table);
            format!("(SELECT {place}, {key}, {digest} FROM {from} ORDER BY {order} LIMIT {})", self.rows)
        };
        let sql = self.tables.iter().enumerate().map(of_table).collect::<Vec<_>>().join(" UNION ALL ");
        let found: Vec<(i32, String, Option<String>)> =
            sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await?;
        for (place, key, digest) in found {
            if let Some(rows) = usize::try_from(place).ok().and_then(|place| newest.get_mut(place)) {
                rows.insert(key, digest);
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
        for (table, (there, here)) in self.tables.iter().zip(there.iter().zip(here)) {
            // The newest of one side may be in another order than those of the other, which sorts by other types.
            let only = |these: &Rows, those: &Rows| -> Vec<String> {
                these.keys().filter(|key| !those.contains_key(*key)).cloned().collect()
            };
            let more_here = with_keys(candidate, &Side::Candidate.shape(table), &only(there, here)).await?;
            let more_there = with_keys(monolith, &Side::Monolith.shape(table), &only(here, there)).await?;
            let value = |first: &Rows, more: &Rows, key: &String| first.get(key).or_else(|| more.get(key)).cloned();
            let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
            for key in keys {
                if value(there, &more_there, key) != value(here, &more_here, key) {
                    differing.push(format!("{} {key}", table.target));
                }
            }
        }
        Ok(differing)
    }
}

/// Rows as key and digest of their values, with what they are sorted by.
struct Shape {
    from: String,
    key: String,
    digest: String,
    order: String,
}

impl Side {
    fn shape(self, table: &TablePlan) -> Shape {
        let filter = table.filter.as_ref().map(|filter| format!(" WHERE ({filter})")).unwrap_or_default();
        match self {
            Self::Monolith => {
                let from = format!("{} AS {BASE}{filter}", table.source.quoted());
                let order = table.identity.iter().map(|key| format!("{BASE}.{} DESC", key.source.quoted()));
                shape(table, |column| column.select.clone(), from, order.collect::<Vec<_>>().join(", "))
            }
            Self::Candidate => {
                let from = format!("{} AS {CANDIDATE}", table.target.quoted());
                let order = table.identity.iter().map(|key| format!("{CANDIDATE}.{} DESC", key.target.quoted()));
                shape(table, |column| column.name.quoted(), from, order.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn shape(table: &TablePlan, value: impl Fn(&TargetColumn) -> String, from: String, order: String) -> Shape {
    let texts = |columns: Vec<&TargetColumn>| {
        columns.iter().map(|column| format!("({})::text", value(column))).collect::<Vec<_>>().join(", ")
    };
    let key = texts(table.identity.iter().filter_map(|key| table.column(&key.target)).collect());
    let values = texts(table.columns.iter().filter(|column| column.written).collect());
    Shape {
        from,
        key: format!("(ARRAY[{key}]::text[])::text"),
        digest: format!("md5((ARRAY[{values}]::text[])::text)"),
        order,
    }
}

async fn with_keys(connection: &mut PgConnection, shape: &Shape, keys: &[String]) -> sqlx::Result<Rows> {
    if keys.is_empty() {
        return Ok(Rows::new());
    }
    let Shape { from, key, digest, .. } = shape;
    let sql = format!(
        "SELECT row_key, row_digest FROM (SELECT {key} AS row_key, {digest} AS row_digest FROM {from}) AS all_rows \
         WHERE row_key = ANY ($1)"
    );
    let found: Vec<(String, Option<String>)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(keys).fetch_all(connection).await?;
    Ok(found.into_iter().collect())
}
