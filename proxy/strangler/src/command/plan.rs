//! `strangler plan ROLLOUT.TOML`

use std::{fs, path::Path, process::ExitCode};

use anyhow::anyhow;

use super::percent;
use crate::{
    admin::{
        Admin,
        rollout::{InvalidDocument, Plan},
    },
    connection::Connection,
    output::{Output, Refused},
};

/// Something would change. 2 is taken: what was asked makes no sense.
const CHANGES: u8 = 3;

pub(crate) async fn run(connection: &Connection, file: &Path, output: &Output) -> anyhow::Result<ExitCode> {
    let text = read(file)?;
    let admin = Admin::new(connection)?;
    let plan = admin.plan(&text).await.map_err(|error| shown(error, file, &text))?;
    output.result(&plan, || described(&plan))?;
    Ok(if plan.changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(CHANGES) })
}

pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).map_err(|error| Refused(format!("cannot read {}: {error}", file.display())).into())
}

/// A refused document as the person who wrote it should see it.
pub(super) fn shown(error: anyhow::Error, file: &Path, text: &str) -> anyhow::Error {
    match error.downcast::<InvalidDocument>() {
        Ok(invalid) => anyhow!(Refused(invalid.shown(&file.display().to_string(), text))),
        Err(error) => error,
    }
}

pub(super) fn described(plan: &Plan) -> String {
    if plan.changes.is_empty() {
        let why = if plan.text_differs { "only comments and layout differ" } else { "it is in force as it is" };
        return format!("nothing would change: {why} (revision {})", plan.revision);
    }
    let mut lines: Vec<String> = plan.changes.iter().map(|change| format!("  {change}")).collect();
    lines.extend(plan.routes.iter().map(|route| {
        let (from, to) = (percent(route.from_percent), percent(route.to_percent));
        format!("{}: {from} -> {to} of keys on the candidate", route.route)
    }));
    lines.push(format!("compared with revision {}", plan.revision));
    lines.join("\n")
}
