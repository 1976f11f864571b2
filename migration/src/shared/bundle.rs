//! The SQL of one view with its triggers: created, replaced and dropped as one.
//!
//! # What a write through the view does
//! The trigger functions run with the rights of whoever applied the plan (`SECURITY DEFINER`), as
//! the view itself does, so the candidate's role needs nothing on the monolith's tables. Their
//! `search_path` is pinned to the system's and the monolith's schema: nobody can slip a function of
//! their own under them, and the monolith's own triggers find their tables as they always do.
//!
//! *Insert*: a column left out gets the monolith's default, as the default of the view's column;
//! sequences are asked inside of the trigger, where the candidate needs no right on them. What the
//! monolith's row became is returned, so `RETURNING` works.
//!
//! *Update and delete*: an `INSTEAD OF` trigger is handed the row as the statement's snapshot saw
//! it and PostgreSQL does not look again, so a plain update would write over a change committed in
//! between. The trigger therefore changes the row only as long as it still is what the statement
//! saw, and otherwise raises `40001 serialization_failure`: writing through the view behaves as
//! under `REPEATABLE READ`, and no update is lost.

use std::collections::BTreeMap;

use serde_json::json;

use super::marker::{self, LIVE_PLACEHOLDER};
use crate::{
    base::{BaseColumn, Generation},
    identifier::{Identifier, QualifiedName, dollar_quoted, literal},
    projection::{BASE, Projection, ViewColumn, ViewColumnKind, quoted},
};

/// The parts of a row trigger.
const OPERATIONS: [&str; 3] = ["insert", "update", "delete"];

/// One view with what belongs to it, as statements.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    pub(crate) view: QualifiedName,
    pub(crate) functions: Vec<QualifiedName>,
    /// Makes everything; assumes that nothing of it is there.
    pub(crate) create: Vec<String>,
    /// Of all of the above: equal digests, equal bundles.
    pub(crate) digest: String,
}

impl Bundle {
    pub(crate) fn new(
        target: &str,
        role: Option<&Identifier>,
        search_path: &str,
        projection: &Projection,
        signature: &BTreeMap<String, String>,
    ) -> Self {
        let view = projection.view.clone();
        let functions = Self::function_names(&view);
        let mut create = vec![create_view(projection)];
        create.extend(projection.columns.iter().filter_map(|column| view_default(&view, column)));
        let bodies = [insert_body(projection), update_body(projection), delete_body(projection)];
        for ((operation, function), body) in OPERATIONS.iter().zip(&functions).zip(&bodies) {
            create.extend(trigger(target, &view, function, operation, body, search_path));
        }
        create.extend(role.map(|role| grant(&view, role)));
        let digest = marker::digest(&create);
        create.push(mark(target, &view, &digest, signature));
        Self { view, functions, create, digest }
    }

    /// The trigger functions of a view.
    pub(crate) fn function_names(view: &QualifiedName) -> Vec<QualifiedName> {
        let name = |operation| Identifier::derived(view.name.as_str(), &format!("_{operation}_row"));
        OPERATIONS.iter().map(|operation| QualifiedName::new(&view.schema, &name(operation))).collect()
    }
}

/// What gives a role the use of a view.
pub(crate) fn grant(view: &QualifiedName, role: &Identifier) -> String {
    format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}", view.quoted(), role.quoted())
}

fn create_view(projection: &Projection) -> String {
    let columns: Vec<String> =
        projection.columns.iter().map(|column| format!("    {} AS {}", column.read(), column.name.quoted())).collect();
    format!(
        "CREATE VIEW {} AS\nSELECT\n{}\nFROM {} AS {BASE}",
        projection.view.quoted(),
        columns.join(",\n"),
        projection.base.quoted()
    )
}

/// The monolith's default as the default of the view's column, unless a sequence is behind it.
fn view_default(view: &QualifiedName, column: &ViewColumn) -> Option<String> {
    let (base, conversion) = column.carried()?;
    let default = base.default.as_ref().filter(|_| sequence_value(base).is_none())?;
    // The cast matters: `now()` as the default of a `timestamp` is one only after assignment.
    let value = conversion.read(&format!("({default})::{}", base.bare_type));
    Some(format!("ALTER VIEW {} ALTER COLUMN {} SET DEFAULT {value}", view.quoted(), column.name.quoted()))
}

/// The SQL that asks a column's sequence, if it has one.
fn sequence_value(base: &BaseColumn) -> Option<String> {
    match (&base.sequence, &base.default) {
        (Some(sequence), _) if base.generation == Generation::IdentityByDefault => {
            Some(format!("nextval({}::regclass)", literal(sequence)))
        }
        (_, Some(default)) if default.contains("nextval(") => Some(format!("({default})")),
        _ => None,
    }
}

/// Whether the writer may give the column a value.
fn writable(base: &BaseColumn) -> bool {
    matches!(base.generation, Generation::None | Generation::IdentityByDefault)
}

fn new_value(column: &ViewColumn) -> String {
    format!("NEW.{}", column.name.quoted())
}

/// The value of an expression over the candidate's columns.
fn over_new_row(expression: &str) -> String {
    format!("(SELECT ({expression}) FROM (SELECT NEW.*) AS candidate)")
}

fn insert_body(projection: &Projection) -> String {
    let mut names = Vec::new();
    let mut values = Vec::new();
    for column in &projection.columns {
        let Some((base, conversion)) = column.carried().filter(|(base, _)| writable(base)) else { continue };
        let value = conversion.write(&new_value(column));
        names.push(quoted(base));
        values.push(match sequence_value(base) {
            Some(next) => format!("COALESCE({value}, {next})"),
            None => value,
        });
    }
    for write in &projection.computed_writes {
        let value = over_new_row(&write.expression);
        let default = sequence_value(&write.base).or_else(|| write.base.default.clone());
        names.push(quoted(&write.base));
        values.push(match default.filter(|_| write.base.not_null) {
            Some(default) => format!("COALESCE({value}, {default})"),
            None => value,
        });
    }
    let values = if names.is_empty() {
        "DEFAULT VALUES".to_owned()
    } else {
        format!("({})\n    VALUES ({})", names.join(", "), values.join(", "))
    };
    format!(
        "{refusals}    INSERT INTO {table} AS {BASE} {values}\n    RETURNING {reads} INTO NEW;\n    \
         IF NOT FOUND THEN RETURN NULL; END IF;\n    RETURN NEW;",
        refusals = refusals(projection, |column| format!("{} IS NOT NULL", new_value(column))),
        table = projection.base.quoted(),
        reads = reads(projection),
    )
}

fn update_body(projection: &Projection) -> String {
    let mut assignments = Vec::new();
    for column in &projection.columns {
        let Some((base, conversion)) = column.carried().filter(|(base, _)| writable(base)) else { continue };
        let name = quoted(base);
        let plain = conversion.write(&new_value(column));
        // A conversion need not lead back to the same text: what did not change is left alone.
        assignments.push(if plain == new_value(column) {
            format!("{name} = {plain}")
        } else {
            format!("{name} = CASE WHEN {} THEN {plain} ELSE {BASE}.{name} END", changed(column))
        });
    }
    for write in &projection.computed_writes {
        assignments.push(format!("{} = {}", quoted(&write.base), over_new_row(&write.expression)));
    }
    if assignments.is_empty() {
        return format!("{}    RETURN NEW;", refusals(projection, changed));
    }
    format!(
        "{refusals}    UPDATE {table} AS {BASE} SET {assignments}\n    WHERE {identity} AND {unchanged}\n    \
         RETURNING {reads} INTO NEW;\n{missed}    RETURN NEW;",
        refusals = refusals(projection, changed),
        table = projection.base.quoted(),
        assignments = assignments.join(", "),
        identity = identity(projection),
        unchanged = unchanged(projection),
        reads = reads(projection),
        missed = missed(projection, "update"),
    )
}

fn delete_body(projection: &Projection) -> String {
    format!(
        "    DELETE FROM {} AS {BASE}\n    WHERE {} AND {};\n{}    RETURN OLD;",
        projection.base.quoted(),
        identity(projection),
        unchanged(projection),
        missed(projection, "delete"),
    )
}

fn reads(projection: &Projection) -> String {
    projection.columns.iter().map(ViewColumn::read).collect::<Vec<_>>().join(", ")
}

/// Binary equality of rows: it works for types that have no equality, such as json, and takes two
/// nulls for equal. The casts keep the parser from comparing column by column.
fn changed(column: &ViewColumn) -> String {
    let name = column.name.quoted();
    format!("ROW(NEW.{name})::record OPERATOR(pg_catalog.*<>) ROW(OLD.{name})::record")
}

/// Finds the row through the candidate's values, which is what the index twins are made for.
fn identity(projection: &Projection) -> String {
    let conditions: Vec<String> = projection
        .columns
        .iter()
        .filter(|column| projection.identity.contains(&column.name))
        .map(|column| format!("{} = OLD.{}", column.read(), column.name.quoted()))
        .collect();
    conditions.join(" AND ")
}

/// The row still is what the statement saw, as far as the view carries it.
fn unchanged(projection: &Projection) -> String {
    let carried: Vec<&ViewColumn> = projection.columns.iter().filter(|column| column.carried().is_some()).collect();
    let now: Vec<String> = carried.iter().map(|column| column.read()).collect();
    let seen: Vec<String> = carried.iter().map(|column| format!("OLD.{}", column.name.quoted())).collect();
    format!("ROW({})::record OPERATOR(pg_catalog.*=) ROW({})::record", now.join(", "), seen.join(", "))
}

/// Tells a row that is gone (nothing to do) from one that changed (the statement must run again).
fn missed(projection: &Projection, operation: &str) -> String {
    let message =
        format!("could not {operation} a row of {}: it changed since this statement read it", projection.view);
    format!(
        "    IF NOT FOUND THEN\n        IF EXISTS (SELECT FROM {} AS {BASE} WHERE {} AND NOT ({})) THEN\n            \
         RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = {}, HINT = 'Run the transaction again.';\n        \
         END IF;\n        RETURN NULL;\n    END IF;\n",
        projection.base.quoted(),
        identity(projection),
        unchanged(projection),
        literal(&message),
    )
}

/// Refuses a value for a column that nothing can be written to, instead of losing it in silence.
fn refusals(projection: &Projection, given: impl Fn(&ViewColumn) -> String) -> String {
    let used = |name: &str| projection.computed_writes.iter().any(|write| write.expression.contains(name));
    let read_only = projection.columns.iter().filter(|column| match &column.kind {
        ViewColumnKind::Carried { base, .. } => !writable(base),
        ViewColumnKind::Computed { .. } => !used(column.name.as_str()),
    });
    read_only
        .map(|column| {
            let message = format!("cannot write column \"{}\" of {}: it is computed", column.name, projection.view);
            format!(
                "    IF {} THEN\n        RAISE EXCEPTION USING ERRCODE = '428C9', MESSAGE = {};\n    END IF;\n",
                given(column),
                literal(&message)
            )
        })
        .collect()
}

fn trigger(
    target: &str,
    view: &QualifiedName,
    function: &QualifiedName,
    operation: &str,
    body: &str,
    search_path: &str,
) -> [String; 4] {
    // Names of columns win over plpgsql's variables, so that a column may be called `found`.
    let body = format!("\n#variable_conflict use_column\nBEGIN\n{body}\nEND\n");
    let name = function.quoted();
    let operation_upper = operation.to_uppercase();
    [
        format!(
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = {search_path} AS {}",
            dollar_quoted(&body)
        ),
        format!("REVOKE ALL ON FUNCTION {name}() FROM PUBLIC"),
        format!("COMMENT ON FUNCTION {name}() IS {}", literal(&marker::text(&json!({ "target": target })))),
        format!(
            "CREATE TRIGGER {} INSTEAD OF {operation_upper} ON {} FOR EACH ROW EXECUTE FUNCTION {name}()",
            function.name.quoted(),
            view.quoted()
        ),
    ]
}

/// Marks the view as ours, with what it was made from and a digest of what PostgreSQL made of it.
fn mark(target: &str, view: &QualifiedName, digest: &str, signature: &BTreeMap<String, String>) -> String {
    let text = marker::text(&json!({
        "target": target, "definition": digest, "live": LIVE_PLACEHOLDER, "base": signature,
    }));
    let body = format!(
        "\nBEGIN\n    EXECUTE {} || quote_literal(replace({}, {}, ({})));\nEND\n",
        literal(&format!("COMMENT ON VIEW {} IS ", view.quoted())),
        literal(&text),
        literal(LIVE_PLACEHOLDER),
        marker::live_digest(&format!("{}::regclass", literal(&view.quoted()))),
    );
    format!("DO {}", dollar_quoted(&body))
}
