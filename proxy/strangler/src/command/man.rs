//! `strangler man FOLDER`

use std::{fs, path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::CommandFactory as _;
use serde_json::json;

use crate::{arguments::Arguments, output::Output};

pub(crate) fn run(folder: &Path, output: &Output) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let written = clap_mangen::generate_to(Arguments::command(), folder);
    written.with_context(|| format!("cannot write manual pages into {}", folder.display()))?;
    output.result(&json!({"folder": folder}), || format!("try: man {}", folder.join("strangler.1").display()))?;
    Ok(ExitCode::SUCCESS)
}
