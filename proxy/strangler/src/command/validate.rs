//! `strangler validate GATEWAY.TOML`
//!
//! Asks the gateway's own binary, so that what is checked is what will be loaded.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use serde_json::json;
use tokio::process::Command;

use crate::output::Output;

pub(crate) async fn run(config: &Path, output: &Output) -> anyhow::Result<ExitCode> {
    let gateway = gateway_binary();
    let checked =
        Command::new(&gateway).arg("--config").arg(config).arg("--check").output().await.with_context(|| {
            format!("cannot run {}; it should stand beside strangler or on PATH", gateway.display())
        })?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let valid = checked.status.success();
    let problems = said(&checked.stderr);
    output.result(&json!({"valid": valid, "summary": said(&checked.stdout), "problems": problems}), || {
        if valid { format!("{}: valid\n{}", config.display(), said(&checked.stdout)) } else { problems.clone() }
    })?;
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// The gateway that was built with this binary, or else the one on `PATH`.
pub(super) fn gateway_binary() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join("gateway")))
        .filter(|beside| beside.is_file())
        .unwrap_or_else(|| PathBuf::from("gateway"))
}
