//! Runs the gateway's fuzz targets for a bounded time each.
//!
//! What `cargo fuzz` does with a nightly compiler needs none as long as no sanitizer is wanted: coverage
//! is a pass of LLVM that a stable rustc runs when asked, and libFuzzer comes as source with a crate. The
//! targets are safe Rust, in which an address sanitizer would find little.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use crate::workspace::{Workspace, cargo};

/// How long a target runs unless it is said, in seconds.
pub const DEFAULT_SECONDS: u32 = 20;

const FOLDER: &str = "proxy/gateway/fuzz";

/// No input is longer; what is to be found is found in short ones.
const MAX_INPUT_BYTES: u32 = 4_096;

/// Counters and comparisons of every branch, where libFuzzer looks for them.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Builds the targets and runs one after the other. Says so when they cannot be built here.
pub fn run(workspace: &Workspace, seconds: u32) -> anyhow::Result<()> {
    if let Some(missing) = missing() {
        eprintln!("skipped: fuzz: {missing}");
        eprintln!("skipped: 1");
        return Ok(());
    }
    let folder = workspace.root.join(FOLDER);
    let host = host_triple()?;
    let built = workspace.target_directory.join("fuzz");
    // The versions that are fuzzed are those that are shipped.
    fs::copy(workspace.root.join("Cargo.lock"), folder.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
    let status = cargo()
        .args(["build", "--quiet", "--bins", "--target", &host, "--target-dir"])
        .arg(&built)
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        // With `--target` these are not for build scripts, which have no libFuzzer to link.
        .env("RUSTFLAGS", COVERAGE)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the fuzz targets do not build");
    for target in targets(&folder)? {
        let binary = built.join(&host).join("debug").join(&target);
        run_target(&binary, &folder.join("seeds").join(&target), &built.join("found").join(&target), seconds)
            .with_context(|| format!("fuzz target {target}"))?;
    }
    Ok(())
}

/// What is not here that the targets need.
fn missing() -> Option<&'static str> {
    let there = Command::new("c++").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    (!there).then_some("there is no C++ compiler (c++) to build libFuzzer with")
}

fn host_triple() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it runs on")
}

/// Every target has its seeds in a folder of its name.
fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let seeds = fs::read_dir(folder.join("seeds")).context("the seeds cannot be read")?;
    let mut names: Vec<String> =
        seeds.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    Ok(names)
}

/// What a run finds it keeps beside the build, and begins with it the next time.
fn run_target(binary: &Path, seeds: &Path, found: &Path, seconds: u32) -> anyhow::Result<()> {
    let corpus = found.join("corpus");
    fs::create_dir_all(&corpus).context("the folder for inputs cannot be made")?;
    eprintln!("fuzz: {} for {seconds} s", binary.file_name().unwrap_or_default().display());
    let mut artifacts = PathBuf::from(found).into_os_string();
    artifacts.push("/");
    let mut prefix = std::ffi::OsString::from("-artifact_prefix=");
    prefix.push(artifacts);
    let output = Command::new(binary)
        .arg(&corpus)
        .arg(seeds)
        .args([format!("-max_total_time={seconds}"), format!("-max_len={MAX_INPUT_BYTES}")])
        .args(["-verbosity=0", "-print_final_stats=1", "-timeout=10"])
        .arg(prefix)
        .output()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let report = String::from_utf8_lossy(&output.stderr);
    let found = found.display();
    ensure!(output.status.success(), "it found an input that breaks a property; it is in {found}\n{report}");
    let inputs = report.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    eprintln!("      {} inputs, no property broken", inputs.unwrap_or("0").trim());
    Ok(())
}
