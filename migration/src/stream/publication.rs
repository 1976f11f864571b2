//! What a slice publishes, and whether it may: replica identities, the publication, and the shape of
//! the tables.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, types::Json};

use super::{
    Direction, StreamError,
    ledger::{Signatures, SignedColumn},
};
use crate::{
    finding::Finding,
    identifier::{Identifier, QualifiedName},
    slice::{SlicePlan, TablePlan},
};

/// The publication of a slice. Several databases that take the same slice share it.
#[must_use]
pub fn publication_name(slice: &str, direction: Direction) -> Identifier {
    Identifier::derived(&format!("strangler_{slice}"), &format!("_{direction}"))
}

/// The statement that makes it. It needs the ownership of the tables; their owner may run it, and
/// the stream then takes it as it is.
#[must_use]
pub fn publication_sql(plan: &SlicePlan, direction: Direction) -> String {
    let names: Vec<String> = published(plan, direction).map(|(_, name)| name.quoted()).collect();
    format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
        publication_name(&plan.name, direction).quoted(),
        names.join(", ")
    )
}

/// The tables that changes come from, each once.
pub(crate) fn published(plan: &SlicePlan, direction: Direction) -> impl Iterator<Item = (&TablePlan, &QualifiedName)> {
    let mut seen = std::collections::BTreeSet::new();
    plan.tables.iter().filter_map(move |table| {
        let (name, _) = direction.ends(&table.source, &table.target);
        seen.insert(name).then_some((table, name))
    })
}

/// A table's key on the side that changes come from.
fn key(table: &TablePlan, direction: Direction) -> Vec<String> {
    table.identity.iter().map(|key| direction.ends(&key.source, &key.target).0.as_str().to_owned()).collect()
}

#[derive(serde::Deserialize)]
struct Shape {
    /// The table, and its partitions that hold rows.
    parts: Vec<Part>,
    columns: Vec<SignedColumn>,
}

#[derive(serde::Deserialize)]
struct Part {
    name: String,
    identity: String,
    identity_columns: Vec<String>,
    logged: bool,
}

/// Reads the shape of one table; none when it is not there.
async fn shape(connection: &mut PgConnection, table: &QualifiedName) -> sqlx::Result<Option<Shape>> {
    let found: Option<Json<Shape>> = sqlx::query_scalar(include_str!("shape.sql"))
        .bind(table.schema.as_str())
        .bind(table.name.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(found.map(|Json(shape)| shape))
}

/// The shape of every published table as it is now.
pub(crate) async fn signatures(
    connection: &mut PgConnection,
    plan: &SlicePlan,
    direction: Direction,
) -> sqlx::Result<Signatures> {
    let mut signatures = BTreeMap::new();
    for (_, name) in published(plan, direction) {
        if let Some(shape) = shape(connection, name).await? {
            signatures.insert(name.quoted(), vec![shape.columns]);
        }
    }
    Ok(signatures)
}

/// Everything about the server and the tables that stands in the way of publishing them.
pub(crate) async fn obstacles(
    connection: &mut PgConnection,
    plan: &SlicePlan,
    direction: Direction,
) -> sqlx::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let (wal_level, may_replicate): (String, bool) = sqlx::query_as(
        "select current_setting('wal_level'), rolsuper or rolreplication from pg_roles where rolname = current_user",
    )
    .fetch_one(&mut *connection)
    .await?;
    let at = format!("slices.{}", plan.name);
    if wal_level != "logical" {
        findings.push(Finding::new(
            &at,
            format!("wal_level of the database that changes come from is {wal_level}"),
            "ALTER SYSTEM SET wal_level = 'logical', and restart the server",
        ));
    }
    if !may_replicate {
        findings.push(Finding::new(&at, "the role may not replicate", "ALTER ROLE … REPLICATION"));
    }
    for (table, name) in published(plan, direction) {
        match shape(connection, name).await? {
            None => findings.push(Finding::new(&table.key, format!("there is no table `{name}`"), "make it first")),
            Some(shape) => {
                let key = key(table, direction);
                findings.extend(shape.parts.iter().filter_map(|part| part.obstacle(table, &key)));
            }
        }
    }
    Ok(findings)
}

impl Part {
    fn obstacle(&self, table: &TablePlan, key: &[String]) -> Option<Finding> {
        let name = &self.name;
        if !self.logged {
            return Some(Finding::new(
                &table.key,
                format!("{name} is unlogged, so its changes are nowhere"),
                format!("ALTER TABLE {name} SET LOGGED"),
            ));
        }
        // A table without one that is published refuses every update and delete, the monolith's as well.
        if self.identity == "n" || (self.identity != "f" && self.identity_columns.is_empty()) {
            return Some(Finding::new(
                &table.key,
                format!("{name} has no replica identity: published, it would refuse the service's updates and deletes"),
                format!("ALTER TABLE {name} REPLICA IDENTITY FULL, or give it a primary key"),
            ));
        }
        let unknown: Vec<&str> =
            key.iter().filter(|column| !self.identity_columns.contains(column)).map(String::as_str).collect();
        if self.identity != "f" && !unknown.is_empty() {
            return Some(Finding::new(
                &table.key,
                format!("a delete from {name} does not say {}, by which rows are told apart", unknown.join(", ")),
                format!("ALTER TABLE {name} REPLICA IDENTITY FULL, or USING INDEX one over exactly these columns"),
            ));
        }
        None
    }
}

/// Makes the publication, or sees that the one that is there publishes what is needed.
pub(crate) async fn ensure(
    connection: &mut PgConnection,
    plan: &SlicePlan,
    direction: Direction,
) -> Result<(), StreamError> {
    let name = publication_name(&plan.name, direction);
    let statement = publication_sql(plan, direction);
    let reading = StreamError::database("look at the publication");
    let Some(problem) = problem(connection, plan, direction, &name).await.map_err(reading)? else { return Ok(()) };
    let finding = match problem {
        Problem::Missing => match sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut *connection).await {
            Ok(_) => return Ok(()),
            Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some("42501") => Finding::new(
                format!("slices.{}", plan.name),
                "the role may not publish the tables: it does not own them, or may not create in the database",
                format!("let their owner run: {statement}"),
            ),
            Err(other) => return Err(StreamError::Database { what: "make the publication", source: other }),
        },
        Problem::Other(message) => Finding::new(
            format!("slices.{}", plan.name),
            format!("the publication `{name}` {message}"),
            format!("DROP PUBLICATION {}; {statement}", name.quoted()),
        ),
    };
    Err(StreamError::Unfit { findings: vec![finding] })
}

enum Problem {
    Missing,
    Other(String),
}

async fn problem(
    connection: &mut PgConnection,
    plan: &SlicePlan,
    direction: Direction,
    name: &Identifier,
) -> sqlx::Result<Option<Problem>> {
    let found: Option<(bool, bool)> = sqlx::query_as(
        "select puballtables or (pubinsert and pubupdate and pubdelete and pubtruncate), pubviaroot \
         from pg_publication where pubname = $1",
    )
    .bind(name.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let Some((all_kinds, via_root)) = found else { return Ok(Some(Problem::Missing)) };
    if !all_kinds {
        return Ok(Some(Problem::Other("leaves some kinds of changes out".to_owned())));
    }
    if !via_root && plan.tables.iter().any(|table| table.partitioned) {
        return Ok(Some(Problem::Other("publishes partitions under their own names".to_owned())));
    }
    // Filters and lists of columns exist since PostgreSQL 15, and their columns with them.
    let partial: bool = sqlx::query_scalar(
        "select exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid \
         where p.pubname = $1 and (to_jsonb(r) ->> 'prqual' is not null or to_jsonb(r) ->> 'prattrs' is not null))",
    )
    .bind(name.as_str())
    .fetch_one(&mut *connection)
    .await?;
    if partial {
        return Ok(Some(Problem::Other("has a filter or a list of columns".to_owned())));
    }
    let there: Vec<(String, String)> =
        sqlx::query_as("select schemaname::text, tablename::text from pg_publication_tables where pubname = $1")
            .bind(name.as_str())
            .fetch_all(connection)
            .await?;
    let missing: Vec<String> = published(plan, direction)
        .filter(|(_, table)| {
            !there.iter().any(|(schema, name)| table.schema.as_str() == schema && table.name.as_str() == name)
        })
        .map(|(_, table)| table.to_string())
        .collect();
    Ok((!missing.is_empty()).then(|| Problem::Other(format!("does not publish {}", missing.join(", ")))))
}
