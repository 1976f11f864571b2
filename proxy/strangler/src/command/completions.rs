//! `strangler completions SHELL`

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{arguments::Arguments, output::line};

pub(crate) fn run(shell: Shell) -> ExitCode {
    // Not to standard output at once: that panics when its reader has read enough.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "strangler", &mut script);
    line(String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}
