//! `strangler dev`: a whole system on this machine, until Ctrl-C.

use std::process::ExitCode;

use local_stack::{Ended, RunningStack, StackOptions};
use serde_json::json;

use crate::{
    arguments::{ConnectionArguments, DevArguments},
    connection,
    output::Output,
    stack,
};

pub(crate) async fn run(
    options: DevArguments,
    connection: &ConnectionArguments,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let source = stack::source(options.stack.as_deref())?;
    let data_folder = connection.data.clone();
    let Some(running) = stack::start(StackOptions { data_folder, ..StackOptions::new(source) }, output).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let data = running.data_folder().to_owned();
    connection::leave(&running)?;
    output.result(&json!({"urls": running.urls(), "data": data}), || described(&running))?;
    let ended = running.wait().await;
    output.progress("stopping");
    running.stop().await;
    match ended {
        Ended::Signal => Ok(ExitCode::SUCCESS),
        Ended::Failed(error) => Err(error.into()),
    }
}

fn described(running: &RunningStack) -> String {
    let data = running.data_folder();
    let mut lines: Vec<String> = running.urls().iter().map(|(name, url)| format!("{name:<16} {url}")).collect();
    lines.push(format!("{:<16} {}", "data", data.display()));
    lines.push(format!("{:<16} {}", "rollout file", running.file("rollout.toml").display()));
    lines.extend(stack::console(running));
    lines.push("running; Ctrl-C stops everything".to_owned());
    lines.join("\n")
}
