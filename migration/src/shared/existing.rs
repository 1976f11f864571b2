//! What of the stage is there already, read from the live catalog.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::marker::{self, Marker};
use crate::identifier::literal;

/// One target's schema as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Existing {
    /// The schema: absent, made by somebody else, or made by us.
    pub(crate) schema: Ownership,
    /// Whatever carries a name in it that a view could take.
    pub(crate) relations: BTreeMap<String, Relation>,
    /// Our trigger functions.
    pub(crate) functions: BTreeSet<String>,
    /// Our indexes on the monolith's tables, and whatever has a name that begins as ours do.
    pub(crate) indexes: BTreeMap<String, Index>,
    /// The role that the mapping names.
    pub(crate) role: Option<Role>,
}

/// Who made an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// It is not there.
    #[default]
    Absent,
    /// Somebody else; it is never changed.
    Foreign,
    /// This stage, for this target.
    Ours,
}

/// A view or table in the target's schema.
#[derive(Debug, Clone, Default)]
pub(crate) struct Relation {
    /// Ours, when there is one.
    pub(crate) marker: Option<Marker>,
    /// The digest of the live definition; empty for what is no view.
    pub(crate) live: String,
    /// Whether the role has all it needs on it.
    pub(crate) granted: bool,
}

/// An index in the monolith's schema.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// `false` after a concurrent build that did not finish.
    pub(crate) valid: bool,
    pub(crate) marked: bool,
}

/// What the candidate's role may do already.
#[derive(Debug, Clone, Default)]
pub(crate) struct Role {
    pub(crate) exists: bool,
    pub(crate) may_create_in_source: bool,
    pub(crate) may_use_schema: bool,
}

impl Existing {
    pub(crate) async fn read(
        connection: &mut PgConnection,
        target: &str,
        source_schema: &str,
        schema: &str,
        role: Option<&str>,
    ) -> sqlx::Result<Self> {
        let role = match role {
            Some(name) => Some((name, read_role(connection, name, source_schema, schema).await?)),
            None => None,
        };
        let grantee = role.as_ref().filter(|(_, facts)| facts.exists).map(|(name, _)| *name);
        Ok(Self {
            schema: read_schema(connection, target, schema).await?,
            relations: read_relations(connection, schema, grantee).await?,
            functions: read_functions(connection, target, schema).await?,
            indexes: read_indexes(connection, target, source_schema, schema).await?,
            role: role.map(|(_, facts)| facts),
        })
    }
}

async fn read_schema(connection: &mut PgConnection, target: &str, schema: &str) -> sqlx::Result<Ownership> {
    let comment: Option<Option<String>> =
        sqlx::query_scalar("select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = $1")
            .bind(schema)
            .fetch_optional(connection)
            .await?;
    Ok(match comment {
        None => Ownership::Absent,
        Some(comment) if is_ours(comment.as_deref(), target) => Ownership::Ours,
        Some(_) => Ownership::Foreign,
    })
}

fn is_ours(comment: Option<&str>, target: &str) -> bool {
    Marker::parse(comment).is_some_and(|marker| marker.target == target)
}

async fn read_relations(
    connection: &mut PgConnection,
    schema: &str,
    grantee: Option<&str>,
) -> sqlx::Result<BTreeMap<String, Relation>> {
    let granted = match grantee {
        // All four, not any of them, which is what a list of privileges in one call would ask.
        Some(role) => ["SELECT", "INSERT", "UPDATE", "DELETE"]
            .map(|privilege| format!("has_table_privilege({}, c.oid, '{privilege}')", literal(role)))
            .join(" and "),
        None => "true".to_owned(),
    };
    let sql = format!(
        "select c.relname::text as name, obj_description(c.oid, 'pg_class') as comment, {granted} as granted, \
         case when c.relkind = 'v' then ({}) else '' end as live \
         from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c', 'i')",
        marker::live_digest("c.oid")
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(schema).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let comment: Option<String> = row.try_get("comment")?;
            let relation = Relation {
                marker: Marker::parse(comment.as_deref()),
                live: row.try_get("live")?,
                granted: row.try_get("granted")?,
            };
            Ok((row.try_get("name")?, relation))
        })
        .collect()
}

async fn read_functions(connection: &mut PgConnection, target: &str, schema: &str) -> sqlx::Result<BTreeSet<String>> {
    let rows: Vec<(String, Option<String>)> = sqlx::query_as(
        "select p.proname::text, obj_description(p.oid, 'pg_proc') \
         from pg_proc p join pg_namespace n on n.oid = p.pronamespace \
         where n.nspname = $1 and p.pronargs = 0",
    )
    .bind(schema)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().filter(|(_, comment)| is_ours(comment.as_deref(), target)).map(|(name, _)| name).collect())
}

async fn read_indexes(
    connection: &mut PgConnection,
    target: &str,
    source_schema: &str,
    schema: &str,
) -> sqlx::Result<BTreeMap<String, Index>> {
    let rows: Vec<(String, bool, Option<String>)> = sqlx::query_as(
        "select c.relname::text, i.indisvalid, obj_description(c.oid, 'pg_class') \
         from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace \
         where n.nspname = $1",
    )
    .bind(source_schema)
    .fetch_all(connection)
    .await?;
    let mut indexes = BTreeMap::new();
    for (name, valid, comment) in rows {
        let marked = is_ours(comment.as_deref(), target);
        // A build that was killed has not been marked yet; its name still tells it.
        if marked || name.starts_with(&format!("{schema}_")) {
            indexes.insert(name, Index { valid, marked });
        }
    }
    Ok(indexes)
}

async fn read_role(connection: &mut PgConnection, role: &str, source_schema: &str, schema: &str) -> sqlx::Result<Role> {
    let found: Option<(bool, bool)> = sqlx::query_as(
        "select coalesce((select has_schema_privilege(r.oid, n.oid, 'CREATE') from pg_namespace n where n.nspname = $2), false), \
                coalesce((select has_schema_privilege(r.oid, n.oid, 'USAGE') from pg_namespace n where n.nspname = $3), false) \
         from pg_roles r where r.rolname = $1",
    )
    .bind(role)
    .bind(source_schema)
    .bind(schema)
    .fetch_optional(connection)
    .await?;
    Ok(match found {
        None => Role::default(),
        Some((may_create_in_source, may_use_schema)) => Role { exists: true, may_create_in_source, may_use_schema },
    })
}
