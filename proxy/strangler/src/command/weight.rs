//! `strangler weight ROUTE PERCENT`

use std::process::ExitCode;

use super::percent;
use crate::{admin::Admin, arguments::WeightArguments, connection::Connection, output::Output};

pub(crate) async fn run(connection: &Connection, change: WeightArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let changed = Admin::new(connection)?.set_weight(&change.route, change.percent, &change.terms).await?;
    output.result(&changed, || {
        let (from, to) = (percent(changed.from_percent), percent(changed.to_percent));
        if changed.from_percent == changed.to_percent {
            format!("{}: {to} already; nothing changed", changed.route)
        } else {
            format!("{}: {from} -> {to} of keys on the candidate (revision {})", changed.route, changed.revision)
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
