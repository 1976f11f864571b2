//! Alerts: each has a runbook, a case in which it fires and one in which it is quiet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A rule, whether it alerts or records.
pub(super) struct Rule<'a> {
    pub(super) name: &'a str,
    pub(super) expr: &'a str,
}

/// All rules of a document.
pub(super) fn rules(document: &Value) -> impl Iterator<Item = Rule<'_>> {
    all(document).filter_map(|rule| {
        let name = rule["alert"].as_str().or(rule["record"].as_str())?;
        Some(Rule { name, expr: rule["expr"].as_str()? })
    })
}

/// The names of its alerts.
pub(super) fn names(document: &Value) -> impl Iterator<Item = &str> {
    all(document).filter_map(|rule| rule["alert"].as_str())
}

/// The metrics that it records.
pub(super) fn recorded(document: &Value) -> impl Iterator<Item = String> {
    all(document).filter_map(|rule| rule["record"].as_str()).map(str::to_owned)
}

fn all(document: &Value) -> impl Iterator<Item = &Value> {
    list(&document["groups"]).flat_map(|group| list(&group["rules"]))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Alerts whose annotation does not lead to a paragraph of their name, and paragraphs of no alert.
pub(super) fn without_runbook(rules: &[Value], runbooks: &str) -> Vec<String> {
    let paragraphs: BTreeSet<&str> = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut problems = Vec::new();
    let mut alerts = BTreeSet::new();
    for rule in rules.iter().flat_map(all) {
        let Some(name) = rule["alert"].as_str() else { continue };
        alerts.insert(name);
        if !paragraphs.contains(name) {
            problems.push(format!("{name}: runbooks.md has no paragraph of this name"));
        }
        let anchor = format!("runbooks.md#{}", name.to_lowercase());
        if rule["annotations"]["runbook"] != anchor.as_str() {
            problems.push(format!("{name}: its annotation `runbook` is not {anchor}"));
        }
    }
    problems.extend(paragraphs.difference(&alerts).map(|name| format!("runbooks.md: there is no alert {name}")));
    problems
}

/// Alerts that no test sees firing, or none sees quiet.
pub(super) fn without_test(rules: &[Value], tests: &[Value]) -> Vec<String> {
    let mut seen: BTreeMap<&str, [bool; 2]> = BTreeMap::new();
    for case in tests.iter().flat_map(|document| list(&document["tests"])) {
        for expected in list(&case["alert_rule_test"]) {
            let fires = list(&expected["exp_alerts"]).next().is_some();
            seen.entry(expected["alertname"].as_str().unwrap_or_default()).or_default()[usize::from(fires)] = true;
        }
    }
    let alerts = rules.iter().flat_map(names);
    alerts
        .filter_map(|name| match seen.get(name).copied().unwrap_or_default() {
            [true, true] => None,
            [_, false] => Some(format!("{name}: no test in which it fires")),
            [false, true] => Some(format!("{name}: no test in which it is quiet")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules_of(runbook: &str) -> Vec<Value> {
        vec![json!({"groups": [{"rules": [
            {"record": "a:b:c", "expr": "x"},
            {"alert": "Down", "expr": "up == 0", "annotations": {"runbook": runbook}},
        ]}]})]
    }

    #[test]
    fn a_runbook_is_asked_for_by_name_both_ways() {
        assert!(without_runbook(&rules_of("runbooks.md#down"), "# R\n## Down\ntext").is_empty());
        let problems = without_runbook(&rules_of("elsewhere"), "## Gone\n");
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn both_cases_are_asked_for() {
        let case =
            |alerts: Value| json!({"tests": [{"alert_rule_test": [{"alertname": "Down", "exp_alerts": alerts}]}]});
        let (fires, quiet) = (case(json!([{"exp_labels": {}}])), case(json!([])));
        let rules = rules_of("");
        assert!(without_test(&rules, &[fires.clone(), quiet.clone()]).is_empty());
        assert_eq!(without_test(&rules, &[fires]), ["Down: no test in which it is quiet"]);
        assert_eq!(without_test(&rules, &[quiet]), ["Down: no test in which it fires"]);
        assert_eq!(without_test(&rules, &[]), ["Down: no test in which it fires"]);
    }
}
