//! Starting a stack and showing its progress.

use std::path::Path;

use local_stack::{Event, RunningStack, Stack, StackError, StackOptions, StackSource};
use tokio::sync::mpsc;

use crate::output::{Output, Refused};

/// The stack that a file describes, or Mini-Lambda.
pub(crate) fn source(document: Option<&Path>) -> anyhow::Result<StackSource> {
    let read = match document {
        Some(document) => StackSource::read(document),
        None => StackSource::mini_lambda(),
    };
    read.map_err(|error| Refused(format!("{:#}", anyhow::Error::new(error))).into())
}

/// Starts a stack; `None` when Ctrl-C came first, and then everything is down again.
pub(crate) async fn start(options: StackOptions, output: &Output) -> anyhow::Result<Option<RunningStack>> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let shown = *output;
    // Ends by itself: with the stack, the last sender goes.
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            show(&event, shown);
        }
    });
    match Stack::start(StackOptions { events: Some(sender), ..options }).await {
        Ok(running) => Ok(Some(running)),
        Err(StackError::Interrupted) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where the console is and what opens it; nothing where the stack has no gateway. The token is named by its file: what
/// is printed here is kept in terminals and logs.
pub(crate) fn console(running: &RunningStack) -> Option<String> {
    let admin = running.urls().get("admin")?;
    running.secret("admin")?;
    let token = running.data_folder().join("secrets/admin");
    Some(format!("{:<16} {admin}/ (log in with the token: cat {})", "console", token.display()))
}

fn show(event: &Event, output: Output) {
    match event {
        Event::Ready { part, took } => output.progress(&format!("{part:<16} ready in {:.1} s", took.as_secs_f64())),
        Event::Replaced { part, pid } => output.progress(&format!("{part:<16} replaced: process {pid} serves")),
        Event::Restarting { part, reason, after } => {
            output.progress(&format!("{part:<16} {reason}; starting it again in {:.1} s", after.as_secs_f64()));
        }
        Event::Stopped { part, killed: true } => {
            output.progress(&format!("{part:<16} killed: it did not stop within its deadline"));
        }
        Event::Outdated { file, shipped } => output.progress(&format!(
            "{file} was edited and is kept; the stack comes with a newer one: {}",
            shipped.display()
        )),
        Event::Starting { .. } | Event::Stopped { .. } => {}
    }
}
