//! A mapping against both databases, before anything is done: what would fail, and how to mend it.
//!
//! | looked at | how |
//! |---|---|
//! | names, types, keys | the plan of the slice, as every stage makes it |
//! | conversions | with real rows: read as a copy reads them, and written into a temporary table that is like the target's |
//! | servers | version, encoding, order of text, `wal_level`, slots, senders, how much a stalled slot may hold |
//! | tables | replica identity, row security, triggers, inheritance, foreign keys into and out of the slice, sequences |
//! | rights | what the roles lack, with the statement that gives it |
//! | disk | free room beside the target's data, when its server is on this machine |
//!
//! The source is only read. In the target one temporary table is made for each of the slice's and is
//! gone with the transaction.

mod disk;
mod rows;
mod server;
mod tables;

use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, error::DatabaseError};

use self::server::Server;
use crate::{
    base::BaseSchema,
    finding::Finding,
    identifier::Identifier,
    inspect::survey,
    mapping::{Mapping, key},
    slice::{SliceError, SlicePlan, read_plan, session_settings},
};

/// How thorough a look is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Rows of each table that conversions are tried with; at least 1.
    pub sampled_rows: u32,
    /// Rows that are named for each table when they cannot be converted; at least 1.
    pub named_rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sampled_rows: 1_000, named_rows: 3 }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It would fail, or lose something.
    Error,
    /// It works, and somebody should know.
    Warning,
    /// Good to know.
    Note,
}

/// One thing that was noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to do.
    #[serde(flatten)]
    pub finding: Finding,
}

/// Everything that was noticed, the worst first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was noticed.
    pub remarks: Vec<Remark>,
    /// Tables that were looked at.
    pub tables: u64,
    /// Rows that were converted and could be written.
    pub rows: u64,
}

impl Report {
    /// Whether nothing would fail.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        self.remarks.iter().all(|remark| remark.severity != Severity::Error)
    }

    fn add(&mut self, severity: Severity, finding: Finding) {
        self.remarks.push(Remark { severity, finding });
    }

    fn errors(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.remarks.extend(findings.into_iter().map(|finding| Remark { severity: Severity::Error, finding }));
    }
}

/// Why the databases could not be looked at. No message holds a connection URL.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The mapping has no such slice, or a database could not be read.
    #[error(transparent)]
    Slice(SliceError),
    /// A database could not be reached or asked.
    #[error("cannot look at {what}")]
    Database {
        /// What was being looked at.
        what: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
}

impl ValidateError {
    fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { what, source }
    }
}

/// Looks at one slice.
pub async fn run(
    source: &PgPool,
    target: &PgPool,
    mapping: &Mapping,
    slice: &str,
    settings: &Settings,
) -> Result<Report, ValidateError> {
    let connections = async { Ok((source.acquire().await?.detach(), target.acquire().await?.detach())) };
    let (mut there, mut here) = connections.await.map_err(ValidateError::database("both databases"))?;
    let mut report = Report::default();
    let servers = servers(&mut there, &mut here).await.map_err(ValidateError::database("the servers' settings"))?;
    server::check(&servers.0, &servers.1, &mut report);
    match read_plan(&mut there, &mut here, mapping, slice).await {
        Ok(plan) => match look(&mut there, &mut here, mapping, &plan, settings, &servers, &mut report).await {
            Err(ValidateError::Database { source: sqlx::Error::Database(refused), .. }) if is_denied(&*refused) => {
                report.errors([denied(at(&plan), &*refused)]);
            }
            looked => looked?,
        },
        Err(SliceError::Inspect { source: sqlx::Error::Database(refused), .. }) if is_denied(&*refused) => {
            report.errors([denied(key("slices", slice), &*refused)]);
        }
        Err(SliceError::Unfit { findings }) => report.errors(findings),
        Err(other) => return Err(ValidateError::Slice(other)),
    }
    report.remarks.sort_by_key(|remark| remark.severity);
    Ok(report)
}

fn is_denied(refused: &dyn DatabaseError) -> bool {
    refused.code().as_deref() == Some("42501")
}

fn denied(at: String, refused: &dyn DatabaseError) -> Finding {
    Finding::new(
        at,
        format!("not everything could be looked at: {}", refused.message()),
        "grant that first, and look again",
    )
}

async fn servers(there: &mut PgConnection, here: &mut PgConnection) -> sqlx::Result<(Server, Server)> {
    Ok((Server::read(there).await?, Server::read(here).await?))
}

async fn look(
    there: &mut PgConnection,
    here: &mut PgConnection,
    mapping: &Mapping,
    plan: &SlicePlan,
    settings: &Settings,
    servers: &(Server, Server),
    report: &mut Report,
) -> Result<(), ValidateError> {
    let failed = || ValidateError::database("the tables");
    let work = async {
        enter(there, &plan.source_schema).await?;
        enter(here, &plan.target_schema).await?;
        let source = survey::tables(there, plan.source_schema.as_str()).await?;
        let target = survey::tables(here, plan.target_schema.as_str()).await?;
        let facts = tables::Facts { mapping, plan, source: &source, target: &target, servers };
        facts.check(report);
        tables::check_types(there, here, plan, report).await?;
        tables::check_rights(there, here, plan, report).await?;
        tables::check_sequences(here, plan, &source, report).await?;
        disk::check(here, plan, &source, report).await?;
        for table in &plan.tables {
            report.tables += 1;
            if let Some(survey) = source.get(table.source.name.as_str()).filter(|survey| survey.readable) {
                rows::check(there, here, table, survey, settings, report).await?;
            }
        }
        sqlx::Result::Ok(())
    };
    work.await.map_err(failed())
}

async fn enter(connection: &mut PgConnection, schema: &Identifier) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(session_settings(schema))).execute(connection).await.map(drop)
}

/// The tables of a target as they are, under their names.
async fn catalog(connection: &mut PgConnection, plan: &SlicePlan) -> sqlx::Result<BaseSchema> {
    let names: Vec<String> = plan.tables.iter().map(|table| table.target.name.as_str().to_owned()).collect();
    BaseSchema::read(connection, plan.target_schema.as_str(), &names).await
}

/// Where in the mapping a slice is.
fn at(plan: &SlicePlan) -> String {
    key("slices", &plan.name)
}
