//! Reads everything that a plan is decided from.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{
    error::SharedError,
    existing::Existing,
    plan::{Inputs, Plan, Purpose},
    proof::prove,
};
use crate::{base::BaseSchema, identifier::search_path, mapping::Mapping, projection::legal, type_names::read_types};

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
    let tables = mapping.targets.values().flat_map(|target| target.tables.values());
    let types = read_types(connection, tables).await?;
    let mut existing = BTreeMap::new();
    for (name, target) in &mapping.targets {
        let read = Existing::read(connection, name, &mapping.source.schema, &target.schema, target.role.as_deref());
        existing.insert(name.clone(), read.await?);
    }
    Ok(Inputs { base, types, existing })
}
