//! `strangler`, the operator's command line.
//!
//! Results go to standard output, progress and errors to standard error. Exit status: 0 when it was
//! done, 1 when it could not be done, 2 when what was asked makes no sense (usage, settings), 3 when a
//! plan found something to change.

mod admin;
mod arguments;
mod command;
mod connection;
mod output;
mod stack;

use std::process::ExitCode;

use anyhow::Context as _;
use arguments::{ApiKeyCommand, Arguments, Command, DbCommand};
use clap::{Parser as _, error::ErrorKind};
use migration::stream::Direction;
use output::{Output, Refused};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and version are answers; anything else about the words of the call is status 2.
        Err(error) => {
            let status = u8::from(!matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)) * 2;
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    let output = Output::new(arguments.output);
    match run(arguments, &output) {
        Ok(status) => status,
        Err(error) => {
            output.error(&error);
            ExitCode::from(if error.is::<Refused>() { 2 } else { 1 })
        }
    }
}

fn run(mut arguments: Arguments, output: &Output) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    if let Command::Db(command) = &mut arguments.command {
        command.at_stack(&connection::data_folder(&arguments.connection)?);
    }
    runtime.block_on(async {
        let connect = || connection::find(&arguments.connection);
        match arguments.command {
            Command::Dev(options) => command::dev::run(options, &arguments.connection, output).await,
            Command::Demo(options) => command::demo::run(options, &arguments.connection, output).await,
            Command::FlawedCandidate { listen, candidate } => command::demo::flawed_candidate(listen, candidate).await,
            Command::Validate { config } => command::validate::run(&config, output).await,
            Command::Doctor => command::doctor::run(&arguments.connection, output),
            Command::Routes => command::routes::run(&connect()?, output).await,
            Command::Weight(change) => command::weight::run(&connect()?, change, output).await,
            Command::Rollback(target) => command::rollback::run(&connect()?, target, output).await,
            Command::Ramp(command) => command::ramp::run(&connect()?, command, output).await,
            Command::Pin(change) => command::pin::pin(&connect()?, &change, output).await,
            Command::Unpin(change) => command::pin::unpin(&connect()?, &change, output).await,
            Command::Limits => command::limit::list(&connect()?, output).await,
            Command::Limit(change) => command::limit::set(&connect()?, &change, output).await,
            Command::Plan { file } => command::plan::run(&connect()?, &file, output).await,
            Command::Apply(change) => command::apply::run(&connect()?, change, output).await,
            Command::History(options) => command::history::run(&connect()?, options, output).await,
            Command::Undo(change) => command::undo::run(&connect()?, change, output).await,
            Command::Upgrade => command::upgrade::run(&connect()?, output).await,
            Command::Slices => command::slices::list(&connect()?, output).await,
            Command::Fence(asked) => command::slices::fence(&connect()?, asked, output).await,
            Command::Status(options) => command::status::run(&connect()?, options, output).await,
            Command::Shadow(asked) => command::shadow::run(connect, asked, output).await,
            Command::Db(DbCommand::Plan(target)) => command::db::plan(target, output).await,
            Command::Db(DbCommand::Apply(target)) => command::db::apply(target, output).await,
            Command::Db(DbCommand::Remove { target, confirm }) => command::db::remove(target, confirm, output).await,
            Command::Db(DbCommand::Cutover(asked)) => {
                command::db::cutover(&connect()?, asked, Direction::Forward, output).await
            }
            Command::Db(DbCommand::Rollback(asked)) => {
                command::db::cutover(&connect()?, asked, Direction::Reverse, output).await
            }
            Command::Db(DbCommand::Complete(asked)) => command::db::complete(&connect()?, asked, output).await,
            Command::Db(DbCommand::Sync(asked)) => {
                let gateway = asked.report.then(&connect).transpose()?;
                command::db::sync(asked, gateway.as_ref(), output).await
            }
            Command::Db(DbCommand::Status(asked)) => command::db::stream_status(asked, output).await,
            Command::Db(DbCommand::Quarantine(asked)) => command::db::quarantine(asked, output).await,
            Command::Db(DbCommand::Copy(asked)) => command::db::copy(asked, output).await,
            Command::Db(DbCommand::Inspect(asked)) => command::db::inspect(asked, output).await,
            Command::Db(DbCommand::Validate(asked)) => command::db::validate(asked, output).await,
            Command::Db(DbCommand::Retire(asked)) => {
                let gateway = asked.gateway.then(&connect).transpose()?;
                command::db::retire(asked, gateway.as_ref(), output).await
            }
            Command::Db(DbCommand::Verify(asked)) => {
                let gateway = asked.report.then(&connect).transpose()?;
                command::db::verify(asked, gateway.as_ref(), output).await
            }
            Command::ApiKey(ApiKeyCommand::New(asked)) => command::api_key::new(&asked, output),
            Command::Schema { document } => command::schema::run(document).await,
            Command::Man { folder } => command::man::run(&folder, output),
            Command::Completions { shell } => Ok(command::completions::run(shell)),
        }
    })
}
