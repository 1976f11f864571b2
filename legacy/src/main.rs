//! The monolith's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    let about = service::About { name: "legacy", version: env!("CARGO_PKG_VERSION"), env_prefix: "LEGACY" };
    service::run(about, legacy::build)
}
