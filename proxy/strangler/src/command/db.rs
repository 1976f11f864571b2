//! `strangler db`: the candidate's views over the monolith's tables.

use std::{fs, process::ExitCode};

use anyhow::Context as _;
use migration::{
    Mapping,
    shared::{self, Patience, Plan},
};
use serde_json::json;
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::{
    arguments::DbTarget,
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
    let file = &target.mapping;
    let text = fs::read_to_string(file).map_err(|error| Refused(format!("cannot read {}: {error}", file.display())))?;
    let mapping = Mapping::from_toml(&file.display().to_string(), &text)
        .map_err(|problems| Refused(format!("the mapping is not valid\n{problems}")))?;
    let url = match &target.database_url_file {
        Some(file) => fs::read_to_string(file)
            .with_context(|| format!("cannot read the database's address from {}", file.display()))?,
        None => std::env::var("STRANGLER_DATABASE_URL").map_err(|_| {
            Refused("no database: name a file with --database-url-file, or set STRANGLER_DATABASE_URL".to_owned())
        })?,
    };
    // The error of a bad address may quote it, with its password.
    let options = url.trim().parse().map_err(|_| {
        Refused("the database's address is not of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned())
    })?;
    let pool =
        PgPoolOptions::new().max_connections(2).connect_with(options).await.context("cannot reach the database")?;
    Ok((pool, mapping))
}
