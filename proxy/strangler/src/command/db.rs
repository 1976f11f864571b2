//! `strangler db`: the candidate's views over the monolith's tables, and its own tables.

mod copy;
mod cutover;
mod inspect;
mod metrics;
mod report;
mod retire;
mod streams;
mod sync;
mod validate;
mod verify;

use std::{fs, path::Path, process::ExitCode};

use anyhow::Context as _;
pub(crate) use copy::copy;
pub(crate) use cutover::{complete, cutover};
pub(crate) use inspect::inspect;
use migration::{
    Mapping,
    shared::{self, Patience, Plan},
};
pub(crate) use retire::retire;
use serde_json::json;
use sqlx::postgres::{PgPool, PgPoolOptions};
pub(crate) use streams::{quarantine, stream_status};
pub(crate) use sync::sync;
pub(crate) use validate::validate;
pub(crate) use verify::verify;

use crate::{
    arguments::{DbTarget, SliceTarget},
    output::{Output, Refused},
};

pub(crate) async fn plan(target: DbTarget, output: &Output) -> anyhow::Result<ExitCode> {
    let (pool, mapping) = open(&target).await?;
    let plan = shared::plan(&pool, &mapping).await?;
    output.result(&plan, || plan.to_string())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn apply(target: DbTarget, output: &Output) -> anyhow::Result<ExitCode> {
    let (pool, mapping) = open(&target).await?;
    let plan = shared::plan(&pool, &mapping).await?;
    carry_out(&pool, &plan, output).await
}

pub(crate) async fn remove(target: DbTarget, confirm: bool, output: &Output) -> anyhow::Result<ExitCode> {
    let (pool, mapping) = open(&target).await?;
    let plan = shared::removal(&pool, &mapping).await?;
    if confirm {
        return carry_out(&pool, &plan, output).await;
    }
    output.result(&plan, || plan.to_string())?;
    output.progress("nothing was changed; --confirm does it");
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(pool: &PgPool, plan: &Plan, output: &Output) -> anyhow::Result<ExitCode> {
    let changed = shared::apply(pool, plan, Patience::default()).await?;
    output.result(&json!({"changed": changed, "notices": plan.notices}), || {
        let mut lines: Vec<String> = plan.notices.iter().map(|notice| format!("note: {notice}")).collect();
        lines.extend(changed.iter().map(|change| format!("{}: {}", change.object, change.reason)));
        if changed.is_empty() {
            lines.push("nothing to change".to_owned());
        }
        lines.join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn open(target: &DbTarget) -> anyhow::Result<(PgPool, Mapping)> {
    let mapping = read_mapping(target.mapping.as_deref())?;
    Ok((connect(&MONOLITH, target.database_url_file.as_deref()).await?, mapping))
}

/// Both databases of a slice, the monolith's first.
async fn open_both(target: &SliceTarget) -> anyhow::Result<(PgPool, PgPool, Mapping)> {
    let mapping = read_mapping(target.source.mapping.as_deref())?;
    let source = connect(&MONOLITH, target.source.database_url_file.as_deref()).await?;
    Ok((source, connect(&CANDIDATE, target.target_url_file.as_deref()).await?, mapping))
}

fn read_mapping(file: Option<&Path>) -> anyhow::Result<Mapping> {
    let file = file.ok_or_else(|| Refused("no mapping: name its file with --mapping".to_owned()))?;
    let text = fs::read_to_string(file).map_err(|error| Refused(format!("cannot read {}: {error}", file.display())))?;
    Mapping::from_toml(&file.display().to_string(), &text)
        .map_err(|problems| Refused(format!("the mapping is not valid\n{problems}")).into())
}

/// A database, and where its address may stand.
struct Place {
    name: &'static str,
    option: &'static str,
    variable: &'static str,
}

const MONOLITH: Place = Place { name: "database", option: "--database-url-file", variable: "STRANGLER_DATABASE_URL" };
const CANDIDATE: Place =
    Place { name: "candidate's database", option: "--target-url-file", variable: "STRANGLER_TARGET_URL" };

async fn connect(place: &Place, file: Option<&Path>) -> anyhow::Result<PgPool> {
    let Place { name, option, variable } = place;
    let url = match file {
        Some(file) => fs::read_to_string(file)
            .with_context(|| format!("cannot read the {name}'s address from {}", file.display()))?,
        None => std::env::var(variable)
            .map_err(|_| Refused(format!("no {name}: name a file with {option}, or set {variable}")))?,
    };
    // The error of a bad address may quote it, with its password.
    let options = url.trim().parse().map_err(|_| {
        Refused(format!("the {name}'s address is not of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE"))
    })?;
    PgPoolOptions::new()
        .max_connections(8)
        .connect_with(options)
        .await
        .with_context(|| format!("cannot reach the {name}"))
}
