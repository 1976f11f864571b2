//! `strangler routes`

use std::process::ExitCode;

use super::percent;
use crate::{admin::Admin, connection::Connection, output::Output};

pub(crate) async fn run(connection: &Connection, output: &Output) -> anyhow::Result<ExitCode> {
    let routes = Admin::new(connection)?.routes().await?;
    output.result(&routes, || {
        let header =
            ["route", "methods", "path", "key", "legacy", "candidate", "fallback", "stage", "on candidate", "epoch"];
        let mut table = output.table(&header, 8..10);
        for route in &routes.routes {
            let name = |upstream: &Option<String>| upstream.clone().unwrap_or_else(|| "-".to_owned());
            table.add_row([
                route.name.clone(),
                if route.methods.is_empty() { "any".to_owned() } else { route.methods.join(" ") },
                route.path.clone(),
                route.key.clone(),
                name(&route.legacy),
                name(&route.candidate),
                if route.fallback { "yes" } else { "no" }.to_owned(),
                route.stage.clone(),
                percent(route.percent),
                route.epoch.to_string(),
            ]);
        }
        table.to_string()
    })?;
    Ok(ExitCode::SUCCESS)
}
