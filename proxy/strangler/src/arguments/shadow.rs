//! The words of `strangler shadow`.

use clap::{Args, Subcommand};

use super::{Note, percent};

/// What is done about copies.
#[derive(Debug, Subcommand)]
pub(crate) enum ShadowCommand {
    /// Send copies of a percentage of a route's keys or requests to the side that does not serve them
    ///
    /// Whichever side that is. Its answers are compared with those that were served, and thrown away. 0 ends it.
    Set(ShadowArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ShadowArguments {
    /// Name of the route
    pub(crate) route: String,
    /// Share that is copied, in percent: 0 to 100, at most two decimals
    #[arg(value_parser = percent)]
    pub(crate) percent: f64,
    /// Refuse unless this revision is the last one
    #[arg(long, value_name = "REVISION")]
    pub(crate) expect: Option<u64>,
    #[command(flatten)]
    pub(crate) note: Note,
}
