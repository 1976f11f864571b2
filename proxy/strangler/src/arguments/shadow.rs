//! Words about shadow comparison.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ChangeTerms, Note, percent};

#[derive(Debug, Subcommand)]
pub(crate) enum ShadowCommand {
    /// Send copies of a percentage of a route's keys or requests to the side that does not serve them
    ///
    /// Whichever side that is. Its answers are compared with those that were served, and thrown away. 0 ends it.
    Set(ShadowArguments),
    /// Show what was compared, what differed, and what of it is noise
    Report {
        /// Only this route
        #[arg(long, value_name = "ROUTE")]
        route: Option<String>,
        /// At most so many of the latest mismatches
        #[arg(long, default_value_t = 10, value_name = "N")]
        limit: usize,
    },
    /// Show where the two answers of a mismatch differ, side by side
    Diff {
        /// Its id, from the report
        id: String,
    },
    /// Write a mismatch down as a test case: the request, and the answer that is expected
    Export {
        /// Its id, from the report
        id: String,
        /// Where to write it [default: standard output]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Send a test case's request to a server: exit status 1 when it does not answer as expected
    Run(RunArguments),
    /// Let the answers of a route differ at a path from now on
    Ignore {
        /// Name of the route
        route: String,
        // No doc comment: what is in brackets would be a link.
        #[arg(help = "The path, such as $.items[*].at, $..updatedAt or headers['etag']")]
        path: String,
        #[command(flatten)]
        note: Note,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ShadowArguments {
    /// Name of the route
    pub(crate) route: String,
    /// Share that is copied, in percent: 0 to 100, at most two decimals
    #[arg(value_parser = percent)]
    pub(crate) percent: f64,
    #[command(flatten)]
    pub(crate) terms: ChangeTerms,
}

/// Which test case, against whom.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// What `export` wrote
    #[arg(value_name = "CASE.JSON")]
    pub(crate) file: PathBuf,
    /// The server, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    pub(crate) against: String,
    /// A header field to send, `name: value`, such as one that was redacted; may be given several times
    #[arg(long = "header", value_name = "HEADER", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as `name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
