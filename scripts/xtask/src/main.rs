//! The project's own checks.
//!
//! - `cargo xtask deps`: dependencies between our crates point the way they should.
//! - `cargo xtask dashboards`: writes Grafana's dashboards from their sources.
//! - `cargo xtask settings`: writes the book's reference of settings and the schemas for editors.
//! - `cargo xtask man FOLDER`: writes manual pages and completions of every program.
//! - `cargo xtask fuzz [SECONDS]`: each fuzz target of the gateway for that long.
//! - `cargo xtask sbom`: prints what is in the programs that are shipped, as CycloneDX.
//! - `cargo xtask ci [--from STEP | --only STEP]`: everything that CI runs, in order.

mod book;
mod dependency_rules;
mod fuzz;
mod observability;
mod packaging;
mod sbom;
mod skipped_tests;
mod step;
mod workspace;

use std::process::ExitCode;

use step::Selection;
use workspace::Workspace;

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["deps"] => Workspace::read().and_then(|workspace| dependency_rules::check(&workspace)),
        ["dashboards"] => Workspace::read().and_then(|workspace| observability::write(&workspace)),
        ["sbom"] => Workspace::read().and_then(|workspace| sbom::print(&workspace)),
        ["settings"] => Workspace::read().and_then(|workspace| book::write_settings(&workspace)),
        ["man", folder] => Workspace::read().and_then(|workspace| book::write_manual(&workspace, folder.as_ref())),
        ["fuzz"] => Workspace::read().and_then(|workspace| fuzz::run(&workspace, fuzz::DEFAULT_SECONDS)),
        ["fuzz", seconds] if seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0) => {
            let seconds = seconds.parse().unwrap_or(fuzz::DEFAULT_SECONDS);
            Workspace::read().and_then(|workspace| fuzz::run(&workspace, seconds))
        }
        ["ci"] => step::run(Selection::All),
        ["ci", "--from", name] => step::run(Selection::From(name)),
        ["ci", "--only", name] => step::run(Selection::Only(name)),
        _ => {
            eprintln!(
                "usage: cargo xtask deps\n       cargo xtask dashboards\n       cargo xtask sbom\n       cargo xtask settings\n       cargo xtask man FOLDER\n       cargo xtask fuzz [SECONDS]\n       cargo xtask ci [--from STEP | --only STEP]\nsteps: {}",
                step::names()
            );
            return ExitCode::from(USAGE);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
