//! `strangler shadow …`

mod case;
mod set;

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use comfy_table::{Cell, Color};

use crate::{
    admin::{
        Admin,
        shadow::{Ignored, Mask, Mismatch, Report, Shown, Summary},
    },
    arguments::{
        Note,
        shadow::{RunArguments, ShadowCommand},
    },
    connection::Connection,
    output::{Output, line},
};
use case::Case;

pub(crate) async fn run(
    connect: impl FnOnce() -> anyhow::Result<Connection>,
    command: ShadowCommand,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    match command {
        ShadowCommand::Set(change) => set::set(&connect()?, change, output).await,
        ShadowCommand::Report { route, limit } => report(&connect()?, route.as_deref(), limit, output).await,
        ShadowCommand::Diff { id } => diff(&connect()?, &id, output).await,
        ShadowCommand::Export { id, to } => export(&connect()?, &id, to.as_deref(), output).await,
        ShadowCommand::Run(arguments) => run_case(&arguments, output).await,
        ShadowCommand::Ignore { route, path, note } => ignore(&connect()?, &route, &path, &note, output).await,
    }
}

async fn report(
    connection: &Connection,
    route: Option<&str>,
    limit: usize,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let admin = Admin::new(connection)?;
    let mut report = admin.shadow().await?;
    report.routes.retain(|one| route.is_none_or(|route| one.route == route));
    report.clusters.retain(|one| route.is_none_or(|route| one.route == route));
    // A store that is away is in the report already.
    let latest = if report.store.is_some() && report.store_problem.is_none() {
        admin.mismatches(route, limit).await?.mismatches
    } else {
        Vec::new()
    };
    let whole = serde_json::json!({ "report": report, "mismatches": latest });
    output.result(&whole, || text_of(&report, &latest, output))?;
    Ok(ExitCode::SUCCESS)
}

fn text_of(report: &Report, latest: &[Summary], output: &Output) -> String {
    let mut parts = vec![routes_table(report, output)];
    let masks: Vec<(&str, &Mask, &str)> = report
        .routes
        .iter()
        .flat_map(|route| {
            let masked = route.noise.masks.iter().map(|mask| (route.route.as_str(), mask, "masked"));
            masked.chain(route.noise.over_cap.iter().map(|mask| (route.route.as_str(), mask, "over the cap")))
        })
        .collect();
    if !masks.is_empty() {
        let mut table =
            output.table(&["route", "noise of legacy", "kind", "seen", "rate at least", "until", "is"], 3..5);
        for (route, mask, is) in masks {
            let seen = format!("{} of {}", mask.noisy, mask.seen);
            let rate = format!("{:.1} %", mask.rate_at_least * 100.0);
            table.add_row([route, &mask.path, &mask.kind, &seen, &rate, &mask.until, is]);
        }
        parts.push(table.to_string());
    }
    if let Some(problem) = &report.store_problem {
        parts.push(format!("The mismatches cannot be shown: {problem}"));
    }
    if !report.clusters.is_empty() {
        let mut table = output.table(&["route", "difference at", "kind", "answers", "last", "example"], 3..4);
        for cluster in &report.clusters {
            let count = cluster.count.to_string();
            table.add_row([&cluster.route, &cluster.path, &cluster.kind, &count, &cluster.last_at, &cluster.example]);
        }
        parts.push(table.to_string());
    }
    if !latest.is_empty() {
        let mut table = output.table(&["latest mismatches", "at", "request", "differences"], 0..0);
        for summary in latest {
            let paths: Vec<&str> = summary.clusters.iter().map(|cluster| cluster.path.as_str()).collect();
            table.add_row([&summary.id, &summary.at, &summary.shape, &paths.join(", ")]);
        }
        parts.push(table.to_string());
    }
    parts.join("\n\n")
}

fn routes_table(report: &Report, output: &Output) -> String {
    if report.routes.is_empty() {
        return "No route has settings for shadowing.".to_owned();
    }
    let header = ["route", "shadowed", "equal", "different", "ignored", "dropped", "not sampled", "mismatch rate"];
    let mut table = output.table(&header, 1..8);
    for route in &report.routes {
        let sum = |outcome: &str| {
            let counted = route.outcomes.iter().filter(|counted| counted.outcome == outcome);
            counted.map(|counted| counted.requests).sum::<u64>().to_string()
        };
        let rate = route.mismatch_rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.2} %", rate * 100.0));
        table.add_row([
            route.route.clone(),
            format!("{} %", route.percent),
            sum("equal"),
            sum("different"),
            sum("ignored"),
            sum("dropped"),
            sum("not_sampled"),
            rate,
        ]);
    }
    table.to_string()
}

async fn diff(connection: &Connection, id: &str, output: &Output) -> anyhow::Result<ExitCode> {
    let shown = Admin::new(connection)?.mismatch(id).await?;
    output.result(&shown, || side_by_side(&shown.mismatch, output))?;
    Ok(ExitCode::SUCCESS)
}

fn side_by_side(mismatch: &Mismatch, output: &Output) -> String {
    let Mismatch { id, at, route, request, served_by, trace_id, .. } = mismatch;
    let mut table = output.table(&["path", "kind", "legacy", "candidate"], 0..0);
    for difference in &mismatch.differences {
        let cell = |value: &Option<String>, color| {
            let cell = Cell::new(value.as_deref().unwrap_or("nothing"));
            if output.is_live() { cell.fg(color) } else { cell }
        };
        table.add_row([
            Cell::new(&difference.path),
            Cell::new(&difference.kind),
            cell(&difference.legacy, Color::Green),
            cell(&difference.candidate, Color::Red),
        ]);
    }
    format!(
        "{id}\n{at}, route {route}, served by {served_by}\n{} {}\ntrace {trace_id}, spans {} (served) and {} (copy)\n{table}",
        request.method, request.target, mismatch.served_span_id, mismatch.copied_span_id
    )
}

async fn export(connection: &Connection, id: &str, to: Option<&Path>, output: &Output) -> anyhow::Result<ExitCode> {
    let Shown { mismatch, rules } = Admin::new(connection)?.mismatch(id).await?;
    let text = serde_json::to_string_pretty(&Case::of(mismatch, rules.unwrap_or_default()))?;
    match to {
        None => line(&text),
        Some(file) => {
            std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
            output.progress(&format!("written to {}", file.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_case(arguments: &RunArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let file = &arguments.file;
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let case: Case =
        serde_json::from_str(&text).with_context(|| format!("{} is not what `export` writes", file.display()))?;
    let differences = case.run(&arguments.against, &arguments.headers).await?;
    output.result(&serde_json::json!({ "passed": differences.is_empty(), "differences": differences }), || {
        if differences.is_empty() {
            return "passed: it answers as expected".to_owned();
        }
        let mut table = output.table(&["path", "kind", "expected", "answered"], 0..0);
        for difference in &differences {
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
            let (expected, answered) = (shown(&difference.legacy), shown(&difference.candidate));
            table.add_row([difference.path.to_string(), difference.kind.to_string(), expected, answered]);
        }
        format!("failed\n{table}")
    })?;
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ignore(
    connection: &Connection,
    route: &str,
    path: &str,
    note: &Note,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let ignored = Admin::new(connection)?.ignore(route, path, note).await?;
    let Ignored { changed, revision, .. } = &ignored;
    output.result(&ignored, || {
        if *changed {
            format!("{route}: differences at {path} are ignored from now on (revision {revision})")
        } else {
            format!("{route}: differences at {path} are ignored already; nothing changed")
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
