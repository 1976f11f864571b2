//! Words about pins and limits.

use clap::{Args, ValueEnum};

use super::ChangeTerms;

/// One of the two sides of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// The old side
    Legacy,
    /// The new side
    Candidate,
}

impl Side {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Candidate => "candidate",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PinArguments {
    /// Name of the route
    pub(crate) route: String,
    /// The key, such as the id of a function
    pub(crate) key: String,
    /// The side that serves it
    #[arg(value_enum)]
    pub(crate) side: Side,
    #[command(flatten)]
    pub(crate) terms: ChangeTerms,
}

#[derive(Debug, Args)]
pub(crate) struct UnpinArguments {
    /// Name of the route
    pub(crate) route: String,
    /// The key
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) terms: ChangeTerms,
}

#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct LimitArguments {
    /// Name of the policy
    pub(crate) policy: String,
    /// How many requests over which time: 100/s, 600/min, 1000/h, 5000/d
    #[arg(required_unless_present = "reset", conflicts_with = "reset")]
    pub(crate) rate: Option<String>,
    /// How many at once [default: one second of the rate]
    #[arg(long, requires = "rate", value_name = "N")]
    pub(crate) burst: Option<u32>,
    /// Only for this key, in place of what the policy allows to all
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Back to what is configured; with --key, back to what the policy allows to all
    #[arg(long)]
    pub(crate) reset: bool,
    #[command(flatten)]
    pub(crate) terms: ChangeTerms,
}
