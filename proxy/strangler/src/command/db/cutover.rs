//! `strangler db cutover`, `rollback` and `complete`: a slice's rows get another owner, and the way back ends.

use std::process::ExitCode;

use migration::{
    cutover::{Cutover, CutoverError, GatewayClient, Hooks, Plan, Report, Settings, Step},
    slice::{SlicePlan, read_plan},
    stream::Direction,
};
use serde_json::json;
use sqlx::PgPool;

use super::{open_both, report::Reporter};
use crate::{
    arguments::{
        Note, SliceTarget,
        cutover::{CompleteArguments, CutoverArguments},
    },
    connection::Connection,
    output::{Output, Refused},
};

/// Both databases of a slice, and the slice between them.
struct Place {
    monolith: PgPool,
    candidate: PgPool,
    plan: SlicePlan,
}

impl Place {
    async fn open(target: &SliceTarget) -> anyhow::Result<Self> {
        let (monolith, candidate, mapping) = open_both(target).await?;
        let plan =
            read_plan(&mut *monolith.acquire().await?, &mut *candidate.acquire().await?, &mapping, &target.slice)
                .await?;
        Ok(Self { monolith, candidate, plan })
    }
}

pub(crate) async fn cutover(
    connection: &Connection,
    asked: CutoverArguments,
    direction: Direction,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let hooks = hooks(&asked)?;
    let settings = Settings { hold: asked.hold, verify: !asked.skip_verify, ..Settings::default() };
    let place = Place::open(&asked.target).await?;
    let gateway = client(connection, &asked.note)?;
    let told = *output;
    let watch = move |step: Step| {
        told.progress(&step.to_string());
        let done: futures::future::BoxFuture<'static, ()> = Box::pin(std::future::ready(()));
        done
    };
    let Place { monolith, candidate, plan } = &place;
    let cutover =
        Cutover { monolith, candidate, plan, gateway: &gateway, hooks: &hooks, settings: &settings, watch: &watch };
    let reporter = Reporter::new(Some(connection), &asked.target.slice, output)?;
    let about = if direction == Direction::Forward { "cutover" } else { "rollback" };
    if asked.plan {
        let plan = cutover.plan(direction).await?;
        reporter.say(about, json!({ "plan": plan, "command": command(&asked.target, about) })).await;
        output.result(&plan, || planned(&plan))?;
        return Ok(ExitCode::from(if plan.obstacles.is_empty() { 3 } else { 1 }));
    }
    let done = match direction {
        Direction::Forward => cutover.cut_over().await,
        Direction::Reverse => cutover.roll_back().await,
    };
    match done {
        Ok(report) => {
            reporter.say(about, json!({ "done": report })).await;
            output.result(&report, || shown(&report))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ CutoverError::Obstacles(_)) => Err(Refused(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn complete(
    connection: &Connection,
    asked: CompleteArguments,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let slice = &asked.target.slice;
    if !asked.confirm {
        let said = format!("from then on slice `{slice}` cannot be rolled back; --confirm does it");
        return Err(Refused(said).into());
    }
    let place = Place::open(&asked.target).await?;
    let gateway = client(connection, &asked.note)?;
    let watch = |_: Step| {
        let done: futures::future::BoxFuture<'static, ()> = Box::pin(std::future::ready(()));
        done
    };
    let Place { monolith, candidate, plan } = &place;
    let (hooks, settings) = (Hooks::default(), Settings::default());
    let cutover =
        Cutover { monolith, candidate, plan, gateway: &gateway, hooks: &hooks, settings: &settings, watch: &watch };
    match cutover.complete().await {
        Ok(()) => {
            let said = format!("slice `{slice}` is complete: its streams, slots and publications are gone");
            output.result(&serde_json::json!({ "slice": slice, "complete": true }), || said)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ CutoverError::Obstacles(_)) => Err(Refused(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
}

/// What carries a plan out. Where the databases are is left to the environment or to files, as it was for the plan.
fn command(target: &SliceTarget, verb: &str) -> String {
    let mapping = target.source.mapping.as_ref().map(|file| format!(" --mapping {}", file.display()));
    format!("strangler db {verb} {}{}", target.slice, mapping.unwrap_or_default())
}

fn hooks(asked: &CutoverArguments) -> anyhow::Result<Hooks> {
    let Some(file) = &asked.hooks else { return Ok(Hooks::default()) };
    let text =
        std::fs::read_to_string(file).map_err(|error| Refused(format!("cannot read {}: {error}", file.display())))?;
    Hooks::from_toml(&file.display().to_string(), &text)
        .map_err(|problems| Refused(format!("the hooks are not valid\n{problems}")).into())
}

fn client(connection: &Connection, note: &Note) -> anyhow::Result<GatewayClient> {
    let actor = note.actor.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "unknown".to_owned());
    let Connection { admin, token, ca } = connection;
    Ok(GatewayClient::new(admin, token, ca.as_deref(), (&actor, &note.reason))?)
}

fn planned(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan.steps.iter().enumerate().map(|(n, step)| format!("{}. {step}", n + 1)).collect();
    lines.extend(plan.notes.iter().map(|note| format!("note: {note}")));
    if plan.obstacles.is_empty() {
        lines.push("nothing stands against it".to_owned());
    }
    lines.extend(plan.obstacles.iter().map(|obstacle| format!("not yet: {obstacle}")));
    lines.join("\n")
}

fn shown(report: &Report) -> String {
    let Report { slice, direction, revision, held_ms, waited, found_in_flight, .. } = report;
    let owner = if *direction == Direction::Forward { "candidate" } else { "monolith" };
    let mut said = format!("the rows of slice `{slice}` are the {owner}'s");
    if let Some(revision) = revision {
        said.push_str(&format!(", as of revision {revision}"));
    }
    if let Some(held) = held_ms {
        said.push_str(&format!(
            "; writes were held for {held:.0} ms: {found_in_flight} in flight were waited for, {waited} waited"
        ));
    }
    if report.resumed {
        said.push_str("; an earlier call had begun it");
    }
    said
}
