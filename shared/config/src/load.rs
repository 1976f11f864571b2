//! Layering, typing and checking, collecting every problem on the way.
//!
//! A deserializer stops at its first error. To report all of them, the offending value is noted,
//! taken out (or, when it is missing, replaced by a stand-in) and the rest is read again, until
//! nothing new is found. Stand-ins never reach the caller: a document with one problem is refused.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use config::{ConfigError, Environment, Source as _, Value, ValueKind};
use miette::NamedSource;
use serde::de::DeserializeOwned;
use toml::{Spanned, de::DeTable};

use crate::{
    document::{self, Segment, display_path},
    problem::{Origin, Problem, Problems},
    redact::{is_secret, redact},
    report::{Report, Validate},
};

/// More problems than this are not looked for: a person mends a screenful at a time.
const MAX_PROBLEMS: usize = 50;

/// Where settings come from: the environment above a file above the defaults.
#[derive(Debug, Clone)]
pub struct Sources {
    prefix: String,
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Sources {
    /// The variables of this process that start with `PREFIX__`; `__` stands between the parts of a
    /// key, so that `PREFIX__HTTP__BIND` is `http.bind`. A list is written as in TOML: `["one", "two"]`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let environment =
            std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Self { prefix: prefix.to_owned(), file: None, environment: Vec::new() }.environment(environment)
    }

    /// Reads this TOML file below the environment.
    #[must_use]
    pub fn file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Uses these variables in place of the process's.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let start = format!("{}__", self.prefix);
        self.environment = variables.into_iter().filter(|(key, _)| key.starts_with(&start)).collect();
        self
    }
}

/// Reads, layers, types and checks the settings of a component.
///
/// # Errors
/// Every problem found: an unreadable or unparsable file, unknown keys, values of the wrong type,
/// missing values, and whatever [`Validate`] reports.
pub fn load<T: DeserializeOwned + Validate>(sources: &Sources) -> Result<T, Problems> {
    let (name, text) = match &sources.file {
        None => (String::new(), String::new()),
        Some(file) => (file.display().to_string(), read(file)?),
    };
    Layers::new(name, &text, sources)?.settle(T::validate)
}

/// Reads and checks one document, without the environment. `name` is what errors call it.
///
/// # Errors
/// As [`load`].
pub fn load_str<T: DeserializeOwned + Validate>(name: &str, text: &str) -> Result<T, Problems> {
    load_str_with(name, text, T::validate)
}

/// As [`load_str`], for a document whose checks need more than the document: `check` takes the
/// place of [`Validate`].
///
/// # Errors
/// As [`load`].
pub fn load_str_with<T: DeserializeOwned>(
    name: &str,
    text: &str,
    check: impl FnOnce(&T, &mut Report),
) -> Result<T, Problems> {
    let none = Sources { prefix: String::new(), file: None, environment: Vec::new() };
    Layers::new(name.to_owned(), text, &none)?.settle(check)
}

fn read(file: &Path) -> Result<String, Problems> {
    fs::read_to_string(file).map_err(|error| {
        Problems::from(Problem {
            origin: Origin::Default,
            key: String::new(),
            value: None,
            message: format!("cannot read {}: {error}", file.display()),
            fix: Some("name a readable TOML file in UTF-8".to_owned()),
            source: None,
            span: None,
        })
    })
}

/// The layers of one load, and where each value came from.
struct Layers<'a> {
    name: String,
    text: &'a str,
    source: Arc<NamedSource<String>>,
    table: Spanned<DeTable<'a>>,
    /// Keys that the environment set, with the name of the variable.
    from_environment: BTreeMap<String, String>,
    value: Value,
    problems: Vec<Problem>,
}

impl<'a> Layers<'a> {
    fn new(name: String, text: &'a str, sources: &Sources) -> Result<Self, Problems> {
        let source = Arc::new(NamedSource::new(&name, redact(text)).with_language("toml"));
        let (table, errors) = DeTable::parse_recoverable(text);
        let value = document::to_value(table.get_ref());
        let from_environment = BTreeMap::new();
        let mut layers = Self { name, text, source, table, from_environment, value, problems: Vec::new() };
        for error in errors {
            let problem = layers.at_span(error.span(), "", error.message().to_owned());
            layers.problems.push(Problem { fix: Some("write valid TOML here".to_owned()), ..problem });
        }
        if !layers.problems.is_empty() {
            return Err(Problems(layers.problems));
        }
        layers.overlay(sources);
        Ok(layers)
    }

    fn overlay(&mut self, sources: &Sources) {
        let variables: config::Map<String, String> = sources.environment.iter().cloned().collect();
        let collected = Environment::with_prefix(&sources.prefix)
            .prefix_separator("__")
            .separator("__")
            .source(Some(variables))
            .collect()
            .expect("all variables are Unicode, which is the only way collecting can fail");
        for (key, value) in collected {
            let variable = format!("{}__{}", sources.prefix, key.replace('.', "__").to_uppercase());
            let path: Vec<Segment> = key.split('.').map(|name| Segment::Name(name.to_owned())).collect();
            let shown = display_path(&path);
            self.from_environment.insert(shown.clone(), variable.clone());
            if !document::set(&mut self.value, &path, value) {
                let problem = Problem {
                    origin: Origin::Environment { variable },
                    fix: Some("check the name of the variable against the settings".to_owned()),
                    ..self.at_span(None, &shown, "a part of this key is no table".to_owned())
                };
                self.problems.push(problem);
            }
        }
    }

    fn settle<T: DeserializeOwned>(mut self, check: impl FnOnce(&T, &mut Report)) -> Result<T, Problems> {
        let settings = self.read_all::<T>();
        if let Some(settings) = &settings {
            let mut report = Report::default();
            check(settings, &mut report);
            for entry in report.entries {
                let mut problem = self.locate(&entry.path, entry.message);
                problem.fix = Some(entry.fix);
                // A stand-in may trip a check; its real problem has been reported already.
                if !self.problems.iter().any(|known| known.key == problem.key) {
                    self.problems.push(problem);
                }
            }
        }
        match settings {
            Some(settings) if self.problems.is_empty() => Ok(settings),
            _ => {
                self.problems.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
                Err(Problems(self.problems))
            }
        }
    }

    /// Reads until it succeeds, noting each value that stood in the way and then taking it out, so
    /// that its default takes its place, or a stand-in where it has none.
    fn read_all<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut stand_ins_tried: BTreeMap<String, usize> = BTreeMap::new();
        while self.problems.len() < MAX_PROBLEMS {
            let error = match serde_path_to_error::deserialize::<_, T>(self.value.clone()) {
                Ok(settings) => return Some(settings),
                Err(error) => error,
            };
            let mut path = self.segments(error.path());
            let message = message(error.inner());
            if needs_list(&message) && self.read_list(&path) {
                continue;
            }
            if let Some(field) = missing_field(&message) {
                path.push(Segment::Name(field.to_owned()));
            }
            let key = display_path(&path);
            let tried = stand_ins_tried.get(&key).copied();
            if tried.is_none() {
                let problem = self.refused(&path, message);
                self.problems.push(problem);
            }
            let removable = matches!(path.last(), Some(Segment::Name(_)));
            let changed = if tried.is_none() && removable && document::remove(&mut self.value, &path) {
                stand_ins_tried.insert(key, 0);
                true
            } else {
                let next = tried.unwrap_or(0);
                stand_ins_tried.insert(key, next + 1);
                stand_in(next).is_some_and(|value| document::set(&mut self.value, &path, value))
            };
            if !changed {
                return None;
            }
        }
        None
    }

    /// Text of the environment as the list that its field has turned out to need, where it is one in TOML's notation.
    /// Only then: a password may begin with a bracket.
    fn read_list(&mut self, path: &[Segment]) -> bool {
        if !self.from_environment.contains_key(&display_path(path)) {
            return false;
        }
        let text = document::get(&self.value, path).and_then(|value| value.clone().into_string().ok());
        let list = text.and_then(|text| document::list(&text));
        list.is_some_and(|list| document::set(&mut self.value, path, list))
    }

    /// The problem of a value that could not be read into its field.
    fn refused(&self, path: &[Segment], message: String) -> Problem {
        let mut problem = self.locate(path, message);
        if problem.message.starts_with("missing field") {
            problem.message = "it is required and not set".to_owned();
            problem.fix = Some(self.how_to_set(path));
        } else if problem.message.starts_with("unknown field") {
            if let Some(span) = document::find_key_span(&self.table, path) {
                problem = self.at_span(Some(span), &problem.key, problem.message);
            }
            let known = problem.message.split_once(", expected ").map(|(_, known)| known.to_owned());
            problem.message = "there is no such setting".to_owned();
            problem.value = None;
            problem.fix = Some(match known {
                Some(known) => format!("correct or remove it; known here: {}", known.trim_start_matches("one of ")),
                None => "remove it: nothing can be set here".to_owned(),
            });
        } else if is_secret(&problem.key) {
            // The text of a type error quotes the value.
            problem.message = "the value is not what this setting needs".to_owned();
        }
        if needs_list(&problem.message) {
            problem.fix = Some("write a list, such as [\"one\", \"two\"]".to_owned());
        }
        if problem.fix.is_none() {
            problem.fix = Some("correct the value, or remove the key where a default will do".to_owned());
        }
        problem
    }

    fn how_to_set(&self, path: &[Segment]) -> String {
        let key = display_path(path);
        match self.name.as_str() {
            "" => format!("set `{key}` in a file given with --config, or in the environment"),
            name => format!("set `{key}` in {name}"),
        }
    }

    /// A problem placed where its value was given: environment, document, or nowhere.
    fn locate(&self, path: &[Segment], message: String) -> Problem {
        let key = display_path(path);
        let value = document::get(&self.value, path).filter(|_| !is_secret(&key)).and_then(shown);
        // An unknown table is refused by its own key, which no variable names in full.
        let below = format!("{key}.");
        let named = |(set, _): &(&String, &String)| **set == key || set.starts_with(&below);
        if let Some((_, variable)) = self.from_environment.iter().find(named) {
            let origin = Origin::Environment { variable: variable.clone() };
            return Problem { origin, value, ..self.at_span(None, &key, message) };
        }
        let span = document::find_span(&self.table, path);
        Problem { value, ..self.at_span(span, &key, message) }
    }

    fn at_span(&self, span: Option<Range<usize>>, key: &str, message: String) -> Problem {
        let origin = span.as_ref().map_or(Origin::Default, |span| {
            let before = &self.text[..self.text.floor_char_boundary(span.start)];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            Origin::File { name: self.name.clone(), line, column }
        });
        let source = Some(Arc::clone(&self.source));
        Problem { origin, key: key.to_owned(), value: None, message, fix: None, source, span }
    }

    /// The path of an error as segments of the document. An enum's variant is a segment only where
    /// it is written as a key.
    fn segments(&self, path: &serde_path_to_error::Path) -> Vec<Segment> {
        let mut segments = Vec::new();
        for segment in path {
            match segment {
                serde_path_to_error::Segment::Seq { index } => segments.push(Segment::Index(*index)),
                serde_path_to_error::Segment::Map { key } => segments.push(Segment::Name(key.clone())),
                serde_path_to_error::Segment::Enum { variant } => {
                    segments.push(Segment::Name(variant.clone()));
                    if document::get(&self.value, &segments).is_none() {
                        segments.pop();
                    }
                }
                serde_path_to_error::Segment::Unknown => {}
            }
        }
        segments
    }
}

/// Values to read on with where a required one is missing, one kind after the other.
fn stand_in(index: usize) -> Option<Value> {
    let kinds = [
        ValueKind::String(String::new()),
        ValueKind::I64(1),
        ValueKind::Array(Vec::new()),
        ValueKind::Table(config::Map::new()),
        ValueKind::String("127.0.0.1:1".to_owned()),
        ValueKind::String("1s".to_owned()),
    ];
    kinds.into_iter().nth(index).map(|kind| Value::new(None, kind))
}

fn message(error: &ConfigError) -> String {
    match error {
        ConfigError::Message(text) => text.clone(),
        ConfigError::At { error, .. } => message(error),
        // The crate puts the whole key here; the path of the error has all but its last part.
        ConfigError::NotFound(key) => {
            let field = key.rsplit(['.', ']']).next().unwrap_or_default();
            format!("missing field `{field}`")
        }
        ConfigError::Type { unexpected, expected, .. } => format!("expected {expected}, found {unexpected}"),
        other => other.to_string(),
    }
}

/// Whether the field is a list and the value is none.
fn needs_list(message: &str) -> bool {
    message.ends_with(", expected a sequence")
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// A scalar as it should be shown; lists and tables are shown by their place alone.
fn shown(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::String(text) => Some(format!("{text:?}")),
        ValueKind::Nil | ValueKind::Array(_) | ValueKind::Table(_) => None,
        other => Some(other.to_string()),
    }
}
