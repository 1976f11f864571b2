//! The words of `strangler db verify`.

use std::time::Duration;

use clap::Args;

use super::{SliceTarget, duration};

/// Which slice is compared, and how.
#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    pub(crate) target: SliceTarget,
    /// After so many rows that differ, the rest is not looked at
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..), value_name = "N")]
    pub(crate) max_differences: u16,
    /// Connections to each side
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64), value_name = "N")]
    pub(crate) readers: u8,
    /// At most so many rows a second on each side [default: no limit]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub(crate) max_rows_per_second: Option<u32>,
    /// The candidate's database is the one that is written to: after a cutover
    #[arg(long)]
    pub(crate) reversed: bool,
    /// Begin another round when one is over, until Ctrl-C or a row differs
    #[arg(long)]
    pub(crate) continuous: bool,
    /// Time between two rounds
    #[arg(long, default_value = "1m", value_parser = duration, requires = "continuous", value_name = "DURATION")]
    pub(crate) every: Duration,
    /// End after this many rounds
    #[arg(long, requires = "continuous", value_name = "N")]
    pub(crate) rounds: Option<u64>,
    /// Compare all of it, also what an unfinished round has compared
    #[arg(long)]
    pub(crate) start_over: bool,
    /// Tell the gateway, whose console shows it
    #[arg(long)]
    pub(crate) report: bool,
}
