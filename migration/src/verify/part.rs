//! How a table is taken in parts, each compared by itself.
//!
//! By ranges of the key where both databases have the same order of keys and the rows lie about in
//! that order; otherwise the whole table at once, because ranges of keys that lie anywhere would read
//! most pages again for each of them. Nothing depends on the two orders being the same: where they are
//! not, a row is in different parts on the two sides, which is found out when it is looked at by key.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{
    Settings,
    digest::{Digest, Pages, Scope, Side},
};
use crate::{
    identifier::QualifiedName,
    slice::{KeyRange, TablePlan, borders},
};

/// The most buckets of one part: what is held of it.
const MAX_BUCKETS: u64 = 1 << 16;

/// The most shares of a table that cannot be taken by ranges; each of them reads all of it.
const MAX_SHARES: u64 = 64;

/// Below this, the pages of a range of keys are most of the table's.
const CLUSTERED: f64 = 0.8;

/// One part of a table, on both sides.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Part {
    pub(super) number: i32,
    pub(super) source: KeyRange,
    pub(super) target: KeyRange,
    /// One of several shares by the hash of the key, and how many there are.
    pub(super) share: Option<(i64, i64)>,
    /// A power of two.
    pub(super) buckets: i64,
    /// Whether it is read by pages, several at once.
    pub(super) by_pages: bool,
}

impl Part {
    pub(super) fn scope(&self, side: Side, pages: Option<Pages>) -> Scope {
        let keys = if side == Side::Source { self.source.clone() } else { self.target.clone() };
        Scope { keys, pages, share: self.share }
    }

    pub(super) const fn mask(&self) -> i64 {
        self.buckets - 1
    }
}

/// What is known of a table's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    /// Of its largest partition.
    pages: i64,
    bytes: u64,
    /// Estimated.
    rows: u64,
}

async fn size(connection: &mut PgConnection, table: &QualifiedName) -> sqlx::Result<Size> {
    let (pages, bytes, rows): (i64, i64, f64) = sqlx::query_as(
        // The tree of a table without partitions is empty.
        "select coalesce(max(pg_relation_size(relid)), 0)::bigint / current_setting('block_size')::bigint, \
                coalesce(sum(pg_table_size(relid)), 0)::bigint, \
                coalesce(sum(greatest(c.reltuples, 0)), 0)::float8 \
         from (select relid from pg_partition_tree($1::regclass) union select $1::regclass) as part \
         join pg_class c on c.oid = relid and c.relkind = 'r'",
    )
    .bind(table.quoted())
    .fetch_one(connection)
    .await?;
    let bytes = u64::try_from(bytes).unwrap_or(0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
    let counted = rows as u64;
    // A table that was never analyzed has no count, and one that has grown since an old one.
    Ok(Size { pages, bytes, rows: if counted == 0 { bytes / 64 } else { counted.max(bytes / 512) } })
}

/// The pages of one side's table, in pieces of about `bytes`.
pub(super) async fn pieces(
    connection: &mut PgConnection,
    table: &QualifiedName,
    bytes: u64,
) -> sqlx::Result<Vec<Pages>> {
    let block: i64 =
        sqlx::query_scalar("select current_setting('block_size')::bigint").fetch_one(&mut *connection).await?;
    let step = (i64::try_from(bytes).unwrap_or(i64::MAX) / block).max(1);
    let pages = size(connection, table).await?.pages;
    let count = pages / step + 1;
    Ok((0..count)
        .map(|piece| Pages { first: piece * step, end: (piece + 1 < count).then_some((piece + 1) * step) })
        .collect())
}

/// Divides a table.
pub(super) async fn divide(
    source: &mut PgConnection,
    target: &mut PgConnection,
    digest: &Digest<'_>,
    settings: &Settings,
) -> sqlx::Result<Vec<Part>> {
    let table = digest.table;
    let (there, here) = (size(source, &table.source).await?, size(target, &table.target).await?);
    let (rows, bytes) = (there.rows.max(here.rows), there.bytes.max(here.bytes));
    let small = there.bytes.max(here.bytes) <= settings.part_bytes;
    if !small && in_ranges(source, target, digest).await? {
        let key = digest.key_parts(Side::Source);
        let borders = borders(source, &table.source, &key, settings.part_bytes).await?;
        let mut translated = Vec::with_capacity(borders.len());
        for border in &borders {
            let mut query = sqlx::query(AssertSqlSafe(digest.border()));
            for value in border {
                query = query.bind(value);
            }
            translated.push(query.fetch_one(&mut *source).await?.try_get(0)?);
        }
        let ranges = KeyRange::between(&borders).into_iter().zip(KeyRange::between(&translated));
        let buckets = buckets(rows / (borders.len() as u64 + 1), settings);
        let part = |(number, (source, target))| Part { number, source, target, buckets, ..Part::default() };
        return Ok((0..).zip(ranges).map(part).collect());
    }
    let shares = if table.identity.is_empty() { 1 } else { shares(bytes, settings) };
    let buckets = buckets(rows / shares, settings);
    let shares = i64::try_from(shares).unwrap_or(1);
    let part = |number: i32| Part {
        number,
        share: (shares > 1).then_some((i64::from(number), shares)),
        buckets,
        by_pages: !small,
        ..Part::default()
    };
    Ok((0..i32::try_from(shares).unwrap_or(1)).map(part).collect())
}

fn shares(bytes: u64, settings: &Settings) -> u64 {
    (bytes / settings.whole_bytes.max(1)).clamp(1, MAX_SHARES).next_power_of_two()
}

fn buckets(rows: u64, settings: &Settings) -> i64 {
    let wanted = (rows / u64::from(settings.bucket_rows.max(1))).clamp(1, MAX_BUCKETS);
    i64::try_from(wanted.next_power_of_two().min(MAX_BUCKETS)).unwrap_or(1)
}

/// Whether ranges of the monolith's key are ranges of the candidate's, and of neighbouring pages.
async fn in_ranges(source: &mut PgConnection, target: &mut PgConnection, digest: &Digest<'_>) -> sqlx::Result<bool> {
    let pairs: Vec<(String, String)> = digest
        .key_parts(Side::Source)
        .into_iter()
        .zip(digest.key_parts(Side::Target))
        .map(|(source, target)| (source.data_type, target.data_type))
        .collect();
    if pairs.is_empty() || !pairs.iter().all(|(source, target)| same_order(source, target)) {
        return Ok(false);
    }
    let texts = pairs.iter().any(|(source, target)| is_text(source) && is_text(target));
    if texts && collation(source).await? != collation(target).await? {
        return Ok(false);
    }
    clustered(source, digest.table).await
}

fn is_text(name: &str) -> bool {
    matches!(name, "text" | "character varying")
}

fn same_order(source: &str, target: &str) -> bool {
    let whole = |name: &str| matches!(name, "smallint" | "integer" | "bigint" | "numeric");
    let time = |name: &str| name.starts_with("timestamp");
    source == target && matches!(source, "uuid" | "date")
        || whole(source) && whole(target)
        || time(source) && time(target)
        // As text in its usual form a UUID has the same order.
        || is_text(source) && (is_text(target) || target == "uuid")
}

/// What the order of text depends on.
async fn collation(connection: &mut PgConnection) -> sqlx::Result<String> {
    sqlx::query_scalar("select datcollate || ' ' || datctype from pg_database where datname = current_database()")
        .fetch_one(connection)
        .await
}

/// Whether rows lie about in the order of their key. A table that was never analyzed is taken for
/// one whose do, as tables with counted keys do.
async fn clustered(connection: &mut PgConnection, table: &TablePlan) -> sqlx::Result<bool> {
    let Some(first) = table.identity.first() else { return Ok(false) };
    let correlation: Option<Option<f64>> = sqlx::query_scalar(
        "select correlation::float8 from pg_stats where schemaname = $1 and tablename = $2 and attname = $3 \
         order by inherited limit 1",
    )
    .bind(table.source.schema.as_str())
    .bind(table.source.name.as_str())
    .bind(first.source.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(correlation.flatten().is_none_or(|correlation| correlation.abs() >= CLUSTERED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_of_a_part_has_a_bound() {
        let settings = Settings::default();
        assert_eq!(buckets(0, &settings), 1);
        assert_eq!(buckets(u64::MAX, &settings), 1 << 16);
        assert_eq!(shares(1 << 20, &settings), 1);
        assert_eq!(shares(u64::MAX, &settings), 64);
    }

    #[test]
    fn ranges_are_taken_where_both_sides_have_one_order() {
        for (source, target) in [
            ("integer", "bigint"),
            ("character varying", "uuid"),
            ("timestamp without time zone", "timestamp with time zone"),
            ("date", "date"),
        ] {
            assert!(same_order(source, target), "{source} {target}");
        }
        for (source, target) in [("integer", "text"), ("mood", "mood"), ("uuid", "text"), ("text", "integer")] {
            assert!(!same_order(source, target), "{source} {target}");
        }
    }
}
