//! What CI runs: the cheap checks first, the tests last, so that their summary ends the log.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::{
    book, dependency_rules, fuzz, observability, packaging, skipped_tests,
    workspace::{Workspace, cargo, cargo_path, forget_our_package},
};

struct Step {
    name: &'static str,
    run: fn(&Workspace) -> anyhow::Result<()>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: |_| run_cargo(&["fmt", "--all", "--check"]) },
    Step { name: "deps", run: dependency_rules::check },
    Step { name: "observability", run: observability::check },
    // By its own name: as `cargo machete` below `cargo run` it takes its name for a folder.
    Step { name: "machete", run: |_| finish(&mut Command::new("cargo-machete")) },
    Step { name: "deny", run: deny },
    Step { name: "clippy", run: |_| run_cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]) },
    Step { name: "docs", run: docs },
    Step { name: "doctests", run: |_| run_cargo(&["test", "--workspace", "--doc", "--quiet"]) },
    // All targets, and not only the binaries, so that features and so dependencies are those of the tests.
    Step { name: "build", run: |_| run_cargo(&["build", "--workspace", "--all-targets"]) },
    // Asks the programs for their settings, so it comes after they are built.
    Step { name: "book", run: book::check },
    // Asks the programs whether they take those of the manifests.
    Step { name: "packaging", run: packaging::check },
    Step { name: "fuzz", run: |workspace| fuzz::run(workspace, fuzz::DEFAULT_SECONDS) },
    Step { name: "test", run: test },
];

/// Which of the steps to run.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    All,
    From(&'a str),
    Only(&'a str),
}

impl Selection<'_> {
    fn steps(self) -> anyhow::Result<&'static [Step]> {
        let place = |name: &str| {
            let place = STEPS.iter().position(|step| step.name == name);
            place.with_context(|| format!("there is no step `{name}`; the steps are {}", names()))
        };
        Ok(match self {
            Self::All => STEPS,
            Self::From(name) => &STEPS[place(name)?..],
            Self::Only(name) => {
                let at = place(name)?;
                &STEPS[at..=at]
            }
        })
    }
}

/// The names of all steps, in order.
pub fn names() -> String {
    STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ")
}

/// Runs the steps until one fails, and says how long each took.
pub fn run(selection: Selection<'_>) -> anyhow::Result<()> {
    let steps = selection.steps()?;
    let workspace = Workspace::read()?;
    let mut times = Vec::new();
    for step in steps {
        eprintln!("== {}", step.name);
        let begun = Instant::now();
        // The tests come last and their summary should end the log: the times are printed before.
        if step.name == "test" && !times.is_empty() {
            eprintln!("{}", table(&times));
        }
        let outcome = (step.run)(&workspace);
        times.push((step.name, begun.elapsed()));
        outcome.with_context(|| format!("step `{0}` failed; again: cargo xtask ci --only {0}", step.name))?;
    }
    if steps.last().is_none_or(|step| step.name != "test") {
        eprintln!("{}", table(&times));
    }
    Ok(())
}

fn table(times: &[(&str, Duration)]) -> String {
    let times: Vec<String> = times.iter().map(|(name, time)| format!("{name} {:.1} s", time.as_secs_f64())).collect();
    format!("took: {}", times.join(", "))
}

fn run_cargo(arguments: &[&str]) -> anyhow::Result<()> {
    finish(cargo().args(arguments))
}

fn finish(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Advisories come from the network and change under an unchanged checkout: they are a job of their
/// own, which this one names rather than forgets.
fn deny(_: &Workspace) -> anyhow::Result<()> {
    eprintln!("deny: bans, licenses and sources; advisories need the network: cargo deny check advisories");
    run_cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"])
}

fn docs(_: &Workspace) -> anyhow::Result<()> {
    finish(cargo().args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// All tests, with one PostgreSQL, RabbitMQ and S3 for the whole run.
fn test(workspace: &Workspace) -> anyhow::Result<()> {
    let servers = workspace.target_directory.join("debug/testkit-servers");
    if !servers.exists() {
        bail!("{} is not built; run: cargo xtask ci --from build", servers.display());
    }
    let report = skipped_tests::report_path(&workspace.root);
    skipped_tests::forget(&report);
    let mut command = Command::new(servers);
    forget_our_package(&mut command);
    command.arg("--").arg(cargo_path()).args(["nextest", "run", "--workspace", "--profile", "ci"]);
    let outcome = finish(&mut command);
    // Also after a failure: what was skipped may be why.
    skipped_tests::print(&report);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(selection: Selection<'_>) -> Vec<&'static str> {
        selection.steps().unwrap().iter().map(|step| step.name).collect()
    }

    #[test]
    fn a_run_can_begin_or_stay_at_a_step() {
        assert_eq!(selected(Selection::From("build")), ["build", "book", "packaging", "fuzz", "test"]);
        assert_eq!(selected(Selection::Only("fmt")), ["fmt"]);
        assert_eq!(selected(Selection::All).len(), STEPS.len());
        assert!(Selection::Only("lint").steps().is_err());
    }
}
