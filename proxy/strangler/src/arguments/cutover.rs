//! The words of cutovers and fences.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{Note, SliceTarget, duration};

/// Which slice gets another owner, and how.
#[derive(Debug, Args)]
pub(crate) struct CutoverArguments {
    #[command(flatten)]
    pub(crate) target: SliceTarget,
    /// Show what would happen and what stands against it, and change nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// The longest that writes are held; whatever is not done by then is undone
    #[arg(long, default_value = "5s", value_parser = duration, value_name = "DURATION")]
    pub(crate) hold: Duration,
    /// File that says what services are asked before, meanwhile and after
    #[arg(long, value_name = "HOOKS.TOML")]
    pub(crate) hooks: Option<PathBuf>,
    /// Do not compare all rows before; those that were written last are compared all the same
    #[arg(long)]
    pub(crate) skip_verify: bool,
    #[command(flatten)]
    pub(crate) note: Note,
}

/// The end of the way back.
#[derive(Debug, Args)]
pub(crate) struct CompleteArguments {
    #[command(flatten)]
    pub(crate) target: SliceTarget,
    /// Do it: from then on the slice cannot be rolled back
    #[arg(long)]
    pub(crate) confirm: bool,
    #[command(flatten)]
    pub(crate) note: Note,
}

/// A fence that is held by hand.
#[derive(Debug, Args)]
pub(crate) struct FenceArguments {
    /// The slice's name in the gateway's configuration
    pub(crate) slice: String,
    /// The longest that its writes are held; Ctrl-C ends it sooner
    #[arg(long = "for", default_value = "5s", value_parser = duration, value_name = "DURATION")]
    pub(crate) hold: Duration,
}
