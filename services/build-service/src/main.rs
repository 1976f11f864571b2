//! `build-service [--config FILE] [--check]`
use std::process::ExitCode;

fn main() -> ExitCode {
    let about =
        service::About { name: "build-service", version: env!("CARGO_PKG_VERSION"), env_prefix: "BUILD_SERVICE" };
    service::run(about, build_service::build)
}
