//! The words of `strangler db inspect`, `validate` and `retire`.

use std::path::PathBuf;

use clap::Args;

use super::SliceTarget;

/// Which schema a first mapping is made from.
#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// File that holds the database's address; STRANGLER_DATABASE_URL may hold the address itself
    #[arg(long, env = "STRANGLER_DATABASE_URL_FILE", value_name = "FILE")]
    pub(crate) database_url_file: Option<PathBuf>,
    /// The schema that holds the monolith's tables
    #[arg(long, default_value = "public")]
    pub(crate) schema: String,
    /// Rows of each table that are looked at
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub(crate) sample: u32,
}

/// Which slice is checked, and how thoroughly.
#[derive(Debug, Args)]
pub(crate) struct ValidateArguments {
    #[command(flatten)]
    pub(crate) target: SliceTarget,
    /// Rows of each table that conversions are tried with
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub(crate) sample: u32,
}

/// Which slice's tables of the monolith are to go.
#[derive(Debug, Args)]
pub(crate) struct RetireArguments {
    #[command(flatten)]
    pub(crate) target: SliceTarget,
    /// For so many days nothing may have been touched
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    pub(crate) quiet_days: u32,
    /// Also ask the gateway which routes legacy still answers, and tell it what was found, for its console
    #[arg(long)]
    pub(crate) gateway: bool,
    /// Print only the plan, as SQL
    #[arg(long)]
    pub(crate) sql: bool,
}
