//! Ranges of keys: how a table is taken in parts whose borders stay when rows come and go.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::identifier::{Identifier, QualifiedName, literal};

/// How many pages are looked at for one part: enough for parts of about the same size.
const SAMPLED_PAGES: f64 = 40.0;

/// More parts than this are no help to anybody.
const MAX_RANGES: i64 = 10_000;

/// The keys after one and up to another, as text; open where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The last key before the range.
    pub after: Option<Vec<String>>,
    /// The last key of the range.
    pub upto: Option<Vec<String>>,
}

/// A column of a key with the type that its text is read as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPart {
    pub(crate) name: Identifier,
    pub(crate) data_type: String,
}

impl KeyRange {
    /// The ranges between borders, open at both ends.
    pub(crate) fn between(borders: &[Vec<String>]) -> Vec<Self> {
        let lower = std::iter::once(None).chain(borders.iter().cloned().map(Some));
        let upper = borders.iter().cloned().map(Some).chain(std::iter::once(None));
        lower.zip(upper).map(|(after, upto)| Self { after, upto }).collect()
    }

    /// The condition that a row of `alias` is in the range.
    pub(crate) fn predicate(&self, alias: &str, key: &[KeyPart]) -> String {
        let columns: Vec<String> = key.iter().map(|part| format!("{alias}.{}", part.name.quoted())).collect();
        let columns = columns.join(", ");
        let border = |values: &[String], operator: &str| {
            let values = values.iter().zip(key).map(|(value, part)| format!("{}::{}", literal(value), part.data_type));
            format!("({columns}) {operator} ({})", values.collect::<Vec<_>>().join(", "))
        };
        let after = self.after.as_ref().map(|values| border(values, ">"));
        let upto = self.upto.as_ref().map(|values| border(values, "<="));
        let both: Vec<String> = after.into_iter().chain(upto).collect();
        if both.is_empty() { "true".to_owned() } else { both.join(" AND ") }
    }
}

/// Keys that part a table into pieces of about `part_bytes`, by a sample of its pages.
pub(crate) async fn borders(
    connection: &mut PgConnection,
    table: &QualifiedName,
    key: &[KeyPart],
    part_bytes: u64,
) -> sqlx::Result<Vec<Vec<String>>> {
    let (pages, bytes): (i64, i64) = sqlx::query_as(
        // The tree of a table without partitions is empty.
        "select coalesce(sum(pg_relation_size(relid)), 0)::bigint / current_setting('block_size')::bigint, \
                coalesce(sum(pg_table_size(relid)), 0)::bigint \
         from (select relid from pg_partition_tree($1::regclass) union select $1::regclass) as part",
    )
    .bind(table.quoted())
    .fetch_one(&mut *connection)
    .await?;
    let parts = parts(bytes, part_bytes);
    if parts <= 1 || key.is_empty() {
        return Ok(Vec::new());
    }
    let sample = sample_percent(parts, pages).map(|percent| format!(" TABLESAMPLE SYSTEM ({percent:.4})"));
    let names: Vec<String> = key.iter().map(|part| part.name.quoted()).collect();
    let texts: Vec<String> = names.iter().map(|name| format!("{name}::text")).collect();
    let sql = format!(
        "SELECT ARRAY[{texts}] FROM (SELECT {names}, row_number() OVER (ORDER BY {names}) AS sample_place, \
         count(*) OVER () AS sample_rows FROM {table}{sample}) AS sampled \
         WHERE sample_place < sample_rows \
         AND sample_place * {parts} / sample_rows <> (sample_place - 1) * {parts} / sample_rows ORDER BY {names}",
        texts = texts.join(", "),
        names = names.join(", "),
        table = table.quoted(),
        sample = sample.unwrap_or_default(),
    );
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(connection).await
}

fn parts(bytes: i64, part_bytes: u64) -> i64 {
    let part_bytes = i64::try_from(part_bytes.max(1)).unwrap_or(i64::MAX);
    (bytes / part_bytes).clamp(1, MAX_RANGES)
}

/// The share of pages to look at; none when it is most of them anyway.
#[expect(clippy::cast_precision_loss, reason = "a share of pages needs no more digits")]
fn sample_percent(parts: i64, pages: i64) -> Option<f64> {
    let percent = 100.0 * SAMPLED_PAGES * parts as f64 / pages.max(1) as f64;
    (percent < 50.0).then_some(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, data_type: &str) -> KeyPart {
        KeyPart { name: Identifier::new(name).expect("a legal name"), data_type: data_type.to_owned() }
    }

    #[test]
    fn ranges_leave_no_gap_and_are_open_at_both_ends() {
        let key = [part("a", "integer"), part("b", "text")];
        let border = vec!["7".to_owned(), "o'x".to_owned()];
        let ranges = KeyRange::between(std::slice::from_ref(&border));
        assert_eq!(ranges.len(), 2);
        assert_eq!(ranges[0].predicate("base", &key), "(base.\"a\", base.\"b\") <= ('7'::integer, 'o''x'::text)");
        assert_eq!(ranges[1].predicate("base", &key), "(base.\"a\", base.\"b\") > ('7'::integer, 'o''x'::text)");
        assert_eq!(KeyRange::between(&[])[0].predicate("base", &key), "true");
    }

    #[test]
    fn small_tables_are_one_part_and_large_ones_are_sampled() {
        assert_eq!(parts(0, 1 << 26), 1);
        assert_eq!(parts(1 << 36, 1 << 26), 1024);
        assert_eq!(parts(i64::MAX, 0), MAX_RANGES);
        assert_eq!(sample_percent(10, 100), None);
        assert!(sample_percent(50, 62_000).is_some_and(|percent| (3.0..4.0).contains(&percent)));
    }
}
