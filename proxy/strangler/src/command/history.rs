//! `strangler history [--verify]`

use std::process::ExitCode;

use crate::{
    admin::{Admin, rollout::Entry},
    arguments::HistoryArguments,
    connection::Connection,
    output::Output,
};

pub(crate) async fn run(
    connection: &Connection,
    options: HistoryArguments,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let admin = Admin::new(connection)?;
    if options.verify {
        return verify(&admin, options.head.as_deref(), output).await;
    }
    let history = admin.history(options.route.as_deref(), options.limit).await?;
    output.result(&history, || {
        let mut table = output.table(&["revision", "at", "who", "shown by", "kind", "what", "why"], 0..1);
        for entry in &history.entries {
            table.add_row(row(entry));
        }
        table.to_string()
    })?;
    Ok(ExitCode::SUCCESS)
}

fn row(entry: &Entry) -> [String; 7] {
    let changes: Vec<String> = entry.changes.iter().map(ToString::to_string).collect();
    [
        entry.revision.to_string(),
        // To the second, which is as exact as a person asks.
        entry.at.get(..19).unwrap_or(&entry.at).replace('T', " "),
        entry.actor.clone(),
        entry.authenticated_as.clone(),
        entry.kind.clone(),
        changes.join("\n"),
        entry.reason.clone(),
    ]
}

async fn verify(admin: &Admin<'_>, head: Option<&str>, output: &Output) -> anyhow::Result<ExitCode> {
    let found = admin.verify_history(head).await?;
    output.result(&found, || match (&found.problem, &found.head) {
        (None, Some(head)) => {
            let count = found.revisions.unwrap_or_default();
            format!(
                "{count} revisions, and nothing was altered, removed or moved\nkeep this to find out later whether the \
                 end was cut off: {head}"
            )
        }
        (problem, _) => format!("the history was tampered with: {}", problem.as_deref().unwrap_or_default()),
    })?;
    Ok(if found.verified { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
