//! The rules as they are written.

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Pattern, RuleProblem};
use crate::{
    json::Bounds,
    selector::{Selector, Target},
};

/// The most rules of one route.
pub const MAX_RULES: usize = 256;

/// How the answers of a route are compared, `[routes.shadow.compare]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RulesConfig {
    /// Header fields that are compared; no others are.
    pub headers: Vec<String>,
    /// What counts as the same.
    pub rules: Vec<RuleConfig>,
    /// What is hidden before anything is stored.
    pub redact: RedactionConfig,
    /// What a comparison may cost.
    pub limits: LimitsConfig,
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self {
            headers: vec!["content-type".to_owned()],
            rules: Vec::new(),
            redact: RedactionConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// What it is about; see [`Selector`].
    pub path: String,
    /// What it says.
    pub rule: RuleKind,
    /// For `pattern`: a ready one by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// For `pattern`: a regular expression that the whole value has to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// For `tolerance`: how far apart two numbers may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute: Option<f64>,
    /// For `tolerance`: the same as a share of the larger one, 0.01 for a hundredth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative: Option<f64>,
    /// For `rename`: the member's name on the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// Whatever is here and below does not count.
    Ignore,
    /// Two values that both match a pattern are the same.
    Pattern,
    /// Two numbers that are near each other are the same.
    Tolerance,
    /// Here and below only types and names of members count. Lists may have any length; an element
    /// that the other list does not reach is held against the other's last one.
    Shape,
    /// A list is a bag of elements in any order.
    Set,
    /// A member has another name on the candidate.
    Rename,
}

/// What is hidden before anything is stored, `[routes.shadow.compare.redact]`. Header fields and
/// members of the usual names are always hidden; this adds to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedactionConfig {
    /// Places in bodies of requests and answers.
    pub paths: Vec<String>,
    /// Header fields.
    pub headers: Vec<String>,
    /// Parts of names of members and query parameters, in any case; `_` and `-` in names do not count.
    pub names: Vec<String>,
    /// Whether bodies that are neither JSON nor forms are stored. Nothing can be hidden in them, so
    /// without this only their length and digest are.
    pub keep_text: bool,
}

/// What a comparison may cost. A byte-equal body costs none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// How deep lists and objects may be inside each other.
    pub depth: usize,
    /// How many values a body may have.
    pub values: usize,
    /// How many pairs of values may be looked at.
    pub steps: usize,
    /// How large a compressed body may become, in bytes.
    pub unpacked_bytes: usize,
    /// How many differences are kept.
    pub differences: usize,
    /// How much of a value is kept, in bytes.
    pub value_bytes: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            depth: 64,
            values: 65_536,
            steps: 1_048_576,
            unpacked_bytes: 1_048_576,
            differences: 64,
            value_bytes: 256,
        }
    }
}

impl LimitsConfig {
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { depth: self.depth, nodes: self.values }
    }

    pub(super) fn check(&self, problems: &mut Vec<RuleProblem>) {
        for (key, value, least, most) in [
            ("depth", self.depth, 1, 128),
            ("values", self.values, 1, 1 << 20),
            ("steps", self.steps, 1, 1 << 26),
            ("unpacked_bytes", self.unpacked_bytes, 1, 1 << 26),
            ("differences", self.differences, 1, 1_024),
            ("value_bytes", self.value_bytes, 16, 65_536),
        ] {
            if !(least..=most).contains(&value) {
                let fix = format!("write {least} to {most}");
                problems.push(problem(&format!("limits.{key}"), "it is out of range", &fix));
            }
        }
    }
}

impl RuleConfig {
    /// A rule that whatever is at a path does not count.
    #[must_use]
    pub fn ignore(path: String) -> Self {
        Self { path, rule: RuleKind::Ignore, pattern: None, regex: None, absolute: None, relative: None, to: None }
    }

    pub(super) fn selector(&self) -> Result<Selector, RuleProblem> {
        for (key, given, rule) in [
            ("pattern", self.pattern.is_some(), RuleKind::Pattern),
            ("regex", self.regex.is_some(), RuleKind::Pattern),
            ("absolute", self.absolute.is_some(), RuleKind::Tolerance),
            ("relative", self.relative.is_some(), RuleKind::Tolerance),
            ("to", self.to.is_some(), RuleKind::Rename),
        ] {
            if given && self.rule != rule {
                return Err(problem(key, "this rule does not take it", "remove it, or write another `rule`"));
            }
        }
        selector("path", &self.path)
    }

    pub(super) fn pattern(&self) -> Result<Pattern, RuleProblem> {
        match (&self.pattern, &self.regex) {
            (Some(name), None) => Pattern::ready(name).ok_or_else(|| {
                let known: Vec<_> = Pattern::names().collect();
                problem("pattern", "there is no such pattern", &format!("write one of {}", known.join(", ")))
            }),
            (None, Some(expression)) => Pattern::of(expression).map_err(|error| {
                let message = error.to_string();
                problem("regex", message.lines().last().unwrap_or_default(), "correct the expression")
            }),
            _ => Err(problem("rule", "it needs one of `pattern` and `regex`", "write pattern = \"uuid\", for example")),
        }
    }

    /// Absolute and relative; one that is not given allows nothing.
    pub(super) fn tolerance(&self) -> Result<(f64, f64), RuleProblem> {
        if self.absolute.is_none() && self.relative.is_none() {
            return Err(problem(
                "rule",
                "it needs `absolute`, `relative` or both",
                "write absolute = 0.01, for example",
            ));
        }
        for (key, value) in [("absolute", self.absolute), ("relative", self.relative)] {
            if value.is_some_and(|value| !value.is_finite() || value < 0.0) {
                return Err(problem(key, "it is no distance", "write a number of 0 or more"));
            }
        }
        Ok((self.absolute.unwrap_or(0.0), self.relative.unwrap_or(0.0)))
    }

    pub(super) fn new_name(&self) -> Result<String, RuleProblem> {
        self.to.clone().ok_or_else(|| problem("rule", "it needs `to`", "write the member's name on the candidate"))
    }
}

pub(crate) fn problem(key: &str, message: &str, fix: &str) -> RuleProblem {
    RuleProblem { key: key.to_owned(), message: message.to_owned(), fix: fix.to_owned() }
}

pub(crate) fn selector(key: &str, text: &str) -> Result<Selector, RuleProblem> {
    let fix = "write a path such as $.items[*].id, $..updatedAt, headers['location'] or status";
    Selector::parse(text).map_err(|error| problem(key, &error.to_string(), fix))
}

/// Status and header fields have neither parts nor shape.
pub(super) fn in_body(selector: Selector) -> Result<Selector, RuleProblem> {
    match selector.target() {
        Target::Body(_) => Ok(selector),
        _ => Err(problem("path", "this rule is about bodies only", "start the path with $")),
    }
}

pub(crate) fn headers(key: &str, names: &[String], problems: &mut Vec<RuleProblem>) -> Vec<HeaderName> {
    let mut headers = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match name.parse::<HeaderName>() {
            Ok(name) if headers.contains(&name) => {}
            Ok(name) => headers.push(name),
            Err(_) => {
                let fix = "write a name such as \"content-type\"";
                problems.push(problem(&format!("{key}[{index}]"), "it is no name of a header field", fix));
            }
        }
    }
    headers
}
