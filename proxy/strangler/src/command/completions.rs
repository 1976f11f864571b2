//! `strangler completions SHELL`

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::arguments::Arguments;

pub(crate) fn run(shell: Shell) -> ExitCode {
    clap_complete::generate(shell, &mut Arguments::command(), "strangler", &mut std::io::stdout());
    ExitCode::SUCCESS
}
