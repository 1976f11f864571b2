//! The tables of a slice in one direction: what comes through the stream, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    finding::Finding,
    identifier::{Identifier, QualifiedName},
    projection::BASE,
    slice::{CANDIDATE, SlicePlan, TablePlan},
    stream::Direction,
    type_names::canonical,
};

/// All tables, in an order in which a row is after what it refers to, as far as there is one.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) tables: Vec<TableFlow>,
}

/// One table that is written, and the one that it comes from.
#[derive(Debug)]
pub(crate) struct TableFlow {
    pub(crate) from: QualifiedName,
    pub(crate) to: QualifiedName,
    /// Where in the mapping it is, for findings.
    pub(crate) place: String,
    /// The alias of a row in expressions.
    pub(crate) alias: &'static str,
    /// The columns that come through the stream.
    pub(crate) columns: Vec<FlowColumn>,
    /// Columns that do not come, because the other database computes them, with what they are computed by.
    pub(crate) derived: Vec<(Identifier, String)>,
    pub(crate) assignments: Vec<Assignment>,
    /// What tells rows apart; empty for a table without a key.
    pub(crate) key: Vec<KeyPart>,
    /// Which rows move, over the alias; all when it is none.
    pub(crate) filter: Option<String>,
    /// Columns that cannot be given another value once a row is there.
    pub(crate) fixed: BTreeSet<String>,
}

/// A column that comes through the stream.
#[derive(Debug)]
pub(crate) struct FlowColumn {
    pub(crate) name: Identifier,
    /// What its text is cast to where it is written.
    pub(crate) cast: String,
    /// Its type where it comes from.
    pub(crate) data_type: String,
}

/// A column that is written.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) to: Identifier,
    /// Its value over the alias.
    pub(crate) expression: String,
    /// The one column that it is made of; none when it may need any of them.
    pub(crate) from: Option<usize>,
}

/// A part of what tells rows apart.
#[derive(Debug)]
pub(crate) struct KeyPart {
    /// Its place among the columns that come.
    pub(crate) column: usize,
    pub(crate) to: Identifier,
    /// Its value over the alias.
    pub(crate) expression: String,
}

impl TableFlow {
    /// Whether a row can only be written when all of it is known.
    pub(crate) fn needs_whole_rows(&self) -> bool {
        self.filter.is_some() || self.assignments.iter().any(|assignment| assignment.from.is_none())
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.as_str() == name)
    }
}

impl Flow {
    /// Makes the flow of a plan; `to` is a session of the database that is written, with the search
    /// path of its schema.
    pub(crate) async fn read(to: &mut PgConnection, plan: &SlicePlan, direction: Direction) -> sqlx::Result<Self> {
        let names: BTreeSet<&String> = plan.tables.iter().flat_map(|table| types(table, direction)).collect();
        let known = canonical(to, names).await?;
        let known = |name: &String| known.get(name).is_some_and(Option::is_some);
        let mut tables: Vec<TableFlow> = plan
            .tables
            .iter()
            .map(|table| match direction {
                Direction::Forward => forward(table, known),
                Direction::Reverse => reverse(table, known),
            })
            .collect();
        for table in &mut tables {
            let fixed: Vec<String> = sqlx::query_scalar(
                "select attname::text from pg_attribute where attrelid = $1::regclass and attidentity = 'a' and not attisdropped",
            )
            .bind(table.to.quoted())
            .fetch_all(&mut *to)
            .await?;
            table.fixed = fixed.into_iter().collect();
        }
        Ok(Self { tables })
    }

    /// The tables by the name that they are published under.
    pub(crate) fn by_name(&self) -> BTreeMap<(&str, &str), Vec<usize>> {
        let mut found: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (number, table) in self.tables.iter().enumerate() {
            found.entry((table.from.schema.as_str(), table.from.name.as_str())).or_default().push(number);
        }
        found
    }

    /// What of the expressions the database that is written cannot evaluate: they may name functions
    /// that only the other one has.
    pub(crate) async fn obstacles(&self, to: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for table in &self.tables {
            let attempt = format!("EXPLAIN {}", super::statement::evaluation(table));
            if let Err(error) = sqlx::raw_sql(AssertSqlSafe(attempt)).execute(&mut *to).await {
                let sqlx::Error::Database(refused) = error else { return Err(error) };
                findings.push(Finding::new(
                    &table.place,
                    format!(
                        "the database of `{}` cannot evaluate the mapping's expressions: {}",
                        table.to,
                        refused.message()
                    ),
                    "let them use what both databases have, or make it there",
                ));
            }
        }
        Ok(findings)
    }
}

/// The names of the types that values come in.
fn types(table: &TablePlan, direction: Direction) -> Vec<&String> {
    match direction {
        Direction::Forward => table.source_columns.iter().map(|column| &column.data_type).collect(),
        Direction::Reverse => table.columns.iter().map(|column| &column.data_type).collect(),
    }
}

/// What a value's text is cast to: its own type where that is known, otherwise what carries it.
fn cast(data_type: &String, wire: Option<&String>, known: impl Fn(&String) -> bool) -> String {
    if known(data_type) { data_type.clone() } else { wire.cloned().unwrap_or_else(|| "text".to_owned()) }
}

fn forward(table: &TablePlan, known: impl Fn(&String) -> bool + Copy) -> TableFlow {
    let comes = |expression: &Option<String>| expression.is_none();
    let columns = table.source_columns.iter().filter(|column| comes(&column.expression));
    let derived =
        table.source_columns.iter().filter_map(|column| Some((column.name.clone(), column.expression.clone()?)));
    let mut flow = TableFlow {
        from: table.source.clone(),
        to: table.target.clone(),
        place: table.key.clone(),
        alias: BASE,
        columns: columns
            .map(|column| FlowColumn {
                name: column.name.clone(),
                cast: cast(&column.data_type, column.wire.as_ref(), known),
                data_type: column.data_type.clone(),
            })
            .collect(),
        derived: derived.collect(),
        assignments: Vec::new(),
        key: Vec::new(),
        filter: table.filter.clone(),
        fixed: BTreeSet::new(),
    };
    for column in table.columns.iter().filter(|column| column.written) {
        let from = column.source.as_ref().and_then(|source| flow.place_of(source.as_str()));
        flow.assignments.push(Assignment { to: column.name.clone(), expression: column.forward.clone(), from });
    }
    for key in &table.identity {
        let expression = table.column(&key.target).map(|column| column.forward.clone());
        if let (Some(column), Some(expression)) = (flow.place_of(key.source.as_str()), expression) {
            flow.key.push(KeyPart { column, to: key.target.clone(), expression });
        }
    }
    flow
}

fn reverse(table: &TablePlan, known: impl Fn(&String) -> bool + Copy) -> TableFlow {
    let mut flow = TableFlow {
        from: table.target.clone(),
        to: table.source.clone(),
        place: table.key.clone(),
        alias: CANDIDATE,
        // One that the candidate computes itself does not come: it is left out, or fetched where
        // it may be needed.
        columns: table
            .columns
            .iter()
            .filter(|column| {
                let name = column.name.as_str();
                column.written || table.backward.iter().any(|backward| backward.expression.contains(name))
            })
            .map(|column| FlowColumn {
                name: column.name.clone(),
                cast: cast(&column.data_type, column.wire.as_ref(), known),
                data_type: column.data_type.clone(),
            })
            .collect(),
        derived: Vec::new(),
        assignments: Vec::new(),
        key: Vec::new(),
        filter: None,
        fixed: BTreeSet::new(),
    };
    for column in &table.backward {
        let carrier = table.columns.iter().find(|target| {
            target.source.as_ref() == Some(&column.name) && column.expression.contains(&target.name.quoted())
        });
        let from = carrier.and_then(|target| flow.place_of(target.name.as_str()));
        flow.assignments.push(Assignment { to: column.name.clone(), expression: column.expression.clone(), from });
    }
    for key in &table.identity {
        let expression = table.backward.iter().find(|column| column.name == key.source);
        if let (Some(column), Some(backward)) = (flow.place_of(key.target.as_str()), expression) {
            let expression = backward.expression.clone();
            flow.key.push(KeyPart { column, to: key.source.clone(), expression });
        }
    }
    flow
}
