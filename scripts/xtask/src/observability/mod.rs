//! `observability/`: dashboards are written from one source each, and everything that names a metric
//! names one that the code has.
//!
//! | module | what it does |
//! |---|---|
//! | `dashboard` | a dashboard's source, and the JSON that Grafana reads |
//! | `metric_names` | which metrics the code has, and which an expression asks for |
//! | `alerts` | that each alert has a runbook, a case in which it fires and one in which it is quiet |

mod alerts;
mod dashboard;
mod metric_names;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use self::dashboard::Dashboard;
use crate::workspace::Workspace;

/// Writes every dashboard from its source.
pub fn write(workspace: &Workspace) -> anyhow::Result<()> {
    for (source, dashboard) in dashboards(workspace)? {
        let written = written(workspace, &source);
        fs::write(&written, dashboard.to_grafana()).with_context(|| format!("cannot write {}", written.display()))?;
        eprintln!("{}", written.display());
    }
    Ok(())
}

/// Fails when a dashboard is not what its source makes, an expression asks for a metric that the code does
/// not have, an alert has no runbook or no test, or Prometheus' own checks find something.
pub fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let folder = workspace.root.join("observability");
    let mut problems = Vec::new();
    let rules = rules(&folder)?;
    let mut known = metric_names::of_the_code(&workspace.root)?;
    known.extend(rules.iter().flat_map(alerts::recorded));
    let mut panels = 0;
    for (source, dashboard) in dashboards(workspace)? {
        let name = source.display().to_string();
        problems.extend(dashboard.problems().into_iter().map(|problem| format!("{name}: {problem}")));
        for expression in dashboard.expressions() {
            problems.extend(unknown(&known, expression).map(|metric| format!("{name}: no such metric: {metric}")));
        }
        panels += dashboard.panels().count();
        let written = written(workspace, &source);
        if fs::read_to_string(&written).ok().as_deref() != Some(&dashboard.to_grafana()) {
            problems.push(format!("{}: not what {name} makes; run: cargo xtask dashboards", written.display()));
        }
    }
    for rule in rules.iter().flat_map(alerts::rules) {
        problems.extend(unknown(&known, rule.expr).map(|metric| format!("{}: no such metric: {metric}", rule.name)));
    }
    let runbooks = fs::read_to_string(folder.join("runbooks.md")).context("there is no runbooks.md")?;
    problems.extend(alerts::without_runbook(&rules, &runbooks));
    problems.extend(alerts::without_test(&rules, &documents(&folder.join("prometheus/tests"))?));
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    eprintln!(
        "observability: {panels} panels, {} alerts",
        rules.iter().map(|rule| alerts::names(rule).count()).sum::<usize>()
    );
    promtool(&folder.join("prometheus"))
}

/// Prometheus' own checks, and its tests of the rules.
fn promtool(folder: &Path) -> anyhow::Result<()> {
    let tests = files(&folder.join("tests"), "yml")?;
    let runs: [Vec<PathBuf>; 2] = [
        vec!["check".into(), "config".into(), "prometheus.yml".into()],
        ["test".into(), "rules".into()].into_iter().chain(tests).collect(),
    ];
    for arguments in runs {
        let run = Command::new("promtool").args(&arguments).current_dir(folder).output();
        let run = match run {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("observability: skipped: no promtool here; scripts/install brings it");
                return Ok(());
            }
            run => run.context("cannot start promtool")?,
        };
        if !run.status.success() {
            bail!(
                "promtool {}: {}{}",
                arguments[0].display(),
                String::from_utf8_lossy(&run.stdout),
                String::from_utf8_lossy(&run.stderr)
            );
        }
    }
    Ok(())
}

fn unknown<'a>(known: &'a BTreeSet<String>, expression: &str) -> impl Iterator<Item = String> + 'a {
    metric_names::of_expression(expression).into_iter().filter(|metric| !metric_names::is_known(known, metric))
}

fn dashboards(workspace: &Workspace) -> anyhow::Result<Vec<(PathBuf, Dashboard)>> {
    files(&workspace.root.join("observability/dashboards"), "toml")?
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path)?;
            let dashboard = toml::from_str(&text).with_context(|| path.display().to_string())?;
            Ok((path, dashboard))
        })
        .collect()
}

fn written(workspace: &Workspace, source: &Path) -> PathBuf {
    let name = source.file_stem().unwrap_or_default();
    workspace.root.join("observability/grafana/dashboards").join(name).with_extension("json")
}

fn rules(folder: &Path) -> anyhow::Result<Vec<serde_json::Value>> {
    documents(&folder.join("prometheus/rules"))
}

/// The YAML documents of a folder.
fn documents(folder: &Path) -> anyhow::Result<Vec<serde_json::Value>> {
    files(folder, "yml")?
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path)?;
            serde_norway::from_str(&text).with_context(|| path.display().to_string())
        })
        .collect()
}

fn files(folder: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == ending));
    files.sort();
    Ok(files)
}
