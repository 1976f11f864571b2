//! Whether the monolith's tables of a slice are still in use, and what would archive and drop them.
//!
//! PostgreSQL counts scans and changed rows, without times. Each look is compared with the one before
//! it, and what has risen is noted with the time of the look; so a table has been quiet since it was
//! first looked at, or since it was last seen to be touched, and no longer than that can be said. What is
//! noted is in the candidate's database.
//!
//! | | from |
//! |---|---|
//! | reads and writes of a table | `pg_stat_all_tables`; times of scans from PostgreSQL 16 on |
//! | by whom | locks that sessions hold at the look; roles whose statements were counted by `pg_stat_statements`, where that is |
//! | columns | whether a statement that was counted names them; those that no candidate has are marked |
//! | requests of a route that legacy answered | what the caller hands in, from the gateway |
//!
//! Comparing and copying count as reads: do not let them run in the quiet days.

mod plan;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, types::Json};

use self::plan::word;
pub use self::plan::{Dependent, RetirePlan};
use crate::{
    books,
    identifier::QualifiedName,
    slice::{SlicePlan, TablePlan},
};

/// Requests of a route that the monolith has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTraffic {
    /// The route's name.
    pub route: String,
    /// As the gateway counts them: it begins at 0 when it is started again.
    pub requests: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many days a table must have been quiet.
    pub quiet_days: u32,
    /// The monolith's tables.
    pub tables: Vec<TableUse>,
    /// Routes of the gateway; none when nobody asked it.
    pub routes: Vec<RouteUse>,
    /// Whether `pg_stat_statements` was there to be asked.
    pub statements_counted: bool,
    /// What would archive and drop the tables.
    pub plan: RetirePlan,
}

impl Report {
    /// Whether everything has been quiet for long enough.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.tables.iter().all(|table| table.is_quiet) && self.routes.iter().all(|route| route.is_quiet)
    }
}

/// How a table of the monolith is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableUse {
    /// The monolith's table.
    pub table: String,
    /// Estimated.
    pub rows: i64,
    /// With indexes.
    pub bytes: i64,
    /// When it was first looked at: nothing is known of the time before.
    pub first_look: String,
    /// The look at which a read was noticed; none since the first.
    pub read_at: Option<String>,
    /// The look at which a write was noticed; none since the first.
    pub written_at: Option<String>,
    /// Whole days since the latest of the three.
    pub quiet_days: i64,
    /// Whether that is long enough.
    pub is_quiet: bool,
    /// Who was seen at it, the latest first.
    pub users: Vec<User>,
    /// Its columns.
    pub columns: Vec<ColumnUse>,
}

/// Who was seen at a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct User {
    /// The role.
    pub role: String,
    /// What it calls itself; empty when a statement was counted.
    pub application: String,
    /// Where it came from; empty when a statement was counted.
    pub address: String,
    /// At which look.
    pub seen_at: String,
}

/// How a column is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnUse {
    /// Its name.
    pub column: String,
    /// Whether a statement that was counted names it, or all columns; none when statements are not
    /// counted.
    pub named: Option<bool>,
    /// Whether the candidate has its values in some form.
    pub carried: bool,
}

/// How a route of the gateway is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct RouteUse {
    /// Its name.
    pub route: String,
    /// When it was first looked at.
    pub first_look: String,
    /// The look at which requests to legacy were noticed; none since the first.
    pub seen_at: Option<String>,
    /// Whole days since the later of the two.
    pub quiet_days: i64,
    /// Whether that is long enough.
    #[sqlx(skip)]
    pub is_quiet: bool,
}

/// Why nothing could be said. No message holds a connection URL.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}")]
pub struct RetireError {
    /// What was being done.
    pub what: &'static str,
    /// The cause.
    #[source]
    pub source: sqlx::Error,
}

impl RetireError {
    fn of(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self { what, source }
    }
}

/// Counters of a table, as `usage.sql` reads them.
#[derive(Debug, Deserialize)]
struct Usage {
    table: String,
    rows: i64,
    bytes: i64,
    reads: i64,
    writes: i64,
    scanned_at: Option<String>,
}

/// Looks at the monolith's tables of a slice and notes what it sees. In the source nothing is changed.
pub async fn look(
    source: &PgPool,
    target: &PgPool,
    plan: &SlicePlan,
    routes: &[RouteTraffic],
    quiet_days: u32,
) -> Result<Report, RetireError> {
    let connections = async { Ok((source.acquire().await?, target.acquire().await?)) };
    let (mut source, mut target) = connections.await.map_err(RetireError::of("reach both databases"))?;
    let target = &mut *target;
    let source = &mut *source;
    books::ensure(target, "strangler.retire_route", include_str!("ledger.sql"))
        .await
        .map_err(RetireError::of("make the books of what is used"))?;
    let names: Vec<String> = plan.tables.iter().map(|table| table.source.name.as_str().to_owned()).collect();
    let usages: Vec<Json<Usage>> = sqlx::query_scalar(include_str!("usage.sql"))
        .bind(plan.source_schema.as_str())
        .bind(&names)
        .fetch_all(&mut *source)
        .await
        .map_err(RetireError::of("read the counters of the source"))?;
    let statements = statements_view(source).await.map_err(RetireError::of("see whether statements are counted"))?;
    let mut tables = Vec::new();
    for Json(usage) in usages {
        let all: Vec<&TablePlan> =
            plan.tables.iter().filter(|table| table.source.name.as_str() == usage.table).collect();
        let Some(table) = all.first() else { continue };
        let users = users(source, &table.source, &usage.table, statements.as_deref());
        let users = users.await.map_err(RetireError::of("see who uses the source"))?;
        note(target, plan, &usage, &users).await.map_err(RetireError::of("note what is used"))?;
        let columns = columns(source, &all, &usage.table, statements.as_deref());
        let columns = columns.await.map_err(RetireError::of("see which columns are named"))?;
        tables.push(
            table_use(target, plan, usage, columns, quiet_days)
                .await
                .map_err(RetireError::of("read what was noted"))?,
        );
    }
    let routes = routes_use(target, plan, routes, quiet_days).await.map_err(RetireError::of("note what routes get"))?;
    let dependents = dependents(source, plan, &names).await;
    let dependents = dependents.map_err(RetireError::of("read what depends on the tables"))?;
    let mut ordered: Vec<QualifiedName> = Vec::new();
    for table in &plan.tables {
        if !ordered.contains(&table.source) {
            ordered.push(table.source.clone());
        }
    }
    Ok(Report {
        quiet_days,
        tables,
        routes,
        statements_counted: statements.is_some(),
        plan: RetirePlan::new(&plan.name, &ordered, dependents),
    })
}

async fn dependents(source: &mut PgConnection, plan: &SlicePlan, names: &[String]) -> sqlx::Result<Vec<Dependent>> {
    let mut reading = source.begin().await?;
    // Names are then printed with their schema, whatever the path of who runs the plan.
    sqlx::query("SET LOCAL search_path = pg_catalog").execute(&mut *reading).await?;
    let found = sqlx::query_as(include_str!("dependents.sql"))
        .bind(plan.source_schema.as_str())
        .bind(names)
        .fetch_all(&mut *reading)
        .await?;
    reading.rollback().await?;
    Ok(found)
}

/// The view of counted statements, where it is there and may be read.
async fn statements_view(source: &mut PgConnection) -> sqlx::Result<Option<String>> {
    let name: Option<String> = sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where c.relname = 'pg_stat_statements' and c.relkind = 'v' and has_table_privilege(c.oid, 'SELECT') limit 1",
    )
    .fetch_optional(&mut *source)
    .await?;
    let Some(name) = name else { return Ok(None) };
    // It may be installed without the library being loaded.
    let probe = format!("SELECT count(*) FROM (SELECT FROM {name} LIMIT 1) AS probe");
    match sqlx::query(AssertSqlSafe(probe)).execute(source).await {
        Ok(_) => Ok(Some(name)),
        Err(sqlx::Error::Database(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Role, application, address, and how many statements of it were counted.
type Seen = (String, String, String, i64);

async fn users(
    source: &mut PgConnection,
    table: &QualifiedName,
    name: &str,
    statements: Option<&str>,
) -> sqlx::Result<Vec<Seen>> {
    let mut seen: Vec<Seen> = sqlx::query_as(
        "select distinct a.usename::text, a.application_name, coalesce(host(a.client_addr), 'local'), 0::bigint \
         from pg_locks l join pg_stat_activity a using (pid) \
         where a.pid <> pg_backend_pid() and a.backend_type = 'client backend' and l.database = \
         (select oid from pg_database where datname = current_database()) and l.relation in \
         (select relid from pg_partition_tree($1::regclass) union select $1::regclass)",
    )
    .bind(table.quoted())
    .fetch_all(&mut *source)
    .await?;
    if let Some(view) = statements {
        let sql = format!(
            "SELECT r.rolname::text, '', '', sum(s.calls)::bigint FROM {view} s JOIN pg_roles r ON r.oid = s.userid \
             WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND s.query ~* {} \
             AND s.query !~* '\\m(pg_stat_statements|pg_partition_tree|strangler)\\M' GROUP BY 1",
            word(name)
        );
        let counted: Vec<Seen> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(source).await?;
        seen.extend(counted);
    }
    Ok(seen)
}

/// Notes counters that have risen, and who was seen.
async fn note(target: &mut PgConnection, plan: &SlicePlan, usage: &Usage, users: &[Seen]) -> sqlx::Result<()> {
    sqlx::query(
        // Counters that have fallen begin anew: whatever is in them happened since.
        "insert into strangler.retire_table as t (slice, table_name, reads, writes, read_at) \
         values ($1, $2, $3, $4, null) on conflict (slice, table_name) do update set last_look = now(), \
         read_at = case when excluded.reads > t.reads or excluded.reads < t.reads and excluded.reads > 0 \
             then coalesce(greatest($5::timestamptz, t.last_look), now()) else t.read_at end, \
         written_at = case when excluded.writes > t.writes or excluded.writes < t.writes and excluded.writes > 0 \
             then now() else t.written_at end, reads = excluded.reads, writes = excluded.writes",
    )
    .bind(&plan.name)
    .bind(&usage.table)
    .bind(usage.reads)
    .bind(usage.writes)
    .bind(&usage.scanned_at)
    .execute(&mut *target)
    .await?;
    for (role, application, address, calls) in users {
        sqlx::query(
            "insert into strangler.retire_user as u (slice, table_name, role, application, address, calls, seen_at) \
             values ($1, $2, $3, $4, $5, $6, case when $6 = 0 then now() end) \
             on conflict (slice, table_name, role, application, address) do update set calls = excluded.calls, \
             seen_at = case when excluded.calls <> u.calls or excluded.calls = 0 then now() else u.seen_at end",
        )
        .bind(&plan.name)
        .bind(&usage.table)
        .bind(role)
        .bind(application)
        .bind(address)
        .bind(calls)
        .execute(&mut *target)
        .await?;
    }
    Ok(())
}

async fn columns(
    source: &mut PgConnection,
    tables: &[&TablePlan],
    name: &str,
    statements: Option<&str>,
) -> sqlx::Result<Vec<ColumnUse>> {
    let mut uses = Vec::new();
    let Some(first) = tables.first() else { return Ok(uses) };
    for column in &first.source_columns {
        let carried = tables.iter().any(|table| {
            let itself = table.columns.iter().any(|target| target.source.as_ref() == Some(&column.name));
            itself || table.backward.iter().any(|back| back.name == column.name)
        });
        let named = match statements {
            None => None,
            Some(view) => {
                let sql = format!(
                    "SELECT EXISTS (SELECT FROM {view} s WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = \
                     current_database()) AND s.query ~* {} AND (s.query ~* {} OR s.query ~ '\\*') \
                     AND s.query !~* '\\m(pg_stat_statements|pg_partition_tree|strangler)\\M')",
                    word(name),
                    word(column.name.as_str())
                );
                Some(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *source).await?)
            }
        };
        uses.push(ColumnUse { column: column.name.as_str().to_owned(), named, carried });
    }
    Ok(uses)
}

async fn table_use(
    target: &mut PgConnection,
    plan: &SlicePlan,
    usage: Usage,
    columns: Vec<ColumnUse>,
    wanted: u32,
) -> sqlx::Result<TableUse> {
    let (first_look, read_at, written_at, quiet_days): (String, Option<String>, Option<String>, i64) = sqlx::query_as(
        "select first_look::text, read_at::text, written_at::text, \
         (extract(epoch from now() - greatest(first_look, read_at, written_at)) / 86400)::bigint \
         from strangler.retire_table where slice = $1 and table_name = $2",
    )
    .bind(&plan.name)
    .bind(&usage.table)
    .fetch_one(&mut *target)
    .await?;
    let users = sqlx::query_as(
        "select role, application, address, seen_at::text from strangler.retire_user \
         where slice = $1 and table_name = $2 and seen_at is not null order by strangler.retire_user.seen_at desc, role",
    )
    .bind(&plan.name)
    .bind(&usage.table)
    .fetch_all(target)
    .await?;
    Ok(TableUse {
        table: format!("{}.{}", plan.source_schema, usage.table),
        rows: usage.rows,
        bytes: usage.bytes,
        first_look,
        read_at,
        written_at,
        quiet_days,
        is_quiet: quiet_days >= i64::from(wanted),
        users,
        columns,
    })
}

async fn routes_use(
    target: &mut PgConnection,
    plan: &SlicePlan,
    routes: &[RouteTraffic],
    wanted: u32,
) -> sqlx::Result<Vec<RouteUse>> {
    // A route that is there twice would count twice.
    let routes: BTreeMap<&str, u64> = routes.iter().map(|route| (route.route.as_str(), route.requests)).collect();
    let mut uses = Vec::new();
    for (route, requests) in routes {
        let mut found: RouteUse = sqlx::query_as(
            "insert into strangler.retire_route as r (slice, route, requests) values ($1, $2, $3) \
             on conflict (slice, route) do update set last_look = now(), requests = excluded.requests, \
             seen_at = case when excluded.requests > r.requests or excluded.requests < r.requests and excluded.requests > 0 \
                 then now() else r.seen_at end \
             returning route, first_look::text, seen_at::text, \
                 (extract(epoch from now() - greatest(first_look, seen_at)) / 86400)::bigint as quiet_days",
        )
        .bind(&plan.name)
        .bind(route)
        .bind(i64::try_from(requests).unwrap_or(i64::MAX))
        .fetch_one(&mut *target)
        .await?;
        found.is_quiet = found.quiet_days >= i64::from(wanted);
        uses.push(found);
    }
    Ok(uses)
}
