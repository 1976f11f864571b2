//! `strangler shadow set ROUTE PERCENT`

use std::process::ExitCode;

use crate::{
    admin::Admin, arguments::shadow::ShadowArguments, command::percent, connection::Connection, output::Output,
};

pub(crate) async fn set(connection: &Connection, change: ShadowArguments, output: &Output) -> anyhow::Result<ExitCode> {
    let changed = Admin::new(connection)?.set_shadow(&change.route, change.percent, &change.terms).await?;
    output.result(&changed, || {
        let (from, to) = (percent(changed.from_percent), percent(changed.to_percent));
        if changed.from_percent == changed.to_percent {
            format!("{}: {to} shadowed already; nothing changed", changed.route)
        } else {
            format!("{}: {from} -> {to} shadowed (revision {})", changed.route, changed.revision)
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
