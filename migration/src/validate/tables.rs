//! The tables of a slice as both catalogs have them.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row as _};

use super::{Report, Severity, at, catalog, server::Server};
use crate::{
    base::Generation,
    finding::Finding,
    identifier::Identifier,
    inspect::survey::SurveyedTable,
    mapping::{Mapping, Owner, key},
    slice::{SlicePlan, TablePlan},
};

/// Everything that is decided from without asking again.
pub(super) struct Facts<'a> {
    pub(super) mapping: &'a Mapping,
    pub(super) plan: &'a SlicePlan,
    /// Of the whole schema of the monolith.
    pub(super) source: &'a BTreeMap<String, SurveyedTable>,
    /// Of the whole schema of the candidate.
    pub(super) target: &'a BTreeMap<String, SurveyedTable>,
    pub(super) servers: &'a (Server, Server),
}

impl Facts<'_> {
    pub(super) fn check(&self, report: &mut Report) {
        for table in &self.plan.tables {
            if let Some(survey) = self.source.get(table.source.name.as_str()) {
                self.check_readable(table, survey, report);
                self.check_followed(table, survey, report);
                self.check_references(table, survey, report);
                check_source_triggers(table, survey, report);
            }
            if let Some(survey) = self.target.get(table.target.name.as_str()) {
                self.check_target(table, survey, report);
            }
        }
        self.check_referring(report);
        self.check_cuts(report);
    }

    fn check_readable(&self, table: &TablePlan, survey: &SurveyedTable, report: &mut Report) {
        let role = quoted(&self.servers.0.role);
        if !survey.readable {
            report.errors([Finding::new(
                &table.key,
                format!("the role {role} may not read `{}`", table.source),
                format!("GRANT SELECT ON {} TO {role}", table.source.quoted()),
            )]);
        }
        if survey.row_security && !self.servers.0.sees_all_rows {
            report.errors([Finding::new(
                &table.key,
                format!("row security hides rows of `{}` from the role {role}", table.source),
                format!("ALTER ROLE {role} BYPASSRLS"),
            )]);
        }
        if survey.inherited {
            report.add(
                Severity::Warning,
                Finding::new(
                    &table.key,
                    format!(
                        "other tables inherit from `{}`: reading it reads their rows, following it does not",
                        table.source
                    ),
                    "give those tables a place in the mapping, or make them partitions",
                ),
            );
        }
    }

    fn check_followed(&self, table: &TablePlan, survey: &SurveyedTable, report: &mut Report) {
        if survey.unlogged {
            report.errors([Finding::new(
                &table.key,
                format!("`{}` is unlogged, so its changes cannot be followed", table.source),
                format!("ALTER TABLE {} SET LOGGED", table.source.quoted()),
            )]);
        }
        if table.identity.is_empty() {
            report.add(
                Severity::Warning,
                Finding::new(
                    &table.key,
                    format!(
                        "`{}` has no key: it is copied in one part, and compared by counting equal rows",
                        table.source
                    ),
                    "add a primary key where one makes sense, or name unique columns as `identity`",
                ),
            );
        }
        if !survey.base.owned {
            let role = quoted(&self.servers.0.role);
            report.add(
                Severity::Warning,
                Finding::new(
                    &table.key,
                    format!("only the owner of `{}` can publish it to be followed", table.source),
                    format!("GRANT {} TO {role}", quoted(&survey.owner)),
                ),
            );
        }
        check_replica_identity(table, survey, self.plan.owner, report);
    }

    /// Foreign keys into tables that do not move along.
    fn check_references(&self, table: &TablePlan, survey: &SurveyedTable, report: &mut Report) {
        for reference in &survey.base.references {
            let stays = !self.plan.tables.iter().any(|other| {
                other.source.name.as_str() == reference.table && other.source.schema.as_str() == reference.schema
            });
            if stays && !table.cut.contains(&reference.name) {
                report.add(
                    Severity::Warning,
                    Finding::new(
                        &table.key,
                        format!(
                            "its foreign key `{}` refers to `{}`, which is not in the slice: the candidate will not have it",
                            reference.name, reference.table
                        ),
                        format!(
                            "say so: {}.cut.{} = [\"{}\"]; or let `{}` move along",
                            at(self.plan),
                            table.target.name,
                            reference.name,
                            reference.table
                        ),
                    ),
                );
            }
        }
    }

    fn check_target(&self, table: &TablePlan, survey: &SurveyedTable, report: &mut Report) {
        for trigger in &survey.triggers {
            match trigger.enabled.as_str() {
                "A" | "R" => report.errors([Finding::new(
                    &table.key,
                    format!("the trigger `{}` of `{}` would change rows as they come", trigger.name, table.target),
                    format!(
                        "ALTER TABLE {} ENABLE TRIGGER {}: it then does not fire for replicated rows",
                        table.target.quoted(),
                        quoted(&trigger.name)
                    ),
                )]),
                "O" => report.add(
                    Severity::Note,
                    Finding::new(
                        &table.key,
                        format!(
                            "the trigger `{}` of `{}` does not fire for rows of the monolith",
                            trigger.name, table.target
                        ),
                        "what it does has been done there already, or it must not matter",
                    ),
                ),
                _ => {}
            }
        }
        if survey.replica_identity == "n" {
            report.add(
                Severity::Warning,
                Finding::new(
                    &table.key,
                    format!("`{}` has no replica identity: after a cutover its updates would fail", table.target),
                    format!("ALTER TABLE {} REPLICA IDENTITY DEFAULT", table.target.quoted()),
                ),
            );
        }
    }

    /// Tables that stay, and refer to one that moves.
    fn check_referring(&self, report: &mut Report) {
        for (name, survey) in self.source {
            if self.plan.tables.iter().any(|table| table.source.name.as_str() == name) {
                continue;
            }
            for reference in &survey.base.references {
                let moved = self.plan.tables.iter().find(|table| table.source.name.as_str() == reference.table);
                let Some(table) = moved.filter(|table| table.source.schema.as_str() == reference.schema) else {
                    continue;
                };
                report.add(
                    Severity::Warning,
                    Finding::new(
                        &table.key,
                        format!("`{name}` stays with the monolith and refers to it by `{}`", reference.name),
                        "after the cutover that constraint sees only what comes back from the candidate: drop it before, or \
                         move the table along",
                    ),
                );
            }
        }
    }

    /// Names of foreign keys that are cut must be there, or something else is meant.
    fn check_cuts(&self, report: &mut Report) {
        for table in &self.plan.tables {
            let there: Vec<&str> = self
                .source
                .get(table.source.name.as_str())
                .map(|survey| survey.base.references.iter().map(|reference| reference.name.as_str()).collect())
                .unwrap_or_default();
            for cut in table.cut.iter().filter(|cut| !there.contains(&cut.as_str())) {
                let slices = self.mapping.slices.len();
                report.errors([Finding::new(
                    key(&format!("{}.cut", at(self.plan)), table.target.name.as_str()),
                    format!("`{}` has no foreign key `{cut}`", table.source),
                    format!("it has {}; one of the {slices} slices may mean another table", list(&there)),
                )]);
            }
        }
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// By what the stream tells the rows of a table apart.
fn check_replica_identity(table: &TablePlan, survey: &SurveyedTable, owner: Owner, report: &mut Report) {
    let primary = survey.base.primary_key();
    let full = format!("ALTER TABLE {} REPLICA IDENTITY FULL", table.source.quoted());
    let names_nothing = survey.replica_identity == "n" || survey.replica_identity == "d" && primary.is_none();
    if names_nothing {
        let (severity, what) = match owner {
            Owner::Switch => {
                (Severity::Error, "once it is followed, every update and delete of the monolith's would fail")
            }
            Owner::Append => (Severity::Warning, "once it is followed, an update or delete would fail"),
        };
        report.add(
            severity,
            Finding::new(&table.key, format!("`{}` has no replica identity: {what}", table.source), full),
        );
        return;
    }
    let identity: Vec<&str> = table.identity.iter().map(|key| key.source.as_str()).collect();
    let by_primary = survey.replica_identity == "d";
    let same = primary.is_some_and(|primary| {
        primary.len() == identity.len() && primary.iter().all(|name| identity.contains(&name.as_str()))
    });
    if by_primary && !same && !identity.is_empty() {
        report.add(
            Severity::Warning,
            Finding::new(
                format!("{}.identity", table.key),
                format!(
                    "the stream tells rows of `{}` apart by the primary key, the mapping by {}",
                    table.source,
                    list(&identity)
                ),
                full,
            ),
        );
    }
    if survey.replica_identity == "f" {
        report.add(
            Severity::Note,
            Finding::new(
                &table.key,
                format!(
                    "each update of `{}` writes the whole old row to the WAL (REPLICA IDENTITY FULL)",
                    table.source
                ),
                "where it has a primary key, DEFAULT is enough",
            ),
        );
    }
}

fn check_source_triggers(table: &TablePlan, survey: &SurveyedTable, report: &mut Report) {
    for trigger in survey.triggers.iter().filter(|trigger| trigger.enabled != "D") {
        report.add(
            Severity::Note,
            Finding::new(
                &table.key,
                format!("the monolith's trigger `{}` does not move: {}", trigger.name, trigger.definition),
                "after the cutover the service does what it did, or nobody does",
            ),
        );
    }
    for rule in &survey.rules {
        report.add(
            Severity::Note,
            Finding::new(
                &table.key,
                format!("the rule `{rule}` of `{}` does not move", table.source),
                "see what it does",
            ),
        );
    }
}

/// Types and columns that come from extensions.
pub(super) async fn check_types(
    source: &mut PgConnection,
    target: &mut PgConnection,
    plan: &SlicePlan,
    report: &mut Report,
) -> sqlx::Result<()> {
    for table in &plan.tables {
        let used: Vec<(String, String)> = sqlx::query_as(
            "select distinct e.extname::text, e.extversion from pg_attribute a \
             join pg_type t on t.oid = a.atttypid \
             join pg_depend d on d.classid = 'pg_type'::regclass and d.objid in (t.oid, t.typelem) and d.deptype = 'e' \
             join pg_extension e on e.oid = d.refobjid \
             join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace \
             where n.nspname = $1 and c.relname = $2 and a.attnum > 0 and not a.attisdropped order by 1",
        )
        .bind(table.source.schema.as_str())
        .bind(table.source.name.as_str())
        .fetch_all(&mut *source)
        .await?;
        for (name, version) in used {
            let there: Option<String> = sqlx::query_scalar("select extversion from pg_extension where extname = $1")
                .bind(&name)
                .fetch_optional(&mut *target)
                .await?;
            match there {
                None if table.missing => report.errors([Finding::new(
                    &table.key,
                    format!("`{}` has a type of the extension `{name}`, which the target does not have", table.source),
                    format!("CREATE EXTENSION {} in the target", quoted(&name)),
                )]),
                Some(other) if other != version => report.add(
                    Severity::Note,
                    Finding::new(
                        &table.key,
                        format!("the extension `{name}` is {version} in the source and {other} in the target"),
                        "ALTER EXTENSION … UPDATE, unless the difference is known to be harmless",
                    ),
                ),
                _ => {}
            }
        }
    }
    Ok(())
}

/// What the roles lack.
pub(super) async fn check_rights(
    source: &mut PgConnection,
    target: &mut PgConnection,
    plan: &SlicePlan,
    report: &mut Report,
) -> sqlx::Result<()> {
    let missing = |schema: &Identifier, role: &str, right: &str| {
        Finding::new(
            at(plan),
            format!("the role {} lacks {right} on schema `{schema}`", quoted(role)),
            format!("GRANT {right} ON SCHEMA {} TO {}", schema.quoted(), quoted(role)),
        )
    };
    let (role, usable): (String, Option<bool>) = schema_right(source, &plan.source_schema, "USAGE").await?;
    if usable == Some(false) {
        report.errors([missing(&plan.source_schema, &role, "USAGE")]);
    }
    for right in ["USAGE", "CREATE"] {
        let (role, has): (String, Option<bool>) = schema_right(target, &plan.target_schema, right).await?;
        // Who makes the schema has it; tables that are there need no CREATE.
        if has == Some(false) && (right == "USAGE" || plan.missing().next().is_some()) {
            report.errors([missing(&plan.target_schema, &role, right)]);
        }
    }
    for table in plan.tables.iter().filter(|table| !table.missing) {
        let row = sqlx::query(
            "select current_user::text, coalesce((select string_agg(r, ', ') \
             from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) as r \
             where not has_table_privilege(c.oid, r)), '') \
             from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2",
        )
        .bind(table.target.schema.as_str())
        .bind(table.target.name.as_str())
        .fetch_one(&mut *target)
        .await?;
        let (role, lacks): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if !lacks.is_empty() {
            report.errors([Finding::new(
                &table.key,
                format!("the role {} lacks {lacks} on `{}`", quoted(&role), table.target),
                format!("GRANT {lacks} ON {} TO {}", table.target.quoted(), quoted(&role)),
            )]);
        }
    }
    let (role, origins): (String, bool) = sqlx::query_as(
        "select current_user::text, bool_and(has_function_privilege(f::regprocedure, 'EXECUTE')) from unnest(array[ \
         'pg_replication_origin_create(text)', 'pg_replication_origin_session_setup(text)', \
         'pg_replication_origin_xact_setup(pg_lsn, timestamptz)', 'pg_replication_origin_progress(text, boolean)']) as f",
    )
    .fetch_one(target)
    .await?;
    if !origins {
        report.add(
            Severity::Warning,
            Finding::new(
                at(plan),
                format!(
                    "the role {} may not mark rows with where they come from, which the way back needs",
                    quoted(&role)
                ),
                format!(
                    "GRANT EXECUTE ON FUNCTION pg_replication_origin_create, pg_replication_origin_session_setup, \
                     pg_replication_origin_session_reset, pg_replication_origin_xact_setup, \
                     pg_replication_origin_progress, pg_replication_origin_oid TO {}",
                    quoted(&role)
                ),
            ),
        );
    }
    Ok(())
}

/// The role, and whether it has a right on a schema; none when that is not there.
async fn schema_right(
    connection: &mut PgConnection,
    schema: &Identifier,
    right: &str,
) -> sqlx::Result<(String, Option<bool>)> {
    sqlx::query_as(
        "select current_user::text, (select has_schema_privilege(oid, $2) from pg_namespace where nspname = $1)",
    )
    .bind(schema.as_str())
    .bind(right)
    .fetch_one(connection)
    .await
}

/// Columns that the monolith numbers must be numbered by somebody afterwards.
pub(super) async fn check_sequences(
    target: &mut PgConnection,
    plan: &SlicePlan,
    source: &BTreeMap<String, SurveyedTable>,
    report: &mut Report,
) -> sqlx::Result<()> {
    let there = catalog(target, plan).await?;
    for table in &plan.tables {
        let (Some(survey), Some(own)) =
            (source.get(table.source.name.as_str()), there.tables.get(table.target.name.as_str()))
        else {
            continue;
        };
        for column in &table.columns {
            let Some(from) = column.source.as_ref().and_then(|name| survey.base.column(name.as_str())) else {
                continue;
            };
            let numbered =
                from.sequence.is_some() || from.default.as_ref().is_some_and(|default| default.contains("nextval("));
            let supplied = own
                .column(column.name.as_str())
                .is_some_and(|own| own.default.is_some() || own.generation != Generation::None);
            if numbered && !supplied {
                report.add(
                    Severity::Warning,
                    Finding::new(
                        key(&format!("{}.columns", table.key), column.name.as_str()),
                        format!("the monolith numbers `{}` by a sequence, and `{}` has none", from.name, table.target),
                        format!(
                            "ALTER TABLE {} ALTER COLUMN {} ADD GENERATED BY DEFAULT AS IDENTITY, unless the service gives \
                             the numbers itself",
                            table.target.quoted(),
                            column.name.quoted()
                        ),
                    ),
                );
            }
        }
    }
    Ok(())
}

/// A name that a catalog gave, as SQL.
fn quoted(name: &str) -> String {
    Identifier::new(name).map_or_else(|_| name.to_owned(), |name| name.quoted())
}
