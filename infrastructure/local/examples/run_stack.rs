//! Runs the system that a stack document describes until Ctrl-C, as `strangler dev` does:
//! `run_stack STACK.TOML DATA_FOLDER`.

use std::path::Path;
use std::process::ExitCode;

use local_stack::{Ended, Stack, StackError, StackOptions, StackSource};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [document, data_folder] = arguments.as_slice() else {
        eprintln!("usage: run_stack STACK.TOML DATA_FOLDER");
        return ExitCode::from(2);
    };
    match run(Path::new(document), Path::new(data_folder)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(document: &Path, data_folder: &Path) -> Result<(), StackError> {
    let (events, mut seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(event) = seen.recv().await {
            eprintln!("{event:?}");
        }
    });
    let options = StackOptions {
        data_folder: Some(data_folder.to_path_buf()),
        events: Some(events),
        ..StackOptions::new(StackSource::read(document)?)
    };
    let stack = Stack::start(options).await?;
    for (name, url) in stack.urls() {
        eprintln!("{name}: {url}");
    }
    for process in stack.processes() {
        eprintln!("process {} {}", process.name(), process.pid().unwrap_or_default());
    }
    let ended = stack.wait().await;
    stack.stop().await;
    match ended {
        Ended::Failed(failure) => Err(failure),
        Ended::Signal => Ok(()),
    }
}
