//! Reads everything that a plan is decided from.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{
    error::SharedError,
    existing::{Existing, search_path},
    plan::{Inputs, Plan, Purpose},
    projection::{TypeNames, legal},
    proof::prove,
};
use crate::{base::BaseSchema, mapping::Mapping};

/// Reads the catalog under the stage's search path; the caller's settings come back afterwards.
pub(super) async fn make_plan(
    connection: &mut PgConnection,
    mapping: &Mapping,
    purpose: Purpose,
) -> Result<Plan, SharedError> {
    let mut reading = connection.begin().await.map_err(SharedError::inspect("the catalog"))?;
    let inputs = read_inputs(&mut reading, mapping).await.map_err(SharedError::inspect("the catalog"))?;
    let plan = match purpose {
        Purpose::Remove => Plan::remove(mapping, &inputs),
        Purpose::Provide => Plan::provide(mapping, &inputs).map_err(|findings| SharedError::Unfit { findings })?,
    };
    let mut findings = Vec::new();
    for projection in &plan.unproven {
        let base = &inputs.base.tables[projection.base.name.as_str()];
        let found = prove(&mut reading, projection, base).await;
        findings.extend(found.map_err(SharedError::inspect("the rows"))?);
    }
    reading.rollback().await.map_err(SharedError::inspect("the catalog"))?;
    if findings.is_empty() { Ok(plan) } else { Err(SharedError::Unfit { findings }) }
}

async fn read_inputs(connection: &mut PgConnection, mapping: &Mapping) -> sqlx::Result<Inputs> {
    let path = search_path(&legal(&mapping.source.schema));
    sqlx::query(AssertSqlSafe(format!("SET LOCAL search_path = {path}"))).execute(&mut *connection).await?;
    let tables: BTreeSet<String> = mapping
        .targets
        .values()
        .flat_map(|target| &target.tables)
        .map(|(name, table)| table.from.as_ref().unwrap_or(name).clone())
        .collect();
    let tables: Vec<String> = tables.into_iter().collect();
    let base = BaseSchema::read(connection, &mapping.source.schema, &tables).await?;
    let types = read_types(connection, mapping).await?;
    let mut existing = BTreeMap::new();
    for (name, target) in &mapping.targets {
        let read = Existing::read(connection, name, &mapping.source.schema, &target.schema, target.role.as_deref());
        existing.insert(name.clone(), read.await?);
    }
    Ok(Inputs { base, types, existing })
}

/// The canonical name of every type that the mapping names.
async fn read_types(connection: &mut PgConnection, mapping: &Mapping) -> sqlx::Result<TypeNames> {
    let tables = mapping.targets.values().flat_map(|target| target.tables.values());
    let names: BTreeSet<&String> =
        tables.flat_map(|table| table.columns.values()).filter_map(|column| column.data_type.as_ref()).collect();
    let mut types = TypeNames::new();
    for name in names {
        // Before PostgreSQL 16, to_regtype raises an error where it later answers null.
        let mut attempt = connection.begin().await?;
        let canonical: Result<Option<String>, _> =
            sqlx::query_scalar("select format_type(to_regtype($1), -1)").bind(name).fetch_one(&mut *attempt).await;
        attempt.rollback().await?;
        let canonical = match canonical {
            Ok(canonical) => canonical,
            Err(sqlx::Error::Database(_)) => None,
            Err(other) => return Err(other),
        };
        types.insert(name.clone(), canonical.map(|canonical| with_modifier(&canonical, name)));
    }
    Ok(types)
}

/// The canonical name with the length or precision that the mapping gave, which the catalog's
/// lookup leaves out.
fn with_modifier(canonical: &str, written: &str) -> String {
    match (written.find('('), written.find(')')) {
        (Some(open), Some(close)) if open < close => {
            let modifier = &written[open..=close];
            match canonical.split_once(' ') {
                // "timestamp with time zone" has its precision after the first word.
                Some((first, rest)) if first.starts_with("time") => format!("{first}{modifier} {rest}"),
                _ => format!("{canonical}{modifier}"),
            }
        }
        _ => canonical.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::with_modifier;

    #[test]
    fn a_precision_goes_where_postgres_wants_it() {
        assert_eq!(with_modifier("timestamp with time zone", "timestamptz(3)"), "timestamp(3) with time zone");
        assert_eq!(with_modifier("numeric", "numeric(10,2)"), "numeric(10,2)");
        assert_eq!(with_modifier("uuid", "uuid"), "uuid");
    }
}
