//! What Compose makes of its files.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Packaging, our_image, programs::Settings};

/// Development and production, each with everything it can have.
pub fn check(packaging: &mut Packaging<'_>) -> anyhow::Result<()> {
    let folder = packaging.root.join("infrastructure/docker");
    let Some(compose) = packaging.tools.path("docker-compose") else {
        eprintln!("packaging: skipped: Compose files; there is no docker-compose; scripts/install brings it");
        return Ok(());
    };
    for kind in ["development", "production"] {
        let place = format!("compose.{kind}.yaml");
        let prepared = packaging.workspace.target_directory.join("packaging").join(kind);
        prepare(&folder, kind, &prepared)?;
        let output = Command::new(&compose)
            .arg("--env-file")
            .arg(prepared.join(".env"))
            .args(["--file", "compose.yaml", "--file", &place, "--profile", "*", "config", "--format", "json"])
            .current_dir(&folder)
            // Only what `prepare` has written: no variable of whoever runs this.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .output()
            .context("cannot start docker-compose")?;
        if !output.status.success() {
            packaging.note(&place, [String::from_utf8_lossy(&output.stderr).trim().to_owned()]);
            continue;
        }
        let model: Value = serde_json::from_slice(&output.stdout).context("docker-compose printed no JSON")?;
        services(packaging, &place, &model, &prepared)?;
        if kind == "production" {
            scraped(packaging, &model)?;
        }
    }
    Ok(())
}

/// Makes what the files take from outside, as a person would, but below the build results. Afresh each time: what is
/// there already would stay as it is.
fn prepare(folder: &Path, kind: &str, into: &Path) -> anyhow::Result<()> {
    if into.exists() {
        fs::remove_dir_all(into).with_context(|| into.display().to_string())?;
    }
    fs::create_dir_all(into)?;
    let output = Command::new(folder.join("prepare")).arg(kind).arg(into).output().context("cannot start prepare")?;
    ensure!(output.status.success(), "prepare {kind}: {}", String::from_utf8_lossy(&output.stderr));
    let tls = into.join("state/tls");
    // Under the names that Kubernetes has for them, too.
    for (from, to) in [("gateway.pem", "tls.crt"), ("gateway.pem", "ca.crt"), ("gateway.key", "tls.key")] {
        fs::copy(tls.join(from), tls.join(to)).with_context(|| format!("prepare {kind} made no {from}"))?;
    }
    Ok(())
}

fn services(packaging: &mut Packaging<'_>, place: &str, model: &Value, prepared: &Path) -> anyhow::Result<()> {
    for (service, settings) in model["services"].as_object().context("no services")? {
        let Some((image, _)) = settings["image"].as_str().and_then(our_image) else { continue };
        let place = format!("{place}: {service}");
        let Some(found) = packaging.image(image) else {
            packaging.note(&place, [format!("there is no image {image}")]);
            continue;
        };
        let mut variables = found.environment.clone();
        variables.extend(environment(&settings["environment"], &prepared.join("state/tls")));
        let words: Vec<String> = serde_json::from_value(settings["command"].clone()).unwrap_or_default();
        let target = settings["build"]["target"].as_str().map(str::to_owned);
        let refusal = packaging.programs.refusal(&Settings { program: image, variables })?;
        packaging.note(&place, refusal);
        if image == "strangler" {
            let refusal = packaging.programs.refusal_of_words(&words)?;
            packaging.note(&place, refusal);
        }
        packaging.note(&place, wrong_target(image, target.as_deref()));
    }
    Ok(())
}

/// An image is made by the target of its name.
fn wrong_target(image: &str, target: Option<&str>) -> Option<String> {
    target.filter(|target| *target != image).map(|target| format!("the image {image} is made by the target {target}"))
}

/// The variables, with files that only the container has replaced by those that `prepare` made.
pub fn environment(variables: &Value, tls: &Path) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let here = format!("{}/", tls.display());
    let variables = variables.as_object().into_iter().flatten();
    variables.map(|(name, value)| (name.clone(), text(value).replace("/run/tls/", &here))).collect()
}

/// Prometheus asks services that there are, at ports that they have.
fn scraped(packaging: &mut Packaging<'_>, model: &Value) -> anyhow::Result<()> {
    let path = packaging.root.join("observability/prometheus/prometheus.yml");
    let settings: Value =
        serde_norway::from_str(&fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
    let problems = unreachable(&settings, model, |image| packaging.image(image).map(|image| image.ports.clone()));
    packaging.note("prometheus.yml", problems);
    Ok(())
}

fn unreachable(settings: &Value, model: &Value, ports: impl Fn(&str) -> Option<Vec<u16>>) -> Vec<String> {
    let jobs = settings["scrape_configs"].as_array().into_iter().flatten();
    let targets = jobs.flat_map(|job| job["static_configs"].as_array().into_iter().flatten());
    let targets = targets.flat_map(|group| group["targets"].as_array().into_iter().flatten()).filter_map(Value::as_str);
    let mut problems = Vec::new();
    for target in targets.filter(|target| !target.starts_with("localhost:")) {
        let (host, port) = target.split_once(':').unwrap_or((target, "80"));
        let image = model["services"][host]["image"].as_str().and_then(our_image).map(|(image, _)| image);
        match image.and_then(&ports) {
            None => problems.push(format!("{target}: Compose has no service of ours called {host}")),
            Some(ports) if !ports.iter().any(|known| known.to_string() == port) => {
                problems.push(format!("{target}: {host} has the ports {ports:?}"));
            }
            Some(_) => {}
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_target_that_is_not_there_is_found() {
        let model =
            json!({"services": {"shop": {"image": "strangler/shop:latest"}, "postgres": {"image": "postgres:16"}}});
        let found = |target: &str| {
            let settings = json!({"scrape_configs": [{"static_configs": [{"targets": [target]}]}]});
            unreachable(&settings, &model, |image| (image == "shop").then(|| vec![8080, 9090]))
        };
        assert_eq!(found("shop:9090"), Vec::<String>::new());
        assert_eq!(found("localhost:9090"), Vec::<String>::new());
        assert_eq!(found("shop:9091"), ["shop:9091: shop has the ports [8080, 9090]"]);
        assert_eq!(found("stop:8080"), ["stop:8080: Compose has no service of ours called stop"]);
        assert_eq!(found("postgres:5432").len(), 1);
    }

    #[test]
    fn files_of_containers_are_replaced() {
        let variables = environment(&json!({"A": "x /run/tls/a.pem", "B": 5}), Path::new("/tmp/tls"));
        assert_eq!((variables["A"].as_str(), variables["B"].as_str()), ("x /tmp/tls/a.pem", "5"));
    }

    #[test]
    fn an_image_of_another_target_is_found() {
        assert_eq!(wrong_target("shop", Some("shop")), None);
        assert!(wrong_target("shop", Some("store")).is_some());
    }
}
