//! The stack document: what runs on this machine, and how its parts find each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use layered_config::{HumanDuration, Problems, Report, Validate, load_str};
use schemars::JsonSchema;
use serde::Deserialize;

use super::restart::RestartPolicy;
use super::template::{Hole, Template};

/// Names that parts of the stack itself have.
const RESERVED: [&str; 2] = ["postgres", "s3"];

/// A parsed `stack.toml`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StackDocument {
    /// Names the default data folder.
    pub name: String,
    /// Files beside the document that are copied into the data folder when they are not there yet; a
    /// person edits the copies.
    #[serde(default)]
    pub files: Vec<String>,
    /// Files that are written into the data folder at each start, by name: addresses that other programs need.
    #[serde(default)]
    pub generated: BTreeMap<String, Template>,
    /// A PostgreSQL of the stack's own.
    pub postgres: Option<PostgresPart>,
    /// An S3 server of the stack's own.
    pub s3: Option<S3Part>,
    /// Child processes.
    #[serde(default)]
    pub process: Vec<ProcessPart>,
    /// Changes to a database between two processes' starts.
    #[serde(default)]
    pub database_step: Vec<DatabaseStep>,
    /// What to print for people, by name.
    #[serde(default)]
    pub urls: BTreeMap<String, Template>,
    /// When a part that ended is started again.
    #[serde(default)]
    pub restart: RestartPolicy,
}

/// PostgreSQL, from the binaries of this machine or a download, in the data folder.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresPart {
    /// Databases that are made.
    #[serde(default)]
    pub databases: Vec<String>,
    /// The account it runs as when the stack is started by root.
    pub account: Option<String>,
    /// How long it may take to start.
    #[serde(default = "default_ready_deadline")]
    pub ready_deadline: HumanDuration,
    /// How long an orderly shutdown may take.
    #[serde(default = "default_stop_deadline")]
    pub stop_deadline: HumanDuration,
}

/// An S3 server in the process that runs the stack, in the data folder.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Part {
    /// Buckets that are made.
    #[serde(default)]
    pub buckets: Vec<String>,
}

/// A program that runs as long as the stack does.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessPart {
    /// Its name in messages, of its log and of its folder.
    pub name: String,
    /// A binary beside this one or in `PATH`, or a path.
    pub program: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<Template>,
    /// Variables on top of this process's own.
    #[serde(default)]
    pub env: BTreeMap<String, Template>,
    /// A URL that answers 2xx once it is ready. Without one it is ready once it runs.
    pub ready: Option<Template>,
    /// Where a program that replaces itself by a new process, as the gateway does, writes the id of the one that serves;
    /// relative to its folder. The part goes on with that process. Without one whatever it started ends with it.
    pub pid_file: Option<Template>,
    /// What is ready before it starts the first time. Only that: it must bear any of them going away.
    #[serde(default)]
    pub depends: Vec<String>,
    /// How long it may take until it is ready.
    #[serde(default = "default_ready_deadline")]
    pub ready_deadline: HumanDuration,
    /// How long it may drain after SIGTERM before it is killed.
    #[serde(default = "default_stop_deadline")]
    pub stop_deadline: HumanDuration,
}

/// The shared data stage of the migration: the mapping's views are made before what depends on it starts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseStep {
    /// Its name in messages.
    pub name: String,
    /// The database it works on.
    pub database: String,
    /// The mapping document, in the data folder.
    pub mapping: String,
    /// What is ready before it runs.
    #[serde(default)]
    pub depends: Vec<String>,
    /// How long it may try.
    #[serde(default = "default_ready_deadline")]
    pub deadline: HumanDuration,
}

fn default_ready_deadline() -> HumanDuration {
    HumanDuration::from_secs(60)
}

fn default_stop_deadline() -> HumanDuration {
    HumanDuration::from_secs(35)
}

impl StackDocument {
    /// Reads a document; `name` is what problems call it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        load_str(name, text)
    }

    /// Every template with its key.
    fn templates(&self) -> Vec<(String, &Template, bool)> {
        let mut all: Vec<_> = self.urls.iter().map(|(name, url)| (format!("urls.{name}"), url, false)).collect();
        all.extend(self.generated.iter().map(|(name, text)| (format!("generated.{name}"), text, false)));
        for (index, process) in self.process.iter().enumerate() {
            let at = format!("process[{index}]");
            all.extend(process.args.iter().enumerate().map(|(i, arg)| (format!("{at}.args[{i}]"), arg, true)));
            all.extend(process.env.iter().map(|(name, value)| (format!("{at}.env.{name}"), value, true)));
            all.extend(process.ready.iter().map(|url| (format!("{at}.ready"), url, true)));
            all.extend(process.pid_file.iter().map(|file| (format!("{at}.pid_file"), file, true)));
        }
        all
    }

    /// Names of ports in the document.
    pub(super) fn port_names(&self) -> BTreeSet<String> {
        self.holes(|hole| if let Hole::Port(name) = hole { Some(name.clone()) } else { None })
    }

    /// Names of secrets in the document.
    pub(super) fn secret_names(&self) -> BTreeSet<String> {
        self.holes(|hole| if let Hole::Secret(name) = hole { Some(name.clone()) } else { None })
    }

    fn holes(&self, pick: impl Fn(&Hole) -> Option<String>) -> BTreeSet<String> {
        self.templates().iter().flat_map(|(_, template, _)| template.holes().filter_map(&pick)).collect()
    }

    /// The parts that have dependencies, in the order of the document: key, name, dependencies.
    pub(super) fn dependants(&self) -> Vec<(String, &str, &[String])> {
        let processes = self.process.iter().enumerate();
        let steps = self.database_step.iter().enumerate();
        processes
            .map(|(i, process)| (format!("process[{i}]"), process.name.as_str(), process.depends.as_slice()))
            .chain(steps.map(|(i, step)| (format!("database_step[{i}]"), step.name.as_str(), step.depends.as_slice())))
            .collect()
    }
}

impl Validate for StackDocument {
    fn validate(&self, report: &mut Report) {
        if !is_name(&self.name) {
            report.problem("name", "it is not a plain name", NAME_FIX);
        }
        self.validate_files(report);
        self.validate_names(report);
        self.validate_order(report);
        self.validate_holes(report);
        report.nested("restart", |report| self.restart.validate(report));
    }
}

const NAME_FIX: &str = "write letters, digits, `_` and `-`";

impl StackDocument {
    fn validate_files(&self, report: &mut Report) {
        for (index, file) in self.files.iter().enumerate() {
            if !is_file_name(file) {
                report.problem(&format!("files[{index}]"), "it leaves the folder", "name a file beside this one");
            }
        }
        for name in self.generated.keys() {
            let key = format!("generated.{name}");
            if !is_file_name(name) {
                report.problem(&key, "it leaves the folder", "name a file of the data folder");
            }
            if self.files.contains(name) {
                report.problem(&key, "a person edits the file of this name", "give each file a name of its own");
            }
        }
        for (index, step) in self.database_step.iter().enumerate() {
            let key = format!("database_step[{index}]");
            if !self.files.contains(&step.mapping) {
                report.problem(&format!("{key}.mapping"), "it is not one of `files`", "add it to `files` at the top");
            }
            self.validate_database(report, &format!("{key}.database"), &step.database);
        }
    }

    fn validate_database(&self, report: &mut Report, key: &str, database: &str) {
        let known =
            self.postgres.as_ref().is_some_and(|postgres| postgres.databases.iter().any(|name| name == database));
        if !known {
            let message = format!("there is no database `{database}`");
            report.problem(key, message, "name it in `databases` of `[postgres]`");
        }
    }

    fn validate_names(&self, report: &mut Report) {
        let mut seen = BTreeSet::from(RESERVED);
        for (key, name, _) in self.dependants() {
            let key = format!("{key}.name");
            if !is_name(name) {
                report.problem(&key, "it is not a plain name", NAME_FIX);
            }
            if !seen.insert(name) {
                report.problem(&key, format!("another part is called `{name}`"), "give each part a name of its own");
            }
        }
    }

    fn validate_order(&self, report: &mut Report) {
        let parts = self.dependants();
        for (key, _, depends) in &parts {
            for (index, other) in depends.iter().enumerate() {
                if !parts.iter().any(|(_, name, _)| name == other) {
                    let fix = "name a process or a database step; PostgreSQL and S3 are always there first";
                    report.problem(&format!("{key}.depends[{index}]"), format!("there is no part `{other}`"), fix);
                }
            }
        }
        if let Err(cycle) = start_order(&parts) {
            let (key, _, _) = &parts[cycle];
            report.problem(&format!("{key}.depends"), "it waits for itself, through others", "break the circle");
        }
    }

    fn validate_holes(&self, report: &mut Report) {
        for (key, template, of_process) in self.templates() {
            for hole in template.holes() {
                match hole {
                    Hole::PostgresUrl(database) => self.validate_database(report, &key, database),
                    Hole::S3Endpoint | Hole::S3AccessKey | Hole::S3SecretKey if self.s3.is_none() => {
                        report.problem(&key, format!("{hole} needs an S3 server"), "add a section `[s3]`");
                    }
                    Hole::Dir | Hole::Scratch if !of_process => {
                        report.problem(&key, format!("only a process has a `{hole}`"), "use `{data}`");
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Indexes of `parts` in the order of the document, except that what a part depends on comes before it.
///
/// # Errors
/// The index of a part on a circle.
pub(super) fn start_order(parts: &[(String, &str, &[String])]) -> Result<Vec<usize>, usize> {
    let mut order = Vec::with_capacity(parts.len());
    let mut above = Vec::new();
    for index in 0..parts.len() {
        place(index, parts, &mut above, &mut order)?;
    }
    Ok(order)
}

/// Places a part behind what it depends on; `above` are the parts that wait for it.
fn place(
    index: usize,
    parts: &[(String, &str, &[String])],
    above: &mut Vec<usize>,
    order: &mut Vec<usize>,
) -> Result<(), usize> {
    if order.contains(&index) {
        return Ok(());
    }
    if above.contains(&index) {
        return Err(index);
    }
    above.push(index);
    for needed in parts[index].2 {
        if let Some(other) = parts.iter().position(|(_, name, _)| name == needed) {
            place(other, parts, above, order)?;
        }
    }
    above.pop();
    order.push(index);
    Ok(())
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

fn is_file_name(text: &str) -> bool {
    Path::new(text).file_name().is_some_and(|name| name == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(text: &str) -> String {
        StackDocument::parse("stack.toml", text).expect_err("the document is wrong").to_string()
    }

    #[test]
    fn every_problem_is_shown_at_once_with_its_line() {
        let shown = problems_of(
            r#"
            name = "bad name"
            files = ["../secret"]
            generated = { "../address" = "x" }
            [postgres]
            databases = ["here"]
            [[process]]
            name = "a"
            program = "x"
            depends = ["nobody", "b"]
            env = { URL = "{postgres.url:elsewhere}", S3 = "{s3.endpoint}" }
            [[process]]
            name = "b"
            program = "x"
            depends = ["a"]
            [urls]
            home = "{dir}"
            "#,
        );
        for part in [
            "plain name",
            "leaves the folder",
            "name a file of the data folder",
            "`nobody`",
            "waits for itself",
            "`elsewhere`",
            "needs an S3",
            "{data}",
            "stack.toml:2",
        ] {
            assert!(shown.contains(part), "{part} is not in:\n{shown}");
        }
    }

    #[test]
    fn unknown_keys_and_holes_are_refused() {
        assert!(problems_of("name = 'x'\nspeed = 3").contains("speed"));
        assert!(problems_of("name = 'x'\n[urls]\na = '{oops}'").contains("{oops}"));
    }

    #[test]
    fn parts_start_after_what_they_need() {
        let (none, on_c, on_b) = (vec![], vec!["c".to_owned()], vec!["b".to_owned()]);
        let parts = [
            (String::new(), "a", on_c.as_slice()),
            (String::new(), "b", none.as_slice()),
            (String::new(), "c", on_b.as_slice()),
        ];
        assert_eq!(start_order(&parts), Ok(vec![1, 2, 0]));
    }
}
