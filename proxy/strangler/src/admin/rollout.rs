//! The rollout document as a whole, and its history.

use std::fmt;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Admin, noted, noted_for};
use crate::arguments::{ChangeTerms, Note};

/// `POST /api/v1/rollout/plan`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Plan {
    /// What the document was compared with.
    pub(crate) revision: u64,
    pub(crate) hash: String,
    pub(crate) changes: Vec<Difference>,
    pub(crate) routes: Vec<RouteMove>,
    /// Whether the text differs at all, be it in comments only.
    pub(crate) text_differs: bool,
}

/// One value that changes.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Difference {
    pub(crate) key: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        write!(f, "{}: {} -> {}", self.key, value(&self.before), value(&self.after))
    }
}

/// A route whose share of keys on the candidate changes.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct RouteMove {
    pub(crate) route: String,
    pub(crate) from_percent: f64,
    pub(crate) to_percent: f64,
    pub(crate) epoch: u64,
}

/// `PUT /api/v1/rollout` and `POST /api/v1/undo`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Changed {
    pub(crate) revision: u64,
    pub(crate) hash: String,
    pub(crate) changed: bool,
    pub(crate) changes: Vec<Difference>,
}

/// `GET /api/v1/history`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct History {
    /// The latest first.
    pub(crate) entries: Vec<Entry>,
}

/// One change.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    pub(crate) revision: u64,
    pub(crate) at: String,
    pub(crate) actor: String,
    pub(crate) authenticated_as: String,
    pub(crate) reason: String,
    pub(crate) kind: String,
    pub(crate) changes: Vec<Difference>,
    pub(crate) epochs: Value,
    pub(crate) document_sha256: String,
    pub(crate) previous_hash: String,
    pub(crate) hash: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: Vec<String> = self.changes.iter().map(ToString::to_string).collect();
        write!(f, "revision {} by {}: {} ({})", self.revision, self.actor, self.kind, changes.join(", "))
    }
}

/// `GET /api/v1/history/verification`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Verification {
    pub(crate) verified: bool,
    /// How many there are, when the chain holds.
    pub(crate) revisions: Option<u64>,
    /// The last one's hash, when the chain holds.
    pub(crate) head: Option<String>,
    pub(crate) problem: Option<String>,
}

/// `POST /api/v1/upgrade`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Upgraded {
    pub(crate) successor_pid: u32,
}

/// What is wrong with one place of a document.
#[derive(Debug, Deserialize)]
pub(crate) struct Problem {
    line: Option<usize>,
    column: Option<usize>,
    key: String,
    message: String,
    fix: Option<String>,
}

/// The gateway refused a document.
#[derive(Debug)]
pub(crate) struct InvalidDocument(pub(crate) Vec<Problem>);

impl fmt::Display for InvalidDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages: Vec<String> =
            self.0.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect();
        f.write_str(&messages.join("; "))
    }
}

impl std::error::Error for InvalidDocument {}

impl InvalidDocument {
    /// Every problem with its place in the file, a caret below it, and how to mend it.
    pub(crate) fn shown(&self, file: &str, text: &str) -> String {
        let problems = self.0.iter().map(|problem| {
            let mut lines = Vec::new();
            match (problem.line, problem.column) {
                (Some(line), Some(column)) => {
                    lines.push(format!("{file}:{line}:{column}: {}: {}", problem.key, problem.message));
                    if let Some(wrong) = text.lines().nth(line - 1) {
                        let number = line.to_string();
                        lines.push(format!("  {number} | {wrong}"));
                        lines.push(format!("  {} | {}^", " ".repeat(number.len()), " ".repeat(column - 1)));
                    }
                }
                _ => lines.push(format!("{file}: {}: {}", problem.key, problem.message)),
            }
            lines.extend(problem.fix.iter().map(|fix| format!("  to mend it: {fix}")));
            lines.join("\n")
        });
        problems.collect::<Vec<_>>().join("\n")
    }
}

impl Admin<'_> {
    pub(crate) async fn plan(&self, document: &str) -> anyhow::Result<Plan> {
        self.call(Method::POST, &["rollout", "plan"], Some(json!({ "document": document }))).await
    }

    pub(crate) async fn apply(&self, document: &str, terms: &ChangeTerms) -> anyhow::Result<Changed> {
        let mut body = noted_for(terms);
        body["document"] = json!(document);
        self.call(Method::PUT, &["rollout"], Some(body)).await
    }

    pub(crate) async fn undo(&self, revision: Option<u64>, confirm: bool, note: &Note) -> anyhow::Result<Changed> {
        let mut body = noted(note);
        body["revision"] = json!(revision);
        body["confirm"] = json!(confirm);
        self.call(Method::POST, &["undo"], Some(body)).await
    }

    pub(crate) async fn history(&self, route: Option<&str>, limit: usize) -> anyhow::Result<History> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(route.map(|route| ("route", route.to_owned())));
        self.ask(&["history"], &query).await
    }

    pub(crate) async fn verify_history(&self, head: Option<&str>) -> anyhow::Result<Verification> {
        let query: Vec<(&str, String)> = head.map(|head| ("head", head.to_owned())).into_iter().collect();
        self.ask(&["history", "verification"], &query).await
    }

    pub(crate) async fn upgrade(&self) -> anyhow::Result<Upgraded> {
        self.call_within(super::UPGRADE_TIMEOUT, Method::POST, &["upgrade"], &[], None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_with_its_place_and_its_fix() {
        let text = "[routes.invoke]\npercent = 101\n";
        let problem: Problem = serde_json::from_value(json!({
            "line": 2, "column": 11, "key": "routes.invoke.percent", "message": "a share is from 0 to 100 percent",
            "fix": "write a number from 0 to 100",
        }))
        .expect("the gateway's shape");
        let nowhere: Problem =
            serde_json::from_value(json!({ "line": null, "column": null, "key": "", "message": "m", "fix": null }))
                .expect("the gateway's shape");
        assert_eq!(
            InvalidDocument(vec![problem, nowhere]).shown("r.toml", text),
            "r.toml:2:11: routes.invoke.percent: a share is from 0 to 100 percent\n  2 | percent = 101\n    |           ^\n  \
             to mend it: write a number from 0 to 100\nr.toml: : m"
        );
    }
}
