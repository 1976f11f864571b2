//! Which runtimes there are: their names, what runs them, and how it is spoken to.
//!
//! A service lists them in its settings; the first entry whose name fits is the runtime:
//!
//! ```toml
//! [[runtimes]]
//! name = "python3.*"                        # `*` stands for letters and digits, at least one
//! kind = "python"
//! interpreter = "/opt/python3.*/bin/python3"  # here `*` is what it stood for in the name
//! image = "python:3.*-slim"                 # for executors that run functions in Docker
//!
//! [[runtimes]]
//! name = "python3.*-aws"
//! kind = "python"
//! protocol = "runtime-api"                  # the package brings AWS's own client
//! bootstrap = ["{interpreter}", "-m", "awslambdaric", "{handler}"]
//!
//! [[runtimes]]
//! name = "provided.*"                       # the package brings a program named `bootstrap`
//! kind = "provided"
//! ```
//!
//! Settings that list some replace the default list as a whole. Services that work together list the same.

mod catalogue;
mod config;
mod name_pattern;

pub use catalogue::{Protocol, RuntimeSpec, UnknownRuntime};
pub use config::{ProtocolName, RuntimeConfig, RuntimesConfig};
pub use name_pattern::{NamePattern, PatternError};
