//! `strangler schema DOCUMENT`
//!
//! A gateway's documents are described by its own binary, as they are checked by it.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use local_stack::StackDocument;
use migration::Mapping;
use tokio::process::Command;

use super::validate::gateway_binary;
use crate::{arguments::Document, output::line};

pub(crate) async fn run(document: Document) -> anyhow::Result<ExitCode> {
    let text = match document {
        Document::Gateway => of_the_gateway("settings").await?,
        Document::Rollout => of_the_gateway("rollout").await?,
        Document::Mapping => layered_config::schema::<Mapping>("mapping of a database split"),
        Document::Stack => layered_config::schema::<StackDocument>("stack on one machine"),
    };
    line(&text);
    Ok(ExitCode::SUCCESS)
}

async fn of_the_gateway(document: &str) -> anyhow::Result<String> {
    let gateway = gateway_binary();
    let asked = Command::new(&gateway).args(["--schema", document]).output().await;
    let asked = asked
        .with_context(|| format!("cannot run {}; it should stand beside strangler or on PATH", gateway.display()))?;
    ensure!(asked.status.success(), "{}: {}", gateway.display(), String::from_utf8_lossy(&asked.stderr).trim_end());
    String::from_utf8(asked.stdout).context("the gateway printed no text")
}
