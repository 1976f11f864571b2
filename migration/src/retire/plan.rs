//! What would archive and drop the monolith's tables, to be read by a person. Pure.

use std::fmt;

use serde::Serialize;

use crate::identifier::{QualifiedName, literal};

/// Something else that stands in the way of a DROP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Dependent {
    /// `view`, `foreign key`, `inheritance`, `function` or `publication`.
    pub kind: String,
    /// What it is.
    pub shown: String,
    /// The statement that takes it away.
    pub removal: String,
    /// The table that it depends on.
    #[sqlx(rename = "name")]
    pub table: String,
}

/// Commands and statements in the order in which they would be given. Nothing here gives them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetirePlan {
    /// Shell commands that write the tables to files, and read them back to see that they are whole.
    pub archive: Vec<String>,
    /// What has to go first.
    pub dependents: Vec<Dependent>,
    /// The tables, each before those that it refers to.
    pub drops: Vec<String>,
}

impl RetirePlan {
    /// `tables` are in an order in which a table is after those that it refers to.
    pub(super) fn new(slice: &str, tables: &[QualifiedName], dependents: Vec<Dependent>) -> Self {
        let named: Vec<String> = tables.iter().map(|table| format!("-t {}", shell(&table.quoted()))).collect();
        let file = shell(&format!("{slice}.dump"));
        let archive = if tables.is_empty() {
            Vec::new()
        } else {
            vec![
                format!("pg_dump --format=custom --file={file} {} \"$DATABASE_URL\"", named.join(" ")),
                format!("pg_restore --list {file}"),
                format!("sha256sum {file}"),
            ]
        };
        let drops = tables.iter().rev().map(|table| format!("DROP TABLE {}", table.quoted())).collect();
        Self { archive, dependents, drops }
    }
}

impl fmt::Display for RetirePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "-- 1. Archive, in a shell, with DATABASE_URL naming the monolith's database:")?;
        for command in &self.archive {
            writeln!(f, "--      {}", line(command))?;
        }
        writeln!(f, "-- 2. Then, in one transaction. Without CASCADE: what is not named here stops it.")?;
        writeln!(f, "BEGIN;\nSET LOCAL lock_timeout = '5s';")?;
        for Dependent { kind, shown, removal, table } in &self.dependents {
            writeln!(f, "-- {} depends on {}: decide who needs the {kind}", line(shown), line(table))?;
            writeln!(f, "{removal};")?;
        }
        for drop in &self.drops {
            writeln!(f, "{drop};")?;
        }
        write!(f, "COMMIT;")
    }
}

/// Text inside of a comment: nothing in it ends the line.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A word of a shell command.
fn shell(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A pattern for whole words that are a name, as PostgreSQL's regular expressions have it.
pub(super) fn word(name: &str) -> String {
    let escaped: String =
        name.chars().flat_map(|c| if c.is_alphanumeric() || c == '_' { vec![c] } else { vec!['\\', c] }).collect();
    literal(&format!("\\m{escaped}\\M"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identifier::Identifier;

    fn table(name: &str) -> QualifiedName {
        let legal = |text: &str| Identifier::new(text).expect("a legal name");
        QualifiedName::new(&legal("public"), &legal(name))
    }

    #[test]
    fn what_refers_goes_before_what_it_refers_to_and_dependents_first_of_all() {
        let view = Dependent {
            kind: "view".to_owned(),
            shown: "view report".to_owned(),
            removal: "DROP VIEW report".to_owned(),
            table: "public.orders".to_owned(),
        };
        let plan = RetirePlan::new("orders", &[table("orders"), table("lines")], vec![view]);
        insta::assert_snapshot!(plan);
    }

    #[test]
    fn a_name_ends_neither_a_shell_word_nor_a_comment() {
        let plan = RetirePlan::new("it's; rm -rf ~", &[table("a'; rm -rf ~\n; drop table b")], Vec::new());
        let text = plan.to_string();
        assert!(text.contains(r"--file='it'\''s; rm -rf ~.dump'"), "{text}");
        assert!(text.contains("\nDROP TABLE \"public\".\"a'; rm -rf ~\n; drop table b\";"), "{text}");
        let commands: Vec<&str> = text.lines().take_while(|line| line.starts_with("--")).collect();
        assert_eq!(commands.len(), 5, "{text}");
    }
}
