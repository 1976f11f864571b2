//! The demonstration: Mini-Lambda's functions move from the monolith to the lambda service and back, under
//! steady traffic. On the way a candidate with a planted defect is found out twice: by the shadow, before any
//! caller sees it, and, let onto traffic all the same, by the guard. Then the data goes the same way: to a database of
//! its own, back, and there to stay.
//!
//! | module | what it holds |
//! |---|---|
//! | `flawed_candidate` | the process that plants the defect |
//! | `functions` | the functions that are created, their events and what each must answer |
//! | `platform` | a client of Mini-Lambda's REST API, through the gateway |
//! | `operator` | a client of the gateway's admin API |
//! | `rollout_file` | editing percentages as a person would |
//! | `traffic` | the requests, at a steady rate |
//! | `tally` | what came back, by side, by second and by step |
//! | `stage` | what all chapters work with: collecting what comes back, steps at one percentage |
//! | `shadowing` | chapters in which the candidate only gets copies |
//! | `ramping` | chapters in which the gateway raises the weight by itself |
//! | `splitting` | chapters in which the data goes to its own database and back |
//! | `tool` | the command line that does it |
//! | `told`, `databases` | what callers were told, and whether it is in the databases |
//! | `packaging` | functions from packages, through the build service |
//! | `scenario` | the order of the chapters |
//! | `verdict` | whether all went as told |
//! | `screen` | what is printed meanwhile, and the summary |

mod databases;
mod flawed_candidate;
mod functions;
mod operator;
mod packaging;
mod platform;
mod ramping;
mod rollout_file;
mod scenario;
mod screen;
mod shadowing;
mod splitting;
mod stage;
mod tally;
mod told;
mod tool;
mod traffic;
mod verdict;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
pub use flawed_candidate::serve as serve_flawed_candidate;
pub use scenario::run;
pub use screen::Screen;
pub use verdict::Summary;

use crate::RunningStack;

/// The running system that is shown.
#[derive(Debug, Clone)]
pub struct Target {
    /// Address of the gateway, such as `http://127.0.0.1:8080`.
    pub gateway: String,
    /// Address of its admin API.
    pub admin: String,
    /// Address of the process that plants the defect.
    pub flawed_candidate: String,
    /// Token for the admin API.
    pub token: String,
    /// The rollout document that the gateway watches.
    pub rollout_file: PathBuf,
    /// The data folder of the stack, with the addresses of its databases.
    pub data: PathBuf,
    /// The program `strangler`.
    pub strangler: PathBuf,
}

impl Target {
    /// That of a stack that runs [`crate::StackSource::demonstration`].
    ///
    /// # Errors
    /// When it is another stack.
    pub fn of(stack: &RunningStack, strangler: PathBuf) -> anyhow::Result<Self> {
        let url = |name: &str| stack.urls().get(name).cloned().with_context(|| format!("the stack has no `{name}`"));
        Ok(Self {
            gateway: url("gateway")?,
            admin: url("admin")?,
            flawed_candidate: url("flawed-candidate")?,
            token: stack.secret("admin").context("the stack has no admin token")?.to_owned(),
            rollout_file: stack.file("rollout.toml"),
            data: stack.data_folder().to_owned(),
            strangler,
        })
    }
}

/// How much traffic, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long each chapter takes at least; one at a percentage set by hand goes on until every key was seen. The
    /// steps of a ramp are as long as gateway.toml says.
    pub step: Duration,
    /// Functions that exist, each a key of the split.
    pub keys: usize,
    /// How many of them are called (the others are only read), each by its own warm process.
    pub called: usize,
    /// Calls begun each second.
    pub calls_per_s: u32,
    /// Reads begun each second.
    pub reads_per_s: u32,
    /// The most calls at a time. One that finds no place waits, so that a slow machine is asked for
    /// less rather than drowned.
    pub calls_at_a_time: usize,
    /// The most reads at a time.
    pub reads_at_a_time: usize,
    /// Functions created each second while their data moves.
    pub creations_per_s: u32,
    /// Whether the way back of the data ends at the end; otherwise the rows go back, so that everything that was shown
    /// can be tried.
    pub complete: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(6),
            keys: 2_000,
            called: 32,
            // What the monolith, which starts a process for each, can take on two cores.
            calls_per_s: 20,
            reads_per_s: 300,
            calls_at_a_time: 6,
            // With the calls, no more than the monolith has connections to its database.
            reads_at_a_time: 12,
            creations_per_s: 5,
            complete: true,
        }
    }
}
