//! Which crate of ours may be built on which. Applications never appear on the right: they meet
//! over HTTP, a queue or a schema, so that each can be replaced without the others.

use anyhow::bail;

use crate::workspace::{Crate, Workspace};

struct Rule {
    name: &'static str,
    may_use: &'static [&'static str],
    because: &'static str,
}

const SERVICE: &[&str] = &[
    "containers",
    "database",
    "domain",
    "dry-run",
    "function-package",
    "layered-config",
    "messaging",
    "objects",
    "runtimes",
    "sandbox",
    "schedule",
    "service",
    "telemetry",
];

#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule { name: "domain", may_use: &[], because: "it is pure: types of both sides, no I/O" },
    Rule { name: "layered-config", may_use: &[], because: "everything reads settings, so it stands on nothing" },
    Rule { name: "dry-run", may_use: &[], because: "both sides of the agreement read it, so it stands on neither" },
    Rule { name: "probe", may_use: &[], because: "it asks any server, so it stands on nothing" },
    Rule { name: "telemetry", may_use: &["layered-config"], because: "its settings are all it needs" },
    Rule { name: "service", may_use: &["layered-config", "probe", "telemetry"], because: "it runs services and knows none" },
    Rule { name: "objects", may_use: &["layered-config"], because: "it is a client and knows no service" },
    Rule { name: "function-package", may_use: &["domain", "layered-config", "sandbox"], because: "it reads and writes archives and knows no service" },
    Rule { name: "containers", may_use: &["layered-config"], because: "it asks Docker and knows no service" },
    Rule { name: "database", may_use: &["layered-config"], because: "it reaches a database and knows no service's tables" },
    Rule { name: "messaging", may_use: &["layered-config", "service", "telemetry"], because: "it is a client and knows no message" },
    Rule { name: "runtimes", may_use: &["domain", "layered-config"], because: "services list runtimes in their settings, and it knows no service" },
    Rule { name: "schedule", may_use: &["domain"], because: "it is pure: both sides must come to the same times" },
    Rule { name: "sandbox", may_use: &["domain", "layered-config"], because: "it runs code and knows no service" },
    Rule { name: "legacy", may_use: SERVICE, because: "an application stands on shared crates only" },
    Rule { name: "build-service", may_use: SERVICE, because: "an application stands on shared crates only" },
    Rule { name: "lambda-service", may_use: SERVICE, because: "an application stands on shared crates only" },
    Rule { name: "comparison", may_use: &[], because: "it is pure: two answers in, differences out" },
    Rule { name: "judgement", may_use: &[], because: "it is pure: observations in, verdicts out" },
    Rule { name: "gateway", may_use: &["comparison", "dry-run", "judgement", "layered-config", "probe", "telemetry"], because: "it knows nothing of Mini-Lambda; pingora is its runtime" },
    Rule { name: "migration", may_use: &["layered-config", "telemetry"], because: "it works on any schema, so on no service of ours" },
    Rule { name: "local-servers", may_use: &[], because: "it starts other people's servers" },
    Rule { name: "local-stack", may_use: &["domain", "layered-config", "local-servers", "migration", "telemetry"], because: "it starts our applications as processes and speaks their contract" },
    Rule { name: "strangler", may_use: &["comparison", "layered-config", "local-stack", "migration", "telemetry"], because: "it talks to the gateway over its admin API, and runs exported cases by the same comparison" },
    Rule { name: "testkit", may_use: &["local-servers"], because: "tests of every crate stand on it" },
    Rule { name: "xtask", may_use: &[], because: "it must build when nothing else does" },
];

/// Fails with every edge that is not in the table.
pub fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let problems: Vec<String> = workspace.crates.iter().flat_map(problems).collect();
    if problems.is_empty() {
        eprintln!("deps: {} crates, every dependency points the right way", workspace.crates.len());
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}

fn problems(subject: &Crate) -> Vec<String> {
    let Some(rule) = RULES.iter().find(|rule| rule.name == subject.name) else {
        return vec![format!(
            "{}: the table in scripts/xtask/src/dependency_rules.rs does not know it; add a rule",
            subject.name
        )];
    };
    let wrong = subject.uses.iter().filter(|used| !rule.may_use.contains(&used.as_str()));
    wrong
        .map(|used| {
            let allowed =
                if rule.may_use.is_empty() { "none of our crates".to_owned() } else { rule.may_use.join(", ") };
            format!("{} must not depend on {used}: {}. It may use {allowed}.", rule.name, rule.because)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str, uses: &[&str]) -> Crate {
        Crate { name: name.to_owned(), uses: uses.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn a_wrong_edge_is_named_with_its_rule() {
        let said = problems(&subject("gateway", &["telemetry", "domain"]));
        assert_eq!(
            said,
            ["gateway must not depend on domain: it knows nothing of Mini-Lambda; pingora is its runtime. \
              It may use comparison, dry-run, judgement, layered-config, probe, telemetry."]
        );
    }

    #[test]
    fn a_crate_without_a_rule_is_no_loophole() {
        assert!(problems(&subject("newcomer", &[]))[0].contains("add a rule"));
    }

    #[test]
    fn no_rule_allows_a_circle() {
        // Removing what depends on nothing that is left must end with nothing left.
        let mut left: Vec<&Rule> = RULES.iter().collect();
        while !left.is_empty() {
            let names: Vec<&str> = left.iter().map(|rule| rule.name).collect();
            let before = left.len();
            left.retain(|rule| rule.may_use.iter().any(|used| names.contains(used)));
            assert!(left.len() < before, "a circle among {names:?}");
        }
    }
}
