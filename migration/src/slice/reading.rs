//! Reads both catalogs and makes the plan of a slice from them.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{
    SlicePlan,
    error::SliceError,
    table::{Parts, TablePlan},
};
use crate::{
    base::{BaseIndex, BaseSchema, IndexColumn},
    copy,
    finding::Finding,
    identifier::{Identifier, QualifiedName, search_path},
    mapping::{Mapping, Slice, Target, key},
    projection::{IdentityRule, Projection, TypeNames, legal},
    type_names::read_types,
};

/// Joins the mapping with both databases. Nothing is changed, and settings of the connections come
/// back as they were. Tables that the target does not have yet are marked as missing.
pub async fn read_plan(
    source: &mut PgConnection,
    target: &mut PgConnection,
    mapping: &Mapping,
    slice: &str,
) -> Result<SlicePlan, SliceError> {
    let slot = mapping.slices.get(slice).ok_or_else(|| SliceError::Unknown {
        name: slice.to_owned(),
        there: mapping.slices.keys().cloned().collect(),
    })?;
    let target_of = &mapping.targets[&slot.target];
    let schema = legal(slot.schema.as_ref().unwrap_or(&target_of.schema));
    let names = slot.table_names(target_of);
    let from = |name: &str| target_of.tables[name].from.clone().unwrap_or_else(|| name.to_owned());
    let base_names: Vec<String> = names.iter().map(|name| from(name)).collect();
    let source_schema = legal(&mapping.source.schema);
    let base = read_schema(source, &source_schema, &base_names)
        .await
        .map_err(SliceError::inspect("the catalog of the source"))?;
    let names: Vec<String> = names.into_iter().map(ToOwned::to_owned).collect();
    let (candidate, types) = read_target(target, &schema, &names, target_of)
        .await
        .map_err(SliceError::inspect("the catalog of the target"))?;
    let catalogs = Catalogs { base, candidate, types, schema, source_schema };
    catalogs.plan(mapping, slice, slot, &names)
}

struct Catalogs {
    base: BaseSchema,
    candidate: BaseSchema,
    types: TypeNames,
    schema: Identifier,
    source_schema: Identifier,
}

impl Catalogs {
    fn plan(self, mapping: &Mapping, name: &str, slice: &Slice, tables: &[String]) -> Result<SlicePlan, SliceError> {
        let mut findings = Vec::new();
        let mut planned = Vec::new();
        for table in tables {
            match self.table(mapping, slice, table) {
                Ok(table) => planned.push(table),
                Err(problems) => findings.extend(problems),
            }
        }
        if !findings.is_empty() {
            return Err(SliceError::Unfit { findings });
        }
        Ok(SlicePlan {
            name: name.to_owned(),
            target: slice.target.clone(),
            owner: slice.owner,
            unfit_rows: slice.unfit_rows,
            tables: in_order(planned, &self.base),
            source_schema: self.source_schema,
            target_schema: self.schema,
        })
    }

    fn table(&self, mapping: &Mapping, slice: &Slice, name: &str) -> Result<TablePlan, Vec<Finding>> {
        let at = key(&format!("{}.tables", key("targets", &slice.target)), name);
        let table = &mapping.targets[&slice.target].tables[name];
        let base_name = table.from.as_deref().unwrap_or(name);
        let Some(base) = self.base.tables.get(base_name) else {
            return Err(vec![Finding::new(
                at,
                format!("there is no table `{}.{base_name}`", self.source_schema),
                "is this the monolith's database? otherwise correct `from`",
            )]);
        };
        let view = QualifiedName::new(&self.schema, &legal(name));
        let rule = IdentityRule::IfThere;
        let projection = Projection::new(&at, view, table, &mapping.source, base, &self.types, rule)?;
        TablePlan::new(&Parts {
            projection: &projection,
            source: base,
            target: self.candidate.tables.get(name),
            filter: slice.filters.get(name),
            cut: slice.cut.get(name).map_or(&[], Vec::as_slice),
        })
    }
}

/// A table after those that its foreign keys refer to; what is in a circle comes as it is.
fn in_order(mut tables: Vec<TablePlan>, base: &BaseSchema) -> Vec<TablePlan> {
    let mut ordered = Vec::new();
    while !tables.is_empty() {
        let waits = |table: &TablePlan| {
            let name = table.source.name.as_str();
            let references = &base.tables[name].references;
            tables.iter().any(|other| {
                let other = other.source.name.as_str();
                other != name && references.iter().any(|reference| reference.table == other)
            })
        };
        let next = tables.iter().position(|table| !waits(table)).unwrap_or(0);
        ordered.push(tables.remove(next));
    }
    ordered
}

async fn read_schema(
    connection: &mut PgConnection,
    schema: &Identifier,
    tables: &[String],
) -> sqlx::Result<BaseSchema> {
    let mut reading = connection.begin().await?;
    set_path(&mut reading, schema).await?;
    let read = BaseSchema::read(&mut reading, schema.as_str(), tables).await?;
    reading.rollback().await?;
    Ok(read)
}

async fn read_target(
    connection: &mut PgConnection,
    schema: &Identifier,
    tables: &[String],
    target: &Target,
) -> sqlx::Result<(BaseSchema, TypeNames)> {
    let mut reading = connection.begin().await?;
    set_path(&mut reading, schema).await?;
    let mut read = BaseSchema::read(&mut reading, schema.as_str(), tables).await?;
    add_future_keys(&mut reading, schema, tables, &mut read).await?;
    let named = target.tables.iter().filter(|(name, _)| tables.contains(name)).map(|(_, table)| table);
    let types = read_types(&mut reading, named).await?;
    reading.rollback().await?;
    Ok((read, types))
}

/// Keys that a copy has put off until the rows are there.
async fn add_future_keys(
    connection: &mut PgConnection,
    schema: &Identifier,
    tables: &[String],
    read: &mut BaseSchema,
) -> sqlx::Result<()> {
    for (table, name, columns) in copy::future_keys(connection, schema, tables).await? {
        let Some(table) = read.tables.get_mut(&table).filter(|table| table.primary_key().is_none()) else { continue };
        let column = |name: String| IndexColumn { name, descending: false, nulls_first: false };
        let columns = columns.into_iter().map(column).collect();
        table.indexes.push(BaseIndex { name, unique: true, primary: true, columns, predicate: None });
    }
    Ok(())
}

async fn set_path(connection: &mut PgConnection, schema: &Identifier) -> sqlx::Result<()> {
    let set = format!("SET LOCAL search_path = {}", search_path(schema));
    sqlx::query(AssertSqlSafe(set)).execute(connection).await.map(drop)
}
