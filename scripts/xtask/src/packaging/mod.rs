//! `infrastructure/`: images, Compose files, Kubernetes manifests, units and Terraform are held against the programs that
//! they run, and against the schemas and linters of their own kind.
//!
//! | module | what it does |
//! |---|---|
//! | `dockerfile` | the images' targets: their programs, users, health checks, ports and variables |
//! | `programs` | the built programs, which are asked whether they take these settings and words |
//! | `compose` | what Compose makes of its files, for development and for production |
//! | `kubernetes` | what Kustomize makes of the overlays, and which secrets they name |
//! | `units` | systemd's units and their environments |
//! | `terraform` | what Terraform makes of its table of programs |
//! | `names` | every variable of ours that any file names |
//! | `versions` | versions, ports and copies that must agree |
//! | `tools` | other people's checks: schemas and linters |

mod compose;
mod dockerfile;
mod kubernetes;
mod names;
mod programs;
mod terraform;
mod tools;
mod units;
mod versions;

use std::{fs, path::Path};

use anyhow::{Context, ensure};

use self::{dockerfile::Image, programs::Programs, tools::Tools};
use crate::workspace::Workspace;

/// Everything that the checks share.
struct Packaging<'a> {
    workspace: &'a Workspace,
    root: &'a Path,
    images: Vec<Image>,
    programs: Programs,
    tools: Tools,
    problems: Vec<String>,
}

/// Fails with every problem found.
pub fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let dockerfile = workspace.root.join("infrastructure/docker/Dockerfile");
    let text = fs::read_to_string(&dockerfile).with_context(|| dockerfile.display().to_string())?;
    let mut packaging = Packaging {
        workspace,
        root: &workspace.root,
        images: dockerfile::images(&text),
        programs: Programs::find(workspace)?,
        tools: Tools::find(),
        problems: Vec::new(),
    };
    let problems = dockerfile::problems(&text, &packaging.images, &packaging.binaries());
    packaging.note("Dockerfile", problems);
    compose::check(&mut packaging)?;
    kubernetes::check(&mut packaging)?;
    units::check(&mut packaging)?;
    terraform::check(&mut packaging)?;
    names::check(&mut packaging)?;
    versions::check(&mut packaging)?;
    tools::check(&mut packaging)?;
    ensure!(packaging.problems.is_empty(), "{}", packaging.problems.join("\n"));
    eprintln!(
        "packaging: {} images, {} programs asked for their settings",
        packaging.images.len(),
        packaging.programs.asked()
    );
    Ok(())
}

impl Packaging<'_> {
    fn note(&mut self, place: &str, problems: impl IntoIterator<Item = String>) {
        self.problems.extend(problems.into_iter().map(|problem| format!("{place}: {problem}")));
    }

    fn image(&self, name: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.name == name)
    }

    /// The programs that the workspace makes.
    fn binaries(&self) -> Vec<&str> {
        self.workspace.crates.iter().map(|one| one.name.as_str()).collect()
    }
}

/// `strangler/NAME:TAG`, of an image of ours.
fn our_image(image: &str) -> Option<(&str, Option<&str>)> {
    let rest = image.strip_prefix("strangler/")?;
    Some(match rest.split_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (rest, None),
    })
}

fn relative<'a>(root: &Path, path: &'a Path) -> std::borrow::Cow<'a, str> {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy()
}
