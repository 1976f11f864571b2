//! The words of the command line.

pub(crate) mod cutover;
pub(crate) mod inspection;
pub(crate) mod limits;
mod place;
pub(crate) mod ramp;
pub(crate) mod shadow;
pub(crate) mod sync;
pub(crate) mod verification;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Move live traffic from a legacy system to new services, a slice at a time, and back.
#[derive(Debug, Parser)]
#[command(name = "strangler", version, about, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// How results are printed
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences, for people
    Table,
    /// One JSON document (`status --watch`: one a line)
    Json,
}

/// Which gateway to talk to.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArguments {
    /// Address of the gateway's admin API [default: that of the stack in --data]
    #[arg(long, global = true, env = "STRANGLER_ADMIN", value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// File that holds the admin API's token; STRANGLER_TOKEN may hold the token itself
    #[arg(long, global = true, env = "STRANGLER_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates of the authorities to trust for an https:// address, in PEM [default: the system's]
    #[arg(long, global = true, env = "STRANGLER_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Data folder of the stack that `dev` runs
    #[arg(long, global = true, env = "STRANGLER_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole system on this machine until Ctrl-C
    Dev(DevArguments),
    /// Show a migration: real functions under steady traffic, moved from legacy to candidate and back
    Demo(DemoArguments),
    /// Hand requests on to a candidate and, when told to, alter its answers; a part of `demo`
    #[command(hide = true)]
    FlawedCandidate {
        /// Where to listen
        listen: SocketAddr,
        /// The candidate
        candidate: SocketAddr,
    },
    /// Check a gateway's settings and rollout file, and name every problem
    Validate {
        /// The gateway's settings
        #[arg(value_name = "GATEWAY.TOML")]
        config: PathBuf,
    },
    /// Check this machine for what `dev` and `demo` need
    Doctor,
    /// List the routes, their two sides and their percentages
    Routes,
    /// Send a percentage of a route's keys to the candidate
    Weight(WeightArguments),
    /// Send everything back to legacy, at once
    Rollback(RollbackArguments),
    /// Raise a route's weight step by step, as long as the candidate is no worse than legacy
    #[command(subcommand)]
    Ramp(ramp::RampCommand),
    /// Copies of requests to the side that does not serve them
    #[command(subcommand)]
    Shadow(shadow::ShadowCommand),
    /// Send one key of a route to a side, whatever the percentage; a rollback ends it on the candidate
    Pin(limits::PinArguments),
    /// Let the percentage decide about a key again
    Unpin(limits::UnpinArguments),
    /// List the limit policies, what they allow, and to which keys something else
    Limits,
    /// Set how many requests a limit policy allows, or allows to one key
    Limit(limits::LimitArguments),
    /// Show what a rollout document would change, and change nothing
    ///
    /// Exit status: 0 when nothing would change, 3 when something would.
    Plan {
        /// The document
        #[arg(value_name = "ROLLOUT.TOML")]
        file: PathBuf,
    },
    /// Put a rollout document in force, whole
    Apply(ApplyArguments),
    /// Show who changed what, when and why, the latest first
    History(HistoryArguments),
    /// Restore the rollout document as it was before a change
    Undo(UndoArguments),
    /// Replace the gateway's process by a new one that takes over its listeners, without losing a request
    Upgrade,
    /// List the slices: whose their rows are, and which routes follow them
    Slices,
    /// Hold the writes of a slice for a moment; reads go on
    Fence(cutover::FenceArguments),
    /// Show both sides of every route: requests, errors, latency, share asked and share observed
    Status(StatusArguments),
    /// The shared database: views for the candidate over the monolith's tables
    #[command(subcommand)]
    Db(DbCommand),
    /// API keys of the gateway's callers
    #[command(subcommand)]
    ApiKey(ApiKeyCommand),
    /// Print the JSON Schema of a document, for editors that check and complete TOML
    Schema {
        /// The document
        #[arg(value_enum)]
        document: Document,
    },
    /// Write the manual pages of this program into a folder
    Man {
        /// The folder; it is made when it is missing
        folder: PathBuf,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The documents that people write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Document {
    /// A gateway's settings, `gateway.toml`
    Gateway,
    /// What moves while it runs, `rollout.toml`
    Rollout,
    /// Which table of the candidate is which of the monolith, `mapping.toml`
    Mapping,
    /// A whole system on one machine, `stack.toml`
    Stack,
}

/// Which stack to run, and where.
#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// Description of the system [default: Mini-Lambda]
    #[arg(long, value_name = "STACK.TOML")]
    pub(crate) stack: Option<PathBuf>,
}

/// How the demonstration runs.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Keep everything running at the end and print the addresses
    #[arg(long)]
    pub(crate) keep: bool,
    /// How long each step takes at least
    #[arg(long, default_value = "8s", value_parser = duration, value_name = "DURATION")]
    pub(crate) step: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct WeightArguments {
    /// Name of the route
    pub(crate) route: String,
    /// Share of keys on the candidate, in percent: 0 to 100, at most two decimals
    #[arg(value_parser = percent)]
    pub(crate) percent: f64,
    #[command(flatten)]
    pub(crate) terms: ChangeTerms,
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(mut_arg("expect", |expect| expect.help("Refuse unless this revision is in force")))]
pub(crate) struct RollbackArguments {
    /// Name of the route
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) route: Option<String>,
    /// Every route
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) terms: ChangeTerms,
}

#[derive(Debug, Args)]
#[command(mut_arg("expect", |expect| {
    expect.help("Refuse unless this revision is the last one [default: the one it is compared with]")
}))]
pub(crate) struct ApplyArguments {
    /// The document
    #[arg(value_name = "ROLLOUT.TOML")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) terms: ChangeTerms,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArguments {
    /// Only changes of this route
    #[arg(long, value_name = "ROUTE", conflicts_with = "verify")]
    pub(crate) route: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: usize,
    /// Follow the chain of the whole history: exit status 1 when it was altered
    #[arg(long)]
    pub(crate) verify: bool,
    /// A hash that was once the last one: also finds a history that was cut off since
    #[arg(long, requires = "verify", value_name = "HASH")]
    pub(crate) head: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UndoArguments {
    /// The change to go back before [default: the last one]
    pub(crate) revision: Option<u64>,
    /// Also send traffic back to the candidate that a rollback took away from it
    #[arg(long)]
    pub(crate) confirm: bool,
    #[command(flatten)]
    pub(crate) note: Note,
}

/// On which terms a change is made.
#[derive(Debug, Args)]
pub(crate) struct ChangeTerms {
    /// Refuse unless this revision is the last one
    #[arg(long, value_name = "REVISION")]
    pub(crate) expect: Option<u64>,
    #[command(flatten)]
    pub(crate) note: Note,
}

/// What goes into the record of a change.
#[derive(Debug, Args)]
pub(crate) struct Note {
    /// Why
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Who [default: the name of the user]
    #[arg(long, env = "STRANGLER_ACTOR")]
    pub(crate) actor: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// Show it again and again, with what happened in between
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Time between two looks
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "DURATION")]
    pub(crate) interval: Duration,
    /// End after this many looks
    #[arg(long, requires = "watch", value_name = "N")]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Print what `apply` would change, and change nothing
    Plan(DbTarget),
    /// Make the candidate's views as the mapping says
    Apply(DbTarget),
    /// Drop the candidate's views; tables and rows stay
    Remove {
        #[command(flatten)]
        target: DbTarget,
        /// Do it; without this the statements are printed
        #[arg(long)]
        confirm: bool,
    },
    /// Copy the rows of a slice, as they are now, into the candidate's own database
    Copy(CopyArguments),
    /// Make the candidate the owner of a slice's rows, behind a fence, with a way back
    ///
    /// Exit status of --plan: 3 when it could begin, 1 when something stands against it.
    Cutover(cutover::CutoverArguments),
    /// Make the monolith the owner again, with every row that the candidate has written since
    ///
    /// Exit status of --plan: 3 when it could begin, 1 when something stands against it.
    Rollback(cutover::CutoverArguments),
    /// End the way back: the slice's streams, slots and publications go
    Complete(cutover::CompleteArguments),
    /// Copy a slice, then keep it in step with the other side's changes until interrupted
    Sync(sync::SyncArguments),
    /// Show how far the streams of a slice are: stage, lag, log held, quarantine
    Status(sync::StreamStatusArguments),
    /// Changes that a database refused
    #[command(subcommand)]
    Quarantine(sync::QuarantineCommand),
    /// Write a first mapping from a live database, to standard output
    Inspect(inspection::InspectArguments),
    /// Check the mapping of a slice against both databases, with real rows; status 1 when anything would fail
    Validate(inspection::ValidateArguments),
    /// Show whether the monolith's tables of a slice are still used, by whom, and what would archive and drop them
    Retire(inspection::RetireArguments),
    /// Compare the rows of a slice on both sides, value by value; status 1 when any differs
    Verify(verification::VerifyArguments),
}

/// When a copy has to wait.
#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// The copy pauses while more sessions than this are at work in the monolith's database [default: no limit]
    #[arg(long, value_name = "N")]
    pub(crate) max_active_sessions: Option<u32>,
    /// The copy pauses while a commit of the monolith's takes longer [default: no limit]
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) max_commit: Option<Duration>,
    /// The copy pauses while a standby or another stream of either database is further behind; a stream says once a
    /// second how far it is [default: no limit]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "MIB")]
    pub(crate) max_lag_mib: Option<u32>,
}

impl LoadArguments {
    pub(crate) fn limits(&self) -> migration::copy::LoadLimits {
        migration::copy::LoadLimits {
            active_sessions: self.max_active_sessions,
            commit: self.max_commit,
            lag_bytes: self.max_lag_mib.map(|mebibytes| u64::from(mebibytes) << 20),
            ..migration::copy::LoadLimits::default()
        }
    }
}

/// How indexes and constraints are made once the rows are there.
#[derive(Debug, Args)]
pub(crate) struct IndexArguments {
    /// Indexes and constraints that are made at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16), value_name = "N")]
    pub(crate) builders: u8,
    /// Memory of the candidate's server for each of them while it is made; never less than its maintenance_work_mem
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_048_576), value_name = "MIB")]
    pub(crate) index_memory_mib: u32,
}

/// How the rows of a slice are copied.
#[derive(Debug, Args)]
pub(crate) struct CopyArguments {
    #[command(flatten)]
    pub(crate) target: SliceTarget,
    /// Connections that read, and as many that write
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64), value_name = "N")]
    pub(crate) readers: u8,
    /// Megabytes that one transaction copies, as the monolith's disk holds them
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..), value_name = "MIB")]
    pub(crate) chunk_mib: u16,
    /// At most so many megabytes a second, of all readers together [default: no limit]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), value_name = "MIB")]
    pub(crate) max_mib_per_second: Option<u16>,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
    #[command(flatten)]
    pub(crate) indexes: IndexArguments,
    /// Empty the candidate's tables first, and forget what was copied before
    #[arg(long)]
    pub(crate) start_over: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeyCommand {
    /// Make a key, and print it once with the entry for the gateway's file of API keys
    New(ApiKeyArguments),
}

/// Whose key, and for what.
#[derive(Debug, Args)]
pub(crate) struct ApiKeyArguments {
    /// Who will hold it: the subject that upstreams are told
    pub(crate) name: String,
    /// What its holder may do; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// When it ends, such as 2031-12-31T00:00:00Z [default: never]
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub(crate) expires: Option<String>,
}

/// Which database, by which mapping.
#[derive(Debug, Args)]
pub(crate) struct DbTarget {
    /// The mapping file [default: that of the stack in --data]
    #[arg(long, value_name = "MAPPING.TOML")]
    pub(crate) mapping: Option<PathBuf>,
    /// File that holds the database's address; STRANGLER_DATABASE_URL may hold the address itself [default: that of
    /// the stack in --data]
    #[arg(long, env = "STRANGLER_DATABASE_URL_FILE", value_name = "FILE")]
    pub(crate) database_url_file: Option<PathBuf>,
}

/// Which slice, between which databases.
#[derive(Debug, Args)]
pub(crate) struct SliceTarget {
    /// The slice's name in the mapping
    pub(crate) slice: String,
    #[command(flatten)]
    pub(crate) source: DbTarget,
    /// File that holds the address of the candidate's own database; STRANGLER_TARGET_URL may hold
    /// the address itself [default: that of the stack in --data]
    #[arg(long, env = "STRANGLER_TARGET_URL_FILE", value_name = "FILE")]
    pub(crate) target_url_file: Option<PathBuf>,
}

fn percent(text: &str) -> Result<f64, String> {
    let text = text.strip_suffix('%').unwrap_or(text);
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    text.parse::<f64>()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent) && decimals <= 2)
        .ok_or_else(|| "write 0 to 100 with at most two decimals, such as 10 or 0.5".to_owned())
}

/// RFC 3339.
fn time(text: &str) -> Result<String, String> {
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("write a time such as 2031-12-31T00:00:00Z".to_owned()),
    }
}

/// `500ms`, `2s`, `1m`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number with a unit, such as 500ms, 2s or 1m".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let duration = match &text[digits..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(wrong()),
    };
    if duration.is_zero() { Err(wrong()) } else { Ok(duration) }
}

#[cfg(test)]
mod book_tests;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_words_agree_with_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn percentages_have_two_decimals_at_most() {
        for (text, expected) in [("10", Some(10.0)), ("0.55%", Some(0.55)), ("100", Some(100.0))] {
            assert_eq!(percent(text).ok(), expected, "{text}");
        }
        for text in ["", "-1", "100.01", "0.555", "NaN", "inf", "1e1%%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "5", "s", "0s", "5h", "-5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
