//! The gateway's command line.

use std::{error::Error, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, Parser, ValueEnum};
use clap_complete::Shell;
use gateway::{Config, RolloutDocument, RunError, probe, run, validate};
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
    #[arg(long, value_name = "FILE", required_unless_present_any = ["schema", "man", "completions"])]
    config: Option<PathBuf>,
    /// Check the configuration and the rollout document, print every problem, and end.
    #[arg(long)]
    check: bool,
    /// Ask the gateway that runs with this configuration whether it is ready, and end: 0 when it is. A public listener
    /// that speaks nothing but TLS is only connected to.
    #[arg(long, conflicts_with = "check", requires = "config")]
    probe: bool,
    /// Print the JSON Schema of a document, for editors, and end.
    #[arg(long, value_enum, value_name = "DOCUMENT")]
    schema: Option<Document>,
    /// Print the manual page, in roff, and end.
    #[arg(long)]
    man: bool,
    /// Print a completion script and end.
    #[arg(long, value_name = "SHELL")]
    completions: Option<Shell>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Document {
    /// What `--config` names.
    Settings,
    /// What moves while the gateway runs.
    Rollout,
}

/// The exit code for files that must be mended before another try makes sense.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(config) = &arguments.config else { return describe(&arguments) };
    if arguments.check {
        return match validate(config) {
            Ok(summary) => {
                eprintln!("{}: {summary}", config.display());
                ExitCode::SUCCESS
            }
            Err(RunError::Problems(problems)) => fail(BAD_CONFIGURATION, &problems.to_string()),
            Err(error) => fail(BAD_CONFIGURATION, &with_causes(&error)),
        };
    }
    let outcome = if arguments.probe { probe(config) } else { run(config) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(RunError::Problems(problems)) => fail(BAD_CONFIGURATION, &problems.to_string()),
        Err(error) => fail(1, &with_causes(&error)),
    }
}

/// Prints what is known about the program itself.
fn describe(arguments: &Arguments) -> ExitCode {
    let mut command = Arguments::command();
    let mut text = Vec::new();
    if let Some(document) = arguments.schema {
        text = match document {
            Document::Settings => Config::schema(),
            Document::Rollout => RolloutDocument::schema(),
        }
        .into_bytes();
    } else if let Some(shell) = arguments.completions {
        clap_complete::generate(shell, &mut command, "gateway", &mut text);
    } else if let Err(error) = clap_mangen::Man::new(command).render(&mut text) {
        return fail(1, &with_causes(&error));
    }
    match std::io::stdout().write_all(&text) {
        Ok(()) => ExitCode::SUCCESS,
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
