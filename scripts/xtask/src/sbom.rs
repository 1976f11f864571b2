//! What is in the programs that are shipped, as CycloneDX 1.5: every crate of the lock file that they are built of, with
//! its version, licence, checksum and dependencies. The same commit gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::workspace::{Workspace, cargo};

/// What is shipped.
const PROGRAMS: [&str; 5] = ["gateway", "strangler", "legacy", "lambda-service", "build-service"];

/// Prints the document.
pub fn print(workspace: &Workspace) -> anyhow::Result<()> {
    let output = cargo()
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .context("cannot start cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata = serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    let lock: toml::Table = std::fs::read_to_string(workspace.root.join("Cargo.lock"))?.parse()?;
    let text = serde_json::to_string_pretty(&document(&metadata, &checksums(&lock), &PROGRAMS)?)?;
    std::io::Write::write_all(&mut std::io::stdout(), format!("{text}\n").as_bytes()).context("cannot print it")
}

fn document(metadata: &Value, checksums: &BTreeMap<String, String>, programs: &[&str]) -> anyhow::Result<Value> {
    let packages: BTreeMap<&str, &Value> =
        list(&metadata["packages"]).iter().filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let uses: BTreeMap<&str, Vec<&str>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .filter_map(|node| {
            Some((node["id"].as_str()?, list(&node["deps"]).iter().filter_map(in_the_program).collect()))
        })
        .collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = packages
        .iter()
        .filter(|(_, package)| package["name"].as_str().is_some_and(|name| programs.contains(&name)))
        .map(|(id, _)| *id)
        .collect();
    ensure!(open.len() == programs.len(), "cargo metadata knows {} of {} programs", open.len(), programs.len());
    while let Some(id) = open.pop() {
        if reached.insert(id) {
            open.extend(uses.get(id).into_iter().flatten());
        }
    }
    let reference = |id: &str| packages.get(id).map_or_else(|| id.to_owned(), |package| reference(package));
    let mut components: Vec<Value> =
        reached.iter().filter_map(|id| Some(component(packages.get(id)?, checksums))).collect();
    components.sort_by_key(|component| component["bom-ref"].to_string());
    let mut dependencies: Vec<Value> = reached
        .iter()
        .map(|id| {
            let on: BTreeSet<String> = uses.get(id).into_iter().flatten().map(|id| reference(id)).collect();
            json!({"ref": reference(id), "dependsOn": on})
        })
        .collect();
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "strangler", "name": "strangler"}},
        "components": components,
        "dependencies": dependencies,
    }))
}

/// The id of a dependency that ends up in the program, and is not only there to build or to test it.
fn in_the_program(dependency: &Value) -> Option<&str> {
    let normal = list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
    normal.then(|| dependency["pkg"].as_str()).flatten()
}

fn component(package: &Value, checksums: &BTreeMap<String, String>) -> Value {
    let ours = package["source"].is_null();
    let reference = reference(package);
    let mut component = json!({
        "type": if ours { "application" } else { "library" },
        "bom-ref": reference,
        "name": package["name"],
        "version": package["version"],
        "purl": reference,
    });
    if let Some(license) = package["license"].as_str() {
        // An old way to write OR, which is none of SPDX.
        component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    if let Some(checksum) = checksums.get(&reference) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

/// The package's URL, which names it everywhere.
fn reference(package: &Value) -> String {
    format!("pkg:cargo/{}@{}", text(&package["name"]), text(&package["version"]))
}

fn checksums(lock: &toml::Table) -> BTreeMap<String, String> {
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    packages
        .filter_map(|package| {
            let field = |name: &str| package.get(name)?.as_str();
            Some((format!("pkg:cargo/{}@{}", field("name")?, field("version")?), field("checksum")?.to_owned()))
        })
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_builds_or_tests_is_not_in_the_program() {
        let package = |name: &str, source: Value| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": source});
        let uses = |to: &str, kind: Value| json!({"pkg": to, "dep_kinds": [{"kind": kind}]});
        let registry = json!("registry+x");
        let metadata = json!({
            "packages": [
                package("shop", Value::Null), package("serde", registry.clone()), package("cc", registry.clone()),
                package("insta", registry.clone()), package("unused", registry),
            ],
            "resolve": {"nodes": [
                {"id": "shop", "deps": [uses("serde", Value::Null), uses("cc", json!("build")), uses("insta", json!("dev"))]},
                {"id": "serde", "deps": []},
            ]},
        });
        let lock = "[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n".parse().unwrap();
        let document = document(&metadata, &checksums(&lock), &["shop"]).unwrap();
        let names: Vec<_> = list(&document["components"]).iter().map(|component| text(&component["name"])).collect();
        assert_eq!(names, ["serde", "shop"]);
        let serde = &document["components"][0];
        assert_eq!(serde["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(serde["hashes"][0]["content"], "ab");
        assert_eq!(document["dependencies"][1]["dependsOn"], json!(["pkg:cargo/serde@1.0.0"]));
        assert!(
            super::document(&metadata, &BTreeMap::new(), &["shop", "stop"]).is_err(),
            "a program that is not there"
        );
    }
}
