//! The text of a first mapping. Pure: a survey in, TOML out.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

use super::{
    grouping::{Edge, Group, groups},
    survey::{Survey, SurveyedTable},
};
use crate::{
    base::{BaseColumn, Generation},
    identifier::Identifier,
};

/// Larger groups are cut where one foreign key holds them together.
const LARGE_GROUP: usize = 6;

/// A valid mapping that carries everything over as it is, with what there is to decide as comments.
pub(super) fn draft(survey: &Survey) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = Draft { survey, groups: groups(&names(survey), &edges(survey), LARGE_GROUP) }.write(&mut text);
    text
}

fn names(survey: &Survey) -> BTreeSet<String> {
    survey.tables.keys().cloned().collect()
}

fn edges(survey: &Survey) -> Vec<Edge> {
    let of = |(from, table): (&String, &SurveyedTable)| {
        let inside = table
            .base
            .references
            .iter()
            .filter(|reference| reference.schema == survey.schema && survey.tables.contains_key(&reference.table));
        let edge = |reference: &crate::base::Reference| Edge {
            name: reference.name.clone(),
            from: from.clone(),
            to: reference.table.clone(),
        };
        inside.map(edge).collect::<Vec<_>>()
    };
    survey.tables.iter().flat_map(of).collect()
}

struct Draft<'a> {
    survey: &'a Survey,
    groups: Vec<Group>,
}

impl Draft<'_> {
    fn write(&self, out: &mut String) -> fmt::Result {
        let Survey { database, version, time_zone, schema, tables } = self.survey;
        writeln!(out, "# A first draft, from the database {} (PostgreSQL {}).", shown(database), shown(version))?;
        writeln!(out, "# As it stands everything is carried over as it is. What to decide is marked with `decide`.")?;
        writeln!(out, "#")?;
        writeln!(out, "#   strangler db plan --mapping FILE              the views of the shared stage, as SQL")?;
        writeln!(out, "#   strangler db validate --mapping FILE          against both databases, with real rows\n")?;
        writeln!(out, "[source]\nschema = {}", quoted(schema))?;
        let zoneless =
            tables.values().flat_map(|table| &table.base.columns).filter(|column| is_zoneless(column)).count();
        if zoneless > 0 {
            writeln!(
                out,
                "# decide: {zoneless} columns are `timestamp`, which has no zone. In which one were they written? The\n\
                 # server's is {}, and that says nothing about the program that writes.",
                shown(time_zone)
            )?;
        }
        writeln!(out, "time_zone = \"UTC\"")?;
        if tables.is_empty() {
            writeln!(out, "\n# There is no table in this schema: name another one with --schema.")?;
        }
        let mut taken = BTreeSet::from([schema.clone()]);
        for group in &self.groups {
            self.write_group(group, &mut taken, out)?;
        }
        Ok(())
    }

    fn write_group(&self, group: &Group, taken: &mut BTreeSet<String>, out: &mut String) -> fmt::Result {
        let (mut rows, mut bytes) = (0, 0);
        for table in group.tables.iter().filter_map(|name| self.survey.tables.get(name)) {
            rows += table.rows;
            bytes += table.bytes;
        }
        let service = service(&group.hub, taken);
        let keyed: Vec<&String> = group.tables.iter().filter(|name| self.has_key(name)).collect();
        let mute = if keyed.is_empty() { "# " } else { "" };
        writeln!(
            out,
            "\n# ── {} table(s) around {}: about {rows} rows, {}",
            group.tables.len(),
            shown(&group.hub),
            size(bytes)
        )?;
        writeln!(out, "# decide: is this a service of its own, and what is it called?")?;
        writeln!(out, "{mute}[{}]\n{mute}schema = {}", path(&["targets", &service]), quoted(&service))?;
        writeln!(out, "# role = {}     # decide: who may use it; the role must be there", quoted(&service))?;
        for name in &group.tables {
            self.write_table(&service, name, out)?;
        }
        self.write_slice(group, &service, &keyed, mute, out)
    }

    fn has_key(&self, name: &str) -> bool {
        self.survey.tables.get(name).is_some_and(|table| identity(table) != Key::None)
    }

    fn write_table(&self, service: &str, name: &str, out: &mut String) -> fmt::Result {
        let Some(table) = self.survey.tables.get(name) else { return Ok(()) };
        let at = path(&["targets", service, "tables", name]);
        writeln!(out, "\n# {}: about {} rows, {}", shown(name), table.rows, size(table.bytes))?;
        for remark in remarks(table) {
            writeln!(out, "# {remark}")?;
        }
        match identity(table) {
            Key::Primary => writeln!(out, "[{at}]")?,
            Key::Unique(columns) => {
                let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
                writeln!(out, "[{at}]\nidentity = [{}]     # no primary key; a unique index", columns.join(", "))?;
            }
            Key::None => {
                writeln!(
                    out,
                    "# decide: no column tells its rows apart, so no view can be written through. Add a primary key;"
                )?;
                writeln!(
                    out,
                    "# or leave the shared stage out for it: it can be copied and compared as it is.\n# [{at}]"
                )?;
            }
        }
        let mute = if identity(table) == Key::None { "# " } else { "" };
        let suggestions: Vec<String> =
            table.base.columns.iter().filter_map(|column| suggestion(table, column)).collect();
        if !suggestions.is_empty() {
            writeln!(out, "{mute}[{at}.columns]")?;
            for suggestion in suggestions {
                writeln!(out, "# {suggestion}")?;
            }
        }
        Ok(())
    }

    fn write_slice(
        &self,
        group: &Group,
        service: &str,
        keyed: &[&String],
        mute: &str,
        out: &mut String,
    ) -> fmt::Result {
        writeln!(out, "\n{mute}[{}]\n{mute}target = {}", path(&["slices", service]), quoted(service))?;
        writeln!(
            out,
            "{mute}owner = \"switch\"     # decide: \"append\" where both sides may add rows, and neither changes any"
        )?;
        for edge in &group.cut {
            writeln!(
                out,
                "# cut: {} of {} refers to {}, which moves elsewhere; who deletes there, tells this service",
                shown(&edge.name),
                shown(&edge.from),
                shown(&edge.to)
            )?;
        }
        let tables: BTreeSet<&String> =
            group.cut.iter().map(|edge| &edge.from).filter(|name| keyed.contains(name)).collect();
        if !tables.is_empty() {
            let cut = tables.into_iter().map(|table| {
                let names = group.cut.iter().filter(|edge| edge.from == *table).map(|edge| quoted(&edge.name));
                format!("{} = [{}]", path(&[table]), names.collect::<Vec<_>>().join(", "))
            });
            writeln!(out, "cut = {{ {} }}", cut.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

/// What tells the rows of a table apart.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Primary,
    Unique(Vec<String>),
    None,
}

fn identity(table: &SurveyedTable) -> Key {
    let base = &table.base;
    if base.primary_key().is_some() {
        return Key::Primary;
    }
    let usable = base.indexes.iter().filter(|index| index.unique && index.predicate.is_none()).find(|index| {
        !index.columns.is_empty()
            && index.columns.iter().all(|part| base.column(&part.name).is_some_and(|column| column.not_null))
    });
    usable.map_or(Key::None, |index| Key::Unique(index.columns.iter().map(|part| part.name.clone()).collect()))
}

/// What a person should know of a table before it moves.
fn remarks(table: &SurveyedTable) -> Vec<String> {
    let mut remarks = Vec::new();
    if !table.readable {
        remarks.push("its rows could not be looked at: the role may not SELECT from it".to_owned());
    }
    if table.base.partitioned {
        remarks
            .push("partitioned: the candidate's copy is one table, unless its service has made partitions".to_owned());
    }
    if table.inherited {
        remarks.push("decide: other tables inherit from it, and reading it reads their rows too".to_owned());
    }
    if table.unlogged {
        remarks.push(
            "decide: unlogged or temporary; changes to it cannot be followed. ALTER TABLE … SET LOGGED".to_owned(),
        );
    }
    if table.row_security {
        remarks.push(
            "decide: row security hides rows from who may not bypass it; the tool's role needs BYPASSRLS".to_owned(),
        );
    }
    for trigger in table.triggers.iter().filter(|trigger| trigger.enabled != "D") {
        remarks.push(format!(
            "decide: a trigger of the monolith's; does the service do this itself? {}",
            shown(&trigger.definition)
        ));
    }
    for rule in &table.rules {
        remarks.push(format!("decide: the rule {} rewrites statements in the monolith only", shown(rule)));
    }
    let generated: Vec<&str> = named(table, |column| column.generation == Generation::Computed);
    if !generated.is_empty() {
        remarks.push(format!("generated by the database: {}", shown(&generated.join(", "))));
    }
    let counted = named(table, |column| {
        matches!(column.generation, Generation::IdentityAlways | Generation::IdentityByDefault)
            || column.default.as_ref().is_some_and(|default| default.contains("nextval("))
    });
    if !counted.is_empty() {
        remarks.push(format!("numbered by a sequence: {}", shown(&counted.join(", "))));
    }
    remarks
}

fn named(table: &SurveyedTable, wanted: impl Fn(&BaseColumn) -> bool) -> Vec<&str> {
    table.base.columns.iter().filter(|column| wanted(column)).map(|column| column.name.as_str()).collect()
}

fn is_zoneless(column: &BaseColumn) -> bool {
    column.bare_type == "timestamp without time zone"
}

/// A line for a column that could be of a better type.
fn suggestion(table: &SurveyedTable, column: &BaseColumn) -> Option<String> {
    let name = path(&[&column.name]);
    if is_zoneless(column) {
        return Some(format!("{name} = {{ type = \"timestamptz\" }}"));
    }
    if column.bare_type == "json" {
        return Some(format!("{name} = {{ type = \"jsonb\" }}     # sorts keys and drops doubled ones"));
    }
    let sample = table.samples.get(&column.name).filter(|sample| sample.is_uuid())?;
    Some(format!("{name} = {{ type = \"uuid\" }}     # all of {} sampled values are UUIDs", sample.values))
}

/// A name for the service around a table that no other has.
fn service(hub: &str, taken: &mut BTreeSet<String>) -> String {
    // A legal name of a schema, and no control characters in a heading.
    let stem: String = hub.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    let stem = stem.trim_start_matches("pg_").to_lowercase();
    let names = (1..).map(|place| if place == 1 { "_service".to_owned() } else { format!("_service{place}") });
    names
        .map(|suffix| Identifier::derived(&stem, &suffix).as_str().to_owned())
        .find(|name| taken.insert(name.clone()))
        .expect("there are more names than tables")
}

/// A dotted TOML key.
fn path(parts: &[&str]) -> String {
    let part = |part: &&str| {
        let bare = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if bare { (*part).to_owned() } else { quoted(part) }
    };
    parts.iter().map(part).collect::<Vec<_>>().join(".")
}

/// A TOML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// Text inside of a comment: nothing in it ends the line.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn size(bytes: i64) -> String {
    match bytes {
        ..1_048_576 => format!("{} KiB", bytes / 1024),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    #[test]
    fn names_of_an_attacker_end_neither_a_string_nor_a_comment() {
        let evil = "a\n[targets.x]\nschema = \"public\"\u{7f}";
        let table = SurveyedTable {
            readable: true,
            base: crate::base::BaseTable {
                columns: vec![BaseColumn {
                    name: evil.to_owned(),
                    bare_type: "json".to_owned(),
                    ..BaseColumn::default()
                }],
                indexes: vec![crate::base::BaseIndex {
                    name: evil.to_owned(),
                    unique: true,
                    primary: true,
                    columns: Vec::new(),
                    predicate: None,
                }],
                ..Default::default()
            },
            ..SurveyedTable::default()
        };
        let survey = Survey {
            database: evil.to_owned(),
            version: "15".to_owned(),
            time_zone: evil.to_owned(),
            schema: "public".to_owned(),
            tables: [(evil.to_owned(), table)].into(),
        };
        let text = draft(&survey);
        let mapping = Mapping::from_toml("draft", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(mapping.targets.len(), 1);
        assert!(mapping.targets.values().all(|target| target.tables.contains_key(evil)), "{text}");
    }
}
