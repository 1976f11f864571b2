//! `strangler undo [REVISION]`

use std::process::ExitCode;

use crate::{
    admin::Admin,
    arguments::UndoArguments,
    connection::Connection,
    output::{Output, Refused},
};

pub(crate) async fn run(connection: &Connection, change: UndoArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let undone = Admin::new(connection)?.undo(change.revision, change.confirm, &change.note).await;
    let undone = undone.map_err(|error| match error.downcast_ref::<Refused>() {
        Some(Refused(said)) if said.contains("(undoes_rollback)") => {
            Refused(format!("{said}\nsay it again with --confirm if that is meant")).into()
        }
        _ => error,
    })?;
    output.result(&undone, || {
        if !undone.changed {
            return format!("the document is as it was; nothing changed (revision {})", undone.revision);
        }
        let mut lines: Vec<String> = undone.changes.iter().map(|change| format!("  {change}")).collect();
        lines.push(format!("in force: revision {}", undone.revision));
        lines.join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}
