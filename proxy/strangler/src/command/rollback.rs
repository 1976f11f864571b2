//! `strangler rollback [ROUTE | --all]`

use std::process::ExitCode;

use super::percent;
use crate::{
    admin::{Admin, RouteRolledBack, Staying},
    arguments::RollbackArguments,
    connection::Connection,
    output::Output,
};

/// So many keys are named; the API has them all.
const SHOWN_KEYS: usize = 10;

pub(crate) async fn run(
    connection: &Connection,
    target: RollbackArguments,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let done = Admin::new(connection)?.roll_back(target.route.as_deref(), &target.terms).await?;
    output.result(&done, || {
        let mut lines: Vec<String> = done
            .routes
            .iter()
            .map(|route| format!("{}: {} -> 0 %, epoch {}", route.route, percent(route.from_percent), route.epoch))
            .collect();
        lines.extend(done.routes.iter().filter_map(cannot_serve));
        if !done.routes.is_empty() {
            lines.push("all on legacy: no new request goes to the candidate of these routes".to_owned());
        }
        lines.extend(done.staying.iter().map(|staying| {
            let Staying { route, slice } = staying;
            format!("{route}: stays, the rows of slice `{slice}` are the candidate's; `strangler db rollback {slice}` takes both back")
        }));
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

/// What legacy cannot serve of a route, if it is known.
fn cannot_serve(route: &RouteRolledBack) -> Option<String> {
    let only = route.only_candidate.as_ref()?;
    let name = &route.route;
    let (Some(count), Some(age)) = (only.count, only.age_seconds) else {
        return Some(format!("{name}: the candidate has not said which keys legacy cannot serve"));
    };
    if count == 0 {
        return None;
    }
    let shown = only.keys.iter().take(SHOWN_KEYS).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if count > SHOWN_KEYS as u64 { ", …" } else { "" };
    Some(format!("{name}: legacy cannot serve {count} keys, as of {age:.0} s ago: {shown}{more}"))
}
