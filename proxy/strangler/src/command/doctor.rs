//! `strangler doctor`: what this machine lacks.

use std::process::ExitCode;

use local_stack::Verdict;
use serde_json::json;

use crate::{arguments::ConnectionArguments, connection, output::Output};

pub(crate) fn run(connection: &ConnectionArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let checks = local_stack::doctor(&connection::data_folder(connection)?);
    let word = |verdict: Verdict| match verdict {
        Verdict::Good => "good",
        Verdict::Warning => "warning",
        Verdict::Missing => "missing",
    };
    let as_json: Vec<_> = checks
        .iter()
        .map(|check| json!({"check": check.name, "verdict": word(check.verdict), "found": check.found, "fix": check.fix}))
        .collect();
    output.result(&json!({ "checks": as_json }), || {
        let mut table = output.table(&["check", "verdict", "found", "fix"], 0..0);
        for check in &checks {
            table.add_row([check.name, word(check.verdict), &check.found, check.fix.as_deref().unwrap_or_default()]);
        }
        table.to_string()
    })?;
    let missing = checks.iter().any(|check| check.verdict == Verdict::Missing);
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
