//! Which documents of settings there are, and their schemas as the programs print them.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::reference;
use crate::workspace::Workspace;

/// A document that people write.
pub struct Document {
    /// The name of its schema and its page.
    pub name: &'static str,
    /// The heading of its page.
    pub title: &'static str,
    /// What its page says first.
    pub about: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

const DOCUMENTS: &[Document] = &[
    Document {
        name: "gateway",
        title: "gateway.toml",
        about: "What a gateway is configured with: `gateway --config FILE`. A variable wins over the file: `GATEWAY__HTTP__BIND` is `bind` of `[http]`.",
        program: "gateway",
        arguments: &["--schema", "settings"],
    },
    Document {
        name: "rollout",
        title: "rollout.toml",
        about: "What moves while a gateway runs. It is a file, or a row in PostgreSQL that several gateways share; people, `strangler`, the API and the gateway itself change it.",
        program: "gateway",
        arguments: &["--schema", "rollout"],
    },
    Document {
        name: "mapping",
        title: "mapping.toml",
        about: "Which table of the candidate is which table of the monolith, for every command of `strangler db`.",
        program: "strangler",
        arguments: &["schema", "mapping"],
    },
    Document {
        name: "stack",
        title: "stack.toml",
        about: "A whole system on one machine, for `strangler dev --stack FILE`.",
        program: "strangler",
        arguments: &["schema", "stack"],
    },
    Document {
        name: "legacy",
        title: "legacy",
        about: "Mini-Lambda's monolith: `legacy --config FILE`. A variable wins over the file: `LEGACY__HTTP__BIND` is `bind` of `[http]`.",
        program: "legacy",
        arguments: &["--schema"],
    },
    Document {
        name: "lambda-service",
        title: "lambda-service",
        about: "Mini-Lambda's lambda service: `lambda-service --config FILE`. A variable wins over the file: `LAMBDA_SERVICE__HTTP__BIND` is `bind` of `[http]`.",
        program: "lambda-service",
        arguments: &["--schema"],
    },
    Document {
        name: "build-service",
        title: "build-service",
        about: "Mini-Lambda's build service: `build-service --config FILE`. A variable wins over the file: `BUILD_SERVICE__HTTP__BIND` is `bind` of `[http]`.",
        program: "build-service",
        arguments: &["--schema"],
    },
];

/// Every generated file, with what is in it.
pub fn files(workspace: &Workspace) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for document in DOCUMENTS {
        let schema = printed(workspace, document.program, document.arguments)?;
        let parsed: Value = serde_json::from_str(&schema).with_context(|| format!("{}: no schema", document.name))?;
        let infrastructure = workspace.root.join("infrastructure");
        let page = reference::page(document, &parsed);
        files.push((infrastructure.join(format!("book/src/settings/{}.md", document.name)), page));
        files.push((infrastructure.join(format!("schemas/{}.schema.json", document.name)), schema));
    }
    Ok(files)
}

/// What one of the programs prints.
pub fn printed(workspace: &Workspace, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let path = workspace.target_directory.join("debug").join(program);
    ensure!(path.is_file(), "{} is not built; run: cargo xtask ci --from build", path.display());
    let output = Command::new(&path).args(arguments).output().with_context(|| format!("cannot start {program}"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed no text"))
}
