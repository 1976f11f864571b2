//! `strangler ramp …`

use std::{process::ExitCode, time::Duration};

use super::percent;
use crate::{
    admin::{
        Admin,
        ramps::{Holding, Ramp, Ramps},
    },
    arguments::ramp::{RampArguments, RampCommand},
    connection::Connection,
    output::{Output, Refused},
};

pub(crate) async fn run(connection: &Connection, command: RampCommand, output: &Output) -> anyhow::Result<ExitCode> {
    let (word, target) = match command {
        RampCommand::Status { route } => return status(connection, route.as_deref(), output).await,
        RampCommand::Start(target) => ("start", target),
        RampCommand::Pause(target) => ("pause", target),
        RampCommand::Resume(target) => ("resume", target),
        RampCommand::Approve(target) => ("approve", target),
        RampCommand::Promote(target) => ("promote", target),
        RampCommand::Abort(target) => ("abort", target),
    };
    let RampArguments { route, terms } = target;
    let moved = Admin::new(connection)?.ramp(&route, word, &terms).await?;
    output.result(&moved, || {
        let stand = &moved.ramp;
        format!(
            "{}: {} in step {} at {}, proven {} (revision {})",
            moved.route,
            stand.state.replace('_', " "),
            stand.step,
            percent(stand.percent),
            percent(stand.proven_percent),
            moved.revision
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn status(connection: &Connection, route: Option<&str>, output: &Output) -> anyhow::Result<ExitCode> {
    let mut ramps = Admin::new(connection)?.ramps().await?;
    if let Some(route) = route {
        ramps.ramps.retain(|ramp| ramp.route == route);
        if ramps.ramps.is_empty() {
            return Err(Refused(format!("route `{route}` has neither a ramp nor a guard")).into());
        }
    }
    output.result(&ramps, || text(&ramps, *output))?;
    Ok(ExitCode::SUCCESS)
}

fn text(ramps: &Ramps, output: Output) -> String {
    if ramps.ramps.is_empty() {
        return "no route has a ramp or a guard; add [routes.ramp] to one in the gateway's settings".to_owned();
    }
    let sections: Vec<String> = ramps.ramps.iter().map(|ramp| section(ramp, output)).collect();
    sections.join("\n\n")
}

fn section(ramp: &Ramp, output: Output) -> String {
    let mut lines = Vec::new();
    let in_force = percent(ramp.percent);
    match &ramp.ramp {
        None => lines.push(format!("{}: no ramp, {in_force} on the candidate", ramp.route)),
        Some(stand) => {
            lines.push(format!(
                "{}: {}, step {} of {}, {in_force} in force, {} proven",
                ramp.route,
                stand.state.replace('_', " "),
                stand.step,
                ramp.steps.len(),
                percent(stand.proven_percent)
            ));
            lines.push(format!("  why: {}", stand.reason));
        }
    }
    if let Some(holding) = &ramp.here.holding {
        lines.push(format!("  waits for {}", wait(holding)));
    }
    if let Some(age) = ramp.here.lease_age_ms {
        let who = if ramp.here.conducts { "this gateway conducts" } else { "another gateway conducts" };
        lines.push(format!("  {who}; lease renewed {} ago", short(age)));
    }
    lines.extend(ramp.here.problem.iter().map(|problem| format!("  problem: {problem}")));
    lines.push(format!("  guard: {}", ramp.verdict));
    let seen = &ramp.evidence;
    let counts = format!(
        "  in this step: candidate {} requests ({} failed, {} refused), legacy {} ({}, {}), {} pairs, {} of {} compared answers differ",
        seen.candidate.requests,
        seen.candidate.failed,
        seen.candidate.refused,
        seen.legacy.requests,
        seen.legacy.failed,
        seen.legacy.refused,
        seen.pairs,
        seen.mismatches,
        seen.comparisons,
    );
    lines.push(counts);
    let mut table = output.table(&["test", "looks", "e-value", "bound"], 1..4);
    for metric in &seen.metrics {
        let e_value =
            if metric.e_value < 1000.0 { format!("{:.2}", metric.e_value) } else { format!("{:.0}", metric.e_value) };
        table.add_row([metric.metric.clone(), metric.looks.to_string(), e_value, format!("{:.0}", seen.bound)]);
    }
    lines.push(table.to_string());
    lines.join("\n")
}

fn wait(holding: &Holding) -> String {
    let left = || short(holding.left_ms.unwrap_or_default());
    match holding.what.as_str() {
        "time" => format!("its least time: {} left", left()),
        "recovery" => format!("the end of its recovery on the proven weight: {} left", left()),
        "data" => format!(
            "requests to judge: {} pairs of {}",
            holding.pairs.unwrap_or_default(),
            holding.least.unwrap_or_default()
        ),
        "coverage" => {
            let share = |share: Option<f64>| format!("{:.1} %", share.unwrap_or_default() * 100.0);
            format!(
                "comparisons: requests of shapes compared so far {}, wanted {}",
                share(holding.share),
                share(holding.least)
            )
        }
        "gate" => format!("a gate: {}", holding.said.as_deref().unwrap_or_default()),
        "approval" => "somebody's approval: strangler ramp approve".to_owned(),
        "resume" => "somebody to resume it: strangler ramp resume".to_owned(),
        other => other.to_owned(),
    }
}

/// A duration to a whole second, or to a tenth below ten.
fn short(ms: u64) -> String {
    let rounded = if ms < 10_000 { ms / 100 * 100 } else { ms / 1000 * 1000 };
    humantime::format_duration(Duration::from_millis(rounded)).to_string()
}
