//! What Cargo knows about this workspace.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, ensure};
use serde_json::Value;

/// The crates of the workspace, where they are, and where their build results go.
#[derive(Debug)]
pub struct Workspace {
    pub crates: Vec<Crate>,
    pub root: PathBuf,
    pub target_directory: PathBuf,
}

/// One crate of ours, with those of ours that it is built on. What only its tests use is left out.
#[derive(Debug, PartialEq, Eq)]
pub struct Crate {
    pub name: String,
    pub uses: Vec<String>,
}

impl Workspace {
    /// Asks Cargo.
    pub fn read() -> anyhow::Result<Self> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .context("cannot start cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        Self::parse(&serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?)
    }

    fn parse(metadata: &Value) -> anyhow::Result<Self> {
        let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
        let root = metadata["workspace_root"].as_str().context("cargo metadata names no root")?.into();
        let target_directory = metadata["target_directory"].as_str().context("cargo metadata names no target")?.into();
        let crates = packages.iter().map(Crate::parse).collect::<anyhow::Result<_>>()?;
        Ok(Self { crates, root, target_directory })
    }
}

impl Crate {
    fn parse(package: &Value) -> anyhow::Result<Self> {
        let name = package["name"].as_str().context("a package has no name")?.to_owned();
        let dependencies = package["dependencies"].as_array().context("a package has no list of dependencies")?;
        let uses = dependencies
            .iter()
            .filter(|dependency| dependency["path"].is_string() && dependency["kind"] != "dev")
            .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
            .collect();
        Ok(Self { name, uses })
    }
}

/// The cargo that runs us, so that both are of one toolchain.
pub fn cargo() -> Command {
    let mut command = Command::new(cargo_path());
    forget_our_package(&mut command);
    command
}

/// Where that cargo is.
pub fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Takes away what cargo has told us about our own package. Build scripts that ask to run again when such
/// a variable changes, ring's for one, would else run again, and all that depends on them be built again,
/// whenever somebody goes from plain `cargo` to `cargo xtask`.
pub fn forget_our_package(command: &mut Command) {
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_our_own_crates_and_not_those_of_tests_count() {
        let package = json!({"name": "legacy", "dependencies": [
            {"name": "domain", "path": "/x/shared/domain", "kind": null},
            {"name": "testkit", "path": "/x/shared/testkit", "kind": "dev"},
            {"name": "serde", "kind": null},
        ]});
        let parsed = Crate::parse(&package).unwrap();
        assert_eq!(parsed, Crate { name: "legacy".to_owned(), uses: vec!["domain".to_owned()] });
    }
}
