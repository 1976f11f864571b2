//! `strangler pin ROUTE KEY SIDE`, `strangler unpin ROUTE KEY`

use std::process::ExitCode;

use crate::{
    admin::{Admin, limits::PinChanged},
    arguments::limits::{PinArguments, UnpinArguments},
    connection::Connection,
    output::Output,
};

pub(crate) async fn pin(connection: &Connection, change: &PinArguments, output: &Output) -> anyhow::Result<ExitCode> {
    tell(&Admin::new(connection)?.pin(change).await?, output)
}

pub(crate) async fn unpin(
    connection: &Connection,
    change: &UnpinArguments,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    tell(&Admin::new(connection)?.unpin(change).await?, output)
}

fn tell(changed: &PinChanged, output: &Output) -> anyhow::Result<ExitCode> {
    let PinChanged { route, key, from, to, revision } = changed;
    let side = |pin: &Option<String>| pin.clone().unwrap_or_else(|| "where its weight puts it".to_owned());
    output.result(changed, || {
        if from == to {
            format!("{route}: {key:?} is {} already; nothing changed", side(to))
        } else {
            format!("{route}: {key:?} {} -> {} (revision {revision})", side(from), side(to))
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
