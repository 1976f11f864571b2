//! The words of `strangler db sync`, `status` and `quarantine`.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::{IndexArguments, LoadArguments, SliceTarget, duration};

/// Which way changes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// From the monolith to the candidate
    Forward,
    /// From the candidate to the monolith
    Reverse,
    /// Both at once; the way back begins when the copy is there
    Both,
}

/// How a slice is kept in step.
#[derive(Debug, Args)]
pub(crate) struct SyncArguments {
    #[command(flatten)]
    pub(crate) target: SliceTarget,
    /// Which way changes flow [default: both when both sides own the slice, or when a way back has begun; else forward]
    #[arg(long, value_enum)]
    pub(crate) direction: Option<Way>,
    /// Connections that write changes, each with the rows of some keys
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16), value_name = "N")]
    pub(crate) lanes: u8,
    /// Connections that read the copy, and as many that write it
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64), value_name = "N")]
    pub(crate) readers: u8,
    /// The copy takes at most so many megabytes a second [default: no limit]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), value_name = "MIB")]
    pub(crate) max_mib_per_second: Option<u16>,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
    #[command(flatten)]
    pub(crate) indexes: IndexArguments,
    /// Warn when the source keeps so many megabytes of log for a stream
    #[arg(long, default_value_t = 4096, value_name = "MIB")]
    pub(crate) wal_warn_mib: u32,
    /// Give a stream up, and drop its slot, before the source keeps more than this; 0 for never
    #[arg(long, default_value_t = 65_536, value_name = "MIB")]
    pub(crate) wal_stop_mib: u32,
    /// Begin anew, with a new slot and a new copy, when the slot is lost
    #[arg(long)]
    pub(crate) restart_lost: bool,
    /// Accept the tables as they look now: both sides and the mapping have been changed alike
    #[arg(long)]
    pub(crate) accept_ddl: bool,
    /// Serve metrics for Prometheus at this address, under /metrics
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Tell the gateway, whose console shows it, every two seconds
    #[arg(long)]
    pub(crate) report: bool,
}

/// Which slice is looked at, how often.
#[derive(Debug, Args)]
pub(crate) struct StreamStatusArguments {
    #[command(flatten)]
    pub(crate) target: SliceTarget,
    /// Look again and again until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    /// The time between two looks
    #[arg(long, default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub(crate) interval: Duration,
    /// Serve metrics for Prometheus at this address, under /metrics, until interrupted: also of streams that nobody runs
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<SocketAddr>,
}

/// What to do with changes that a database refused.
#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// List them with their reasons
    List {
        #[command(flatten)]
        target: SliceTarget,
        /// At most so many of each direction
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
    },
    /// Write one again, or all; a running sync does it within a second
    Retry(QuarantineArguments),
    /// Leave one out; its row then differs until somebody mends it
    Skip(QuarantineArguments),
}

/// Which change.
#[derive(Debug, Args)]
pub(crate) struct QuarantineArguments {
    #[command(flatten)]
    pub(crate) target: SliceTarget,
    /// Its number in the list
    #[arg(long, value_name = "ID", required_unless_present = "all")]
    pub(crate) id: Option<i64>,
    /// Every one that was refused
    #[arg(long, conflicts_with = "id")]
    pub(crate) all: bool,
    /// The database that refused it
    #[arg(long, value_enum, default_value = "forward")]
    pub(crate) direction: Way,
}
