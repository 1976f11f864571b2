//! Versions, copies and links that must agree.

use std::fs;

use anyhow::Context;

use super::Packaging;

pub fn check(packaging: &mut Packaging<'_>) -> anyhow::Result<()> {
    let read = |path: &str| fs::read_to_string(packaging.root.join(path)).with_context(|| path.to_owned());
    let manifest: toml::Table = read("Cargo.toml")?.parse()?;
    let package = &manifest["workspace"]["package"];
    let version = package["version"].as_str().context("no version")?.to_owned();
    let rust = package["rust-version"].as_str().context("no rust-version")?.to_owned();
    let license = package["license"].as_str().context("no license")?.to_owned();
    let mut problems = Vec::new();
    let dockerfile = read("infrastructure/docker/Dockerfile")?;
    if !dockerfile.contains(&format!("ARG RUST=rust:{rust}-")) {
        problems.push(format!("Dockerfile: RUST is not Rust {rust}, which Cargo.toml asks for"));
    }
    problems.extend(other_tags(
        "k8s/overlays/production",
        &read("infrastructure/k8s/overlays/production/kustomization.yaml")?,
        &version,
    ));
    let variables = read("infrastructure/terraform/variables.tf")?;
    if default_of(&variables, "image_tag") != Some(version.as_str()) {
        problems.push(format!("variables.tf: image_tag is not {version}"));
    }
    if !read("CHANGELOG.md")?.contains(&format!("\n## {version}")) {
        problems.push(format!("CHANGELOG.md says nothing of {version}"));
    }
    if license == "Apache-2.0" && !read("LICENSE")?.contains("Apache License") {
        problems.push("LICENSE is not the Apache License, which Cargo.toml names".to_owned());
    }
    if read("infrastructure/k8s/base/gateway.toml")? != read("infrastructure/local/mini-lambda/gateway.toml")? {
        let copy = "cp infrastructure/local/mini-lambda/gateway.toml infrastructure/k8s/base/gateway.toml";
        problems.push(format!("k8s/base/gateway.toml is not the one of infrastructure/local; run: {copy}"));
    }
    packaging.problems.extend(problems);
    Ok(())
}

/// Images of ours with another version.
fn other_tags(place: &str, kustomization: &str, version: &str) -> Vec<String> {
    let tags = kustomization.lines().filter_map(|line| {
        let tag = line.split_once("newTag: ")?.1.trim_end_matches([' ', '}']);
        (tag.trim_matches('"') != version).then(|| format!("{place}: {}: is not {version}", line.trim()))
    });
    tags.collect()
}

/// The default of a variable of Terraform, where it is a text.
fn default_of<'a>(text: &'a str, variable: &str) -> Option<&'a str> {
    let body = text.split_once(&format!("variable \"{variable}\" {{"))?.1.split_once("\n}")?.0;
    body.lines().find_map(|line| {
        line.trim().strip_prefix("default")?.trim().strip_prefix('=')?.trim().strip_prefix('"')?.strip_suffix('"')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_are_found() {
        let text = "  - { name: a, newTag: 1.2.0 }\n  - { name: b, newTag: 1.1.0 }\n";
        assert_eq!(other_tags("k8s", text, "1.2.0"), ["k8s: - { name: b, newTag: 1.1.0 }: is not 1.2.0"]);
        let variables = "variable \"a\" {\n  default = \"x\"\n}\n\nvariable \"image_tag\" {\n  type    = string\n  default = \"1.2.0\"\n}\n";
        assert_eq!(default_of(variables, "image_tag"), Some("1.2.0"));
        assert_eq!(default_of(variables, "b"), None);
    }
}
