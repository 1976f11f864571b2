//! `lambda-service [--config FILE] [--check]`
use std::process::ExitCode;

fn main() -> ExitCode {
    let about =
        service::About { name: "lambda-service", version: env!("CARGO_PKG_VERSION"), env_prefix: "LAMBDA_SERVICE" };
    service::run(about, lambda_service::build)
}
