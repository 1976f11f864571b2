//! The statements that write rows. Pure: a table's flow in, SQL out. Every column of many rows is one
//! parameter, an array of texts, so that the text of a statement does not depend on how many there are.

use super::flow::{Assignment, TableFlow};

/// The column that says which of the rows it is, counted from 1.
const PLACE: &str = "strangler_place";

/// The rows of the parameters, as the alias: columns that are known from `$1` on, the others null.
fn rows(table: &TableFlow, known: &[usize]) -> String {
    let values: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(number, column)| {
            let value = if known.contains(&number) { format!("raw.c{number}") } else { "NULL".to_owned() };
            format!("{value}::{} AS {}", column.cast, column.name.quoted())
        })
        .collect();
    let arrays: Vec<String> = (1..=known.len()).map(|number| format!("${number}::text[]")).collect();
    let names: Vec<String> = known.iter().map(|number| format!("c{number}")).collect();
    let plain = format!(
        "SELECT {}, raw.place AS {PLACE} FROM unnest({}) WITH ORDINALITY AS raw ({}, place)",
        values.join(", "),
        arrays.join(", "),
        names.join(", "),
    );
    with_derived(table, &plain)
}

fn with_derived(table: &TableFlow, plain: &str) -> String {
    let alias = table.alias;
    if table.derived.is_empty() {
        return format!("({plain}) AS {alias}");
    }
    let derived: Vec<String> =
        table.derived.iter().map(|(name, expression)| format!("({expression}) AS {}", name.quoted())).collect();
    format!("(SELECT plain.*, {} FROM ({plain}) AS plain) AS {alias}", derived.join(", "))
}

/// Every column that comes.
pub(crate) fn all_columns(table: &TableFlow) -> Vec<usize> {
    (0..table.columns.len()).collect()
}

/// The columns of the key.
pub(crate) fn key_columns(table: &TableFlow) -> Vec<usize> {
    table.key.iter().map(|part| part.column).collect()
}

/// A query that evaluates everything that the mapping says of a table, over one row of nulls.
pub(crate) fn evaluation(table: &TableFlow) -> String {
    let values: Vec<String> =
        table.columns.iter().map(|column| format!("NULL::{} AS {}", column.cast, column.name.quoted())).collect();
    let assigned = table.assignments.iter().map(|assignment| assignment.expression.clone());
    let expressions: Vec<String> = assigned.chain(table.filter.iter().map(|filter| format!("({filter})"))).collect();
    let rows = with_derived(table, &format!("SELECT {}", values.join(", ")));
    format!("SELECT {} FROM {rows}", expressions.join(", "))
}

/// Rows that are there whole: written over, or added. Parameters: every column.
pub(crate) fn upsert(table: &TableFlow) -> String {
    let names: Vec<String> = table.assignments.iter().map(|assignment| assignment.to.quoted()).collect();
    let values: Vec<&str> = table.assignments.iter().map(|assignment| assignment.expression.as_str()).collect();
    let filter = table.filter.as_ref().map(|filter| format!(" WHERE ({filter})")).unwrap_or_default();
    let mut sql = format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}{filter}",
        table.to.quoted(),
        names.join(", "),
        values.join(", "),
        rows(table, &all_columns(table)),
    );
    if table.key.is_empty() {
        return sql;
    }
    let key: Vec<String> = table.key.iter().map(|part| part.to.quoted()).collect();
    let set: Vec<String> = changeable(table, table.assignments.iter())
        .map(|assignment| format!("{0} = excluded.{0}", assignment.to.quoted()))
        .collect();
    let action = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
    sql.push_str(&format!(" ON CONFLICT ({}) DO {action}", key.join(", ")));
    sql
}

fn changeable<'a>(
    table: &'a TableFlow,
    assignments: impl Iterator<Item = &'a Assignment>,
) -> impl Iterator<Item = &'a Assignment> {
    assignments.filter(|assignment| {
        !table.key.iter().any(|part| part.to == assignment.to) && !table.fixed.contains(assignment.to.as_str())
    })
}

/// Takes away the rows of the parameters (every column) that the filter does not let move.
pub(crate) fn delete_filtered(table: &TableFlow) -> Option<String> {
    let filter = table.filter.as_ref()?;
    let rows = format!("{} WHERE ({filter}) IS NOT TRUE", rows(table, &all_columns(table)));
    Some(delete_from(table, &rows))
}

/// Takes away rows by their keys. Parameters: the columns of the key.
pub(crate) fn delete(table: &TableFlow) -> String {
    delete_from(table, &rows(table, &key_columns(table)))
}

fn delete_from(table: &TableFlow, rows: &str) -> String {
    let keys: Vec<String> =
        table.key.iter().enumerate().map(|(number, part)| format!("{} AS k{number}", part.expression)).collect();
    format!(
        "DELETE FROM {} AS kept USING (SELECT {} FROM {rows}) AS gone WHERE {}",
        table.to.quoted(),
        keys.join(", "),
        same_key(table, "kept", "gone"),
    )
}

fn same_key(table: &TableFlow, written: &str, given: &str) -> String {
    let parts = table.key.iter().enumerate();
    let parts: Vec<String> =
        parts.map(|(number, part)| format!("{written}.{} = {given}.k{number}", part.to.quoted())).collect();
    parts.join(" AND ")
}

/// Changes the columns that are known of rows that are there, and answers the places of those that
/// were. Parameters: the columns that are known, the key's among them.
pub(crate) fn update(table: &TableFlow, known: &[usize]) -> String {
    let is_known = |assignment: &&Assignment| assignment.from.is_some_and(|from| known.contains(&from));
    let assigned: Vec<&Assignment> = changeable(table, table.assignments.iter().filter(is_known)).collect();
    let keys = table.key.iter().enumerate().map(|(number, part)| format!("{} AS k{number}", part.expression));
    let values = assigned.iter().enumerate().map(|(number, a)| format!("{} AS v{number}", a.expression));
    let given: Vec<String> = keys.chain(values).collect();
    let set: Vec<String> = match assigned.as_slice() {
        // Nothing that is known has changed: it is only asked whether the row is there.
        [] => table.key.iter().take(1).map(|part| format!("{0} = kept.{0}", part.to.quoted())).collect(),
        _ => assigned.iter().enumerate().map(|(number, a)| format!("{} = given.v{number}", a.to.quoted())).collect(),
    };
    format!(
        "UPDATE {} AS kept SET {} FROM (SELECT {}, {PLACE} FROM {}) AS given WHERE {} RETURNING given.{PLACE}",
        table.to.quoted(),
        set.join(", "),
        given.join(", "),
        rows(table, known),
        same_key(table, "kept", "given"),
    )
}

/// Takes away one row of a table without a key that has exactly these values. Parameters: every
/// column, of one row.
pub(crate) fn delete_one(table: &TableFlow) -> String {
    let values = table.assignments.iter().enumerate();
    let values: Vec<String> = values.map(|(number, a)| format!("({})::text AS v{number}", a.expression)).collect();
    let same = table.assignments.iter().enumerate();
    let same: Vec<String> =
        same.map(|(number, a)| format!("kept.{}::text IS NOT DISTINCT FROM gone.v{number}", a.to.quoted())).collect();
    let to = table.to.quoted();
    format!(
        "DELETE FROM {to} WHERE (tableoid, ctid) = (SELECT kept.tableoid, kept.ctid FROM {to} AS kept, \
         (SELECT {} FROM {}) AS gone WHERE {} LIMIT 1)",
        values.join(", "),
        rows(table, &all_columns(table)),
        same.join(" AND "),
    )
}

/// Asks the database that changes come from for whole rows. Parameters: the columns of the key.
/// Answers the place of each that is there, and its values as text.
pub(crate) fn fetch(table: &TableFlow) -> String {
    let arrays: Vec<String> = (1..=table.key.len()).map(|number| format!("${number}::text[]")).collect();
    let names: Vec<String> = (0..table.key.len()).map(|number| format!("k{number}")).collect();
    let values: Vec<String> =
        table.columns.iter().map(|column| format!("found.{}::text", column.name.quoted())).collect();
    let keys = table.key.iter().enumerate().map(|(number, part)| {
        let column = &table.columns[part.column];
        format!("found.{} = raw.k{number}::{}", column.name.quoted(), column.data_type)
    });
    format!(
        "SELECT raw.place, ARRAY[{}]::text[] FROM unnest({}) WITH ORDINALITY AS raw ({}, place) JOIN {} AS found ON {}",
        values.join(", "),
        arrays.join(", "),
        names.join(", "),
        table.from.quoted(),
        keys.collect::<Vec<_>>().join(" AND "),
    )
}
