//! The gateway's command line.

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::Parser;
use gateway::{RunError, run, validate};
use mimalloc::MiMalloc;

/// A request makes and drops some hundred small buffers, mostly on one thread: `scripts/bench proxy`
/// measures a tenth less CPU time than with the system's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Moves live traffic between the legacy and the candidate side of each route.
#[derive(Debug, Parser)]
#[command(name = "gateway", version)]
struct Arguments {
    /// The configuration file (TOML). Variables such as GATEWAY__HTTP__BIND win over it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and the rollout document, print every problem, and end.
    #[arg(long)]
    check: bool,
}

/// The exit code for files that must be mended before another try makes sense.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.check {
        return match validate(&arguments.config) {
            Ok(summary) => {
                eprintln!("{}: {summary}", arguments.config.display());
                ExitCode::SUCCESS
            }
            Err(RunError::Problems(problems)) => fail(BAD_CONFIGURATION, &problems.to_string()),
            Err(error) => fail(BAD_CONFIGURATION, &with_causes(&error)),
        };
    }
    match run(&arguments.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(RunError::Problems(problems)) => fail(BAD_CONFIGURATION, &problems.to_string()),
        Err(error) => fail(1, &with_causes(&error)),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(code)
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = format!("gateway: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
