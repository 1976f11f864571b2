//! Dependencies, fetched by the ecosystems' own tools and kept outside of the checkout.

use std::{
    fs,
    io::{Cursor, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;
use zip::write::SimpleFileOptions;

use super::recipes::{Ecosystem, Recipe};

/// What became of a recipe.
pub enum Fetched {
    /// The package as a ZIP archive.
    Archive(Vec<u8>),
    /// The registry or its tool is not here.
    NotHere(String),
}

/// A package of a recipe's function and its dependencies.
pub async fn fetch(recipe: &Recipe) -> Fetched {
    let kept = kept_at(recipe);
    if !kept.is_dir()
        && let Err(why) = install(recipe, &kept).await
    {
        return Fetched::NotHere(why);
    }
    let (file, source) = (recipe.file(), recipe.source);
    let archive = tokio::task::spawn_blocking(move || archive(&kept, file, source));
    Fetched::Archive(archive.await.expect("packing does not panic"))
}

/// Where its dependencies are kept: by what they are, so that others are others.
fn kept_at(recipe: &Recipe) -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let names: String = recipe
        .requirements
        .concat()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    home.unwrap_or_else(std::env::temp_dir).join("mini-lambda-bundles").join(names)
}

/// Installed beside, and moved there when it is whole.
async fn install(recipe: &Recipe, kept: &Path) -> Result<(), String> {
    let folder = kept.parent().expect("it is below a folder");
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let begun = tempfile::tempdir_in(folder).map_err(|error| error.to_string())?;
    let mut tool = match recipe.ecosystem {
        Ecosystem::PyPi => pip(),
        Ecosystem::Npm => npm(begun.path()),
    };
    if recipe.ecosystem == Ecosystem::PyPi {
        tool.arg("--target").arg(begun.path());
    }
    tool.args(recipe.requirements).stdin(Stdio::null()).kill_on_drop(true);
    let output = tool.output().await.map_err(|error| format!("its tool cannot be run: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("its tool failed").to_owned());
    }
    // Another test may have been quicker, which is as good.
    if let Err(error) = fs::rename(begun.path(), kept)
        && !kept.is_dir()
    {
        return Err(error.to_string());
    }
    Ok(())
}

/// Wheels for the interpreter that runs functions, whichever one pip runs on.
fn pip() -> Command {
    let mut pip = Command::new("pip3");
    pip.args(["install", "--quiet", "--no-compile", "--only-binary=:all:"]);
    pip.args(["--implementation", "cp", "--python-version", "3.11"]);
    pip
}

fn npm(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--prefix"]).arg(folder);
    npm
}

/// All files of a folder and the function's own. Links become what they lead to, as `zip -r` does it.
fn archive(folder: &Path, file: &str, source: &str) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).expect("it was fetched") {
            let path = entry.expect("it was fetched").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).expect("it is inside").to_str().expect("registries' names are text");
            archive.start_file(name, SimpleFileOptions::default()).expect("a new name");
            archive.write_all(&fs::read(&path).expect("it was fetched")).expect("memory");
        }
    }
    archive.start_file(file, SimpleFileOptions::default()).expect("a new name");
    archive.write_all(source.as_bytes()).expect("memory");
    archive.finish().expect("memory").into_inner()
}
