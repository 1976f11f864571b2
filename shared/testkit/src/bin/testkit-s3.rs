//! `testkit-s3 FOLDER PORT ACCESS_KEY`, with the secret key in `TESTKIT_S3_SECRET`: the tests' S3 server as a process,
//! so that it can be killed.

use std::process::ExitCode;

use anyhow::Context;
use local_servers::{PortChoice, S3Options, S3Server};

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testkit-s3: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().context("usage: testkit-s3 FOLDER PORT ACCESS_KEY");
    let options = S3Options {
        folder: argument()?.into(),
        port: PortChoice::Exactly(argument()?.parse()?),
        access_key: argument()?,
        secret_key: std::env::var("TESTKIT_S3_SECRET").context("TESTKIT_S3_SECRET is not set")?,
    };
    let _server = S3Server::start(options).await?;
    std::future::pending().await
}
