//! Sequences of the new owner's columns, set beyond every value that the old owner gave out.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    identifier::{QualifiedName, literal},
    slice::SlicePlan,
    stream::Direction,
};

/// The new owner's sequences and what they continue, found out before anybody waits.
#[derive(Debug, Default)]
pub(super) struct Sequences(Vec<Sequence>);

#[derive(Debug)]
struct Sequence {
    /// The column on both sides.
    column: Pair,
    /// The new owner's sequence, and the old one's where there is one, as SQL text that `nextval` takes.
    new: String,
    old: Option<String>,
}

/// One column on both sides.
#[derive(Debug)]
struct Pair {
    from: (QualifiedName, String),
    to: (QualifiedName, String),
}

impl Sequences {
    /// Those behind the columns of a slice.
    pub(super) async fn find(
        from: &mut PgConnection,
        to: &mut PgConnection,
        plan: &SlicePlan,
        direction: Direction,
    ) -> sqlx::Result<Self> {
        let mut found = Vec::new();
        for column in pairs(plan, direction) {
            if let Some(new) = behind(to, &column.to).await? {
                let old = behind(from, &column.from).await?;
                found.push(Sequence { column, new, old });
            }
        }
        Ok(Self(found))
    }

    /// The last values that the old owner gave out, where it has; each in its place.
    pub(super) async fn given_out(&self, from: &mut PgConnection) -> sqlx::Result<Vec<Option<i64>>> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<Option<&str>> = self.0.iter().map(|sequence| sequence.old.as_deref()).collect();
        sqlx::query_scalar(
            "SELECT pg_sequence_last_value(name::regclass) FROM unnest($1::text[]) WITH ORDINALITY AS given (name, place) \
             ORDER BY place",
        )
        .bind(names)
        .fetch_all(from)
        .await
    }

    /// Sets every one to where the old owner's stands, or to the column's highest value when that is higher. Never sets
    /// one back.
    pub(super) async fn carry(&self, to: &mut PgConnection, given_out: &[Option<i64>]) -> sqlx::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let settings = self.0.iter().enumerate().map(|(place, Sequence { column, new, .. })| {
            let (table, name, new) = (column.to.0.quoted(), quoted(&column.to.1), literal(new));
            format!(
                "SELECT setval({new}::regclass, highest) FROM (SELECT greatest(($1::bigint[])[{}], \
                 (SELECT max({name})::bigint FROM {table}), pg_sequence_last_value({new}::regclass)) AS highest) AS found \
                 WHERE highest >= 1",
                place + 1
            )
        });
        let all = settings.collect::<Vec<_>>().join(" UNION ALL ");
        sqlx::query(AssertSqlSafe(all)).bind(given_out).execute(to).await.map(drop)
    }
}

/// Columns that are the same on both sides and are given their values.
fn pairs(plan: &SlicePlan, direction: Direction) -> Vec<Pair> {
    let of_table = |table: &crate::slice::TablePlan| {
        let columns = table.columns.iter().filter(|column| column.written);
        let pairs = columns.filter_map(|column| {
            let monolith = (table.source.clone(), column.source.as_ref()?.as_str().to_owned());
            let candidate = (table.target.clone(), column.name.as_str().to_owned());
            let (from, to) = direction.ends(monolith, candidate);
            Some(Pair { from, to })
        });
        pairs.collect::<Vec<_>>()
    };
    plan.tables.iter().flat_map(of_table).collect()
}

/// The sequence that gives a column its values.
async fn behind(
    connection: &mut PgConnection,
    (table, column): &(QualifiedName, String),
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT pg_get_serial_sequence($1, $2)")
        .bind(table.quoted())
        .bind(column)
        .fetch_one(connection)
        .await
}

fn quoted(column: &str) -> String {
    crate::projection::legal(column).quoted()
}
