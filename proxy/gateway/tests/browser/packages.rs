//! What drives the browser comes from npm, pinned by a lock file, into Cargo's folder for tests; the browser is the
//! system's Chromium.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use xxhash_rust::xxh3::xxh3_64;

/// Where the scripts and the list of their packages are.
pub const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser");

const LOCK: &str = include_str!("package-lock.json");

/// What runs the scripts.
pub struct Browser {
    pub chromium: PathBuf,
    pub packages: PathBuf,
}

/// Finds the browser and fetches the packages, or says why there are none.
pub fn find() -> Result<Browser, String> {
    let chromium = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(in_path);
    let chromium = chromium.ok_or("no Chromium on this machine; scripts/install brings it")?;
    for program in ["node", "npm"] {
        in_path(program).ok_or(format!("no {program} on this machine; scripts/install brings it"))?;
    }
    Ok(Browser { chromium, packages: packages()? })
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The folder of the packages of this lock file, filled unless it is.
fn packages() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = root.join(format!("console-packages-{:016x}", xxh3_64(LOCK.as_bytes())));
    fs::create_dir_all(&folder).unwrap();
    // Each test is a process of its own; one of them fetches.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let done = folder.join("done");
    if done.is_file() {
        return Ok(folder);
    }
    for file in ["package.json", "package-lock.json"] {
        fs::copy(Path::new(SCRIPTS).join(file), folder.join(file)).unwrap();
    }
    let fetch = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"])
        .arg(&folder)
        .output()
        .map_err(|error| format!("npm does not start: {error}"))?;
    if !fetch.status.success() {
        let why = String::from_utf8_lossy(&fetch.stderr);
        let why = why.lines().find(|line| line.contains("code ")).or(why.lines().next()).unwrap_or("no reason given");
        return Err(format!("npm cannot fetch playwright-core and axe-core: {why}"));
    }
    File::create(done).unwrap();
    Ok(folder)
}
