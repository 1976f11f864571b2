//! `strangler apply ROLLOUT.TOML`
//!
//! Shows what will change, then changes it if nothing else was changed in between.

use std::process::ExitCode;

use super::plan::{described, read, shown};
use crate::{
    admin::{
        Admin,
        rollout::{Changed, Plan},
    },
    arguments::ApplyArguments,
    connection::Connection,
    output::Output,
};

pub(crate) async fn run(connection: &Connection, change: ApplyArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let text = read(&change.file)?;
    let admin = Admin::new(connection)?;
    let plan = admin.plan(&text).await.map_err(|error| shown(error, &change.file, &text))?;
    output.progress(&described(&plan));
    let mut terms = change.terms;
    let expect = *terms.expect.get_or_insert(plan.revision);
    let changed = match unchanged(&plan, expect) {
        Some(unchanged) => unchanged,
        None => admin.apply(&text, &terms).await.map_err(|error| shown(error, &change.file, &text))?,
    };
    output.result(&changed, || match changed.changed {
        true => format!("in force: {} changes, revision {}", changed.changes.len(), changed.revision),
        false => format!("in force already; nothing changed (revision {})", changed.revision),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Nothing to ask for, as long as the plan was made from the revision that is expected.
fn unchanged(plan: &Plan, expect: u64) -> Option<Changed> {
    let (revision, hash) = (plan.revision, plan.hash.clone());
    (!plan.text_differs && plan.revision == expect).then_some(Changed {
        revision,
        hash,
        changed: false,
        changes: Vec::new(),
    })
}
