//! `strangler upgrade`

use std::process::ExitCode;

use crate::{admin::Admin, connection::Connection, output::Output};

pub(crate) async fn run(connection: &Connection, output: &Output) -> anyhow::Result<ExitCode> {
    output.progress("waiting for the successor to take over");
    let upgraded = Admin::new(connection)?.upgrade().await?;
    output.result(&upgraded, || {
        format!("process {} serves; the one before it ends when its last request is answered", upgraded.successor_pid)
    })?;
    Ok(ExitCode::SUCCESS)
}
