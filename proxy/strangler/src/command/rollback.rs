//! `strangler rollback [ROUTE | --all]`

use std::process::ExitCode;

use super::percent;
use crate::{admin::Admin, arguments::RollbackArguments, connection::Connection, output::Output};

pub(crate) async fn run(
    connection: &Connection,
    target: RollbackArguments,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let done = Admin::new(connection)?.roll_back(target.route.as_deref(), target.expect, &target.note).await?;
    output.result(&done, || {
        let mut lines: Vec<String> = done
            .routes
            .iter()
            .map(|route| format!("{}: {} -> 0 %, epoch {}", route.route, percent(route.from_percent), route.epoch))
            .collect();
        lines.push("all on legacy: no new request goes to the candidate of these routes".to_owned());
        lines.extend(done.set_aside.iter().map(|file| format!("the rollout file was broken; it is kept as {file}")));
        lines.join("\n")
    })?;
    if !done.persisted {
        let why = done.persist_error.unwrap_or_default();
        anyhow::bail!("in force, but not written to the rollout file, so a restart would undo it: {why}");
    }
    if !done.shared {
        let why = done.share_error.unwrap_or_default();
        anyhow::bail!(
            "in force on this gateway and kept on its disk, but not in the history yet, and other gateways that share \
             it go on as before until it is: {why}"
        );
    }
    Ok(ExitCode::SUCCESS)
}
