//! `strangler db validate`: a mapping against both databases.

use std::process::ExitCode;

use migration::validate::{self, Remark, Report, Settings, Severity};

use super::open_both;
use crate::{arguments::inspection::ValidateArguments, output::Output};

pub(crate) async fn validate(asked: ValidateArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let (source, candidate, mapping) = open_both(&asked.target).await?;
    let settings = Settings { sampled_rows: asked.sample, ..Settings::default() };
    let report = validate::run(&source, &candidate, &mapping, &asked.target.slice, &settings).await?;
    output.result(&report, || shown(&report))?;
    Ok(if report.is_fit() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown(report: &Report) -> String {
    let mut lines: Vec<String> = report.remarks.iter().map(line).collect();
    let count = |severity| report.remarks.iter().filter(|remark| remark.severity == severity).count();
    lines.push(format!(
        "{} tables, {} rows tried: {} errors, {} warnings, {} notes",
        report.tables,
        report.rows,
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note)
    ));
    lines.join("\n")
}

fn line(remark: &Remark) -> String {
    let severity = match remark.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let finding = &remark.finding;
    let fix = if finding.fix.is_empty() { String::new() } else { format!("\n    → {}", finding.fix) };
    format!("{severity}: {}: {}{fix}", finding.key, finding.message)
}
