//! `infrastructure/book/` and `infrastructure/schemas/`: every page is in the summary, every link leads somewhere, and
//! what is generated from the types of settings is what they make now.
//!
//! | module | what it does |
//! |---|---|
//! | `links` | the summary, and the links of pages |
//! | `settings` | which documents of settings there are, and their schemas as the programs print them |
//! | `reference` | a schema as a page |
//!
//! Tests hold the rest to the programs: commands in the crate `strangler`, documents in `local-stack`.

mod links;
mod reference;
mod settings;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::workspace::{Workspace, cargo};

/// Builds the programs, asks them for their settings and writes schemas and pages.
pub fn write_settings(workspace: &Workspace) -> anyhow::Result<()> {
    build()?;
    for (path, text) in settings::files(workspace)? {
        fs::create_dir_all(path.parent().context("it is below the root")?)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("{}", path.display());
    }
    Ok(())
}

/// Builds the programs and writes their manual pages and completions into a folder, as packages take them.
pub fn write_manual(workspace: &Workspace, folder: &Path) -> anyhow::Result<()> {
    build()?;
    let manual = folder.join("man1");
    fs::create_dir_all(&manual)?;
    settings::printed(workspace, "strangler", &["man", &manual.display().to_string()])?;
    for program in ["gateway", "legacy", "lambda-service", "build-service"] {
        fs::write(manual.join(program).with_extension("1"), settings::printed(workspace, program, &["--man"])?)?;
    }
    for (shell, folder) in [("bash", folder.join("bash")), ("zsh", folder.join("zsh")), ("fish", folder.join("fish"))] {
        fs::create_dir_all(&folder)?;
        for program in ["strangler", "gateway", "legacy", "lambda-service", "build-service"] {
            let words = if program == "strangler" { ["completions", shell] } else { ["--completions", shell] };
            let name = match shell {
                "zsh" => format!("_{program}"),
                "fish" => format!("{program}.fish"),
                _ => program.to_owned(),
            };
            fs::write(folder.join(name), settings::printed(workspace, program, &words)?)?;
        }
    }
    eprintln!("{}", folder.display());
    Ok(())
}

fn build() -> anyhow::Result<()> {
    let status = cargo().args(["build", "--workspace", "--bins"]).status().context("cannot start cargo")?;
    ensure!(status.success(), "cargo build ended with {status}");
    Ok(())
}

/// Fails with everything that is wrong with the book.
pub fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let pages = workspace.root.join("infrastructure/book/src");
    let (found, mut problems) = links::check(&pages)?;
    let generated = settings::files(workspace)?;
    for (path, text) in &generated {
        if fs::read_to_string(path).ok().as_ref() != Some(text) {
            problems.push(format!("{}: not what the settings are; run: cargo xtask settings", path.display()));
        }
    }
    problems.extend(left_over(&generated)?);
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    eprintln!("book: {} pages, {} links, {} generated files", found.pages, found.links, generated.len());
    mdbook(&workspace.root.join("infrastructure/book"))
}

/// Files beside the generated ones that nothing generates any more.
fn left_over(generated: &[(PathBuf, String)]) -> anyhow::Result<Vec<String>> {
    let folders: std::collections::BTreeSet<&Path> = generated.iter().filter_map(|(path, _)| path.parent()).collect();
    let mut problems = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if !generated.iter().any(|(known, _)| *known == path) {
                problems.push(format!("{}: nothing generates it; remove it", path.display()));
            }
        }
    }
    Ok(problems)
}

/// The book as mdBook makes it, where mdBook is: what else is checked here needs only this program.
fn mdbook(book: &Path) -> anyhow::Result<()> {
    let target = std::env::temp_dir().join(format!("strangler-book-{}", std::process::id()));
    let made = Command::new("mdbook").arg("build").arg(book).arg("--dest-dir").arg(&target).output();
    let made = match made {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("book: not rendered: no mdbook here");
            return Ok(());
        }
        made => made.context("cannot start mdbook")?,
    };
    let _ = fs::remove_dir_all(&target);
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success() && !said.contains("ERROR"), "mdbook: {said}");
    Ok(())
}
