//! What Kustomize makes of the overlays: settings that the programs take, secrets that are known, pods that are closed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use serde::Deserialize as _;
use serde_json::Value;

use super::{Packaging, compose::environment, our_image, programs::Settings};

/// Every overlay; the base and the component as they are where there is no `kubectl` to build them.
pub fn check(packaging: &mut Packaging<'_>) -> anyhow::Result<()> {
    let folder = packaging.root.join("infrastructure/k8s");
    let secrets = secrets(&documents(&fs::read_to_string(folder.join("secrets.example.yaml"))?)?);
    let tls = packaging.workspace.target_directory.join("packaging/production/state/tls");
    let mut used = BTreeSet::new();
    for (place, file) in built(packaging, &folder)? {
        let resources = documents(&fs::read_to_string(&file)?).with_context(|| place.clone())?;
        for resource in &resources {
            let name = format!("{place}: {}/{}", text(&resource["kind"]), text(&resource["metadata"]["name"]));
            let Some(pod) = pod(resource) else { continue };
            packaging.note(&name, open_doors(pod));
            for container in pod["containers"].as_array().into_iter().flatten() {
                used.extend(references(container).map(|(secret, key)| format!("{secret}/{key}")));
                self::container(packaging, &name, container, &secrets, &tls)?;
            }
        }
        let stray = stray_selectors(&resources);
        packaging.note(&place, stray);
        let problems = packaging.tools.kubernetes(&file)?;
        packaging.note(&place, problems);
    }
    let unused = secrets.keys().filter(|secret| !secret.starts_with("gateway-tls/") && !used.contains(*secret));
    let unused: Vec<String> = unused.map(|secret| format!("nobody refers to {secret}")).collect();
    // The base alone names no secret of the overlays.
    if packaging.tools.has("kubectl") {
        packaging.note("secrets.example.yaml", unused);
    }
    Ok(())
}

/// Files of resources, each with what it is called in messages.
fn built(packaging: &Packaging<'_>, folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    if !packaging.tools.has("kubectl") {
        eprintln!(
            "packaging: skipped: Kustomize's overlays; there is no kubectl here, so base and component are checked alone"
        );
        let mut files = Vec::new();
        for part in ["base", "components/split"] {
            for entry in fs::read_dir(folder.join(part))? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.ends_with(".yaml") && name != "kustomization.yaml" {
                    files.push((format!("k8s/{part}/{name}"), path));
                }
            }
        }
        files.sort();
        return Ok(files);
    }
    ["development", "production"]
        .into_iter()
        .map(|overlay| {
            let output = Command::new("kubectl")
                .arg("kustomize")
                .arg(folder.join("overlays").join(overlay))
                .output()
                .context("cannot start kubectl")?;
            ensure!(
                output.status.success(),
                "kubectl kustomize {overlay}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let file = packaging.workspace.target_directory.join("packaging").join(format!("k8s-{overlay}.yaml"));
            fs::create_dir_all(file.parent().unwrap_or(folder))?;
            fs::write(&file, output.stdout)?;
            Ok((format!("k8s/{overlay}"), file))
        })
        .collect()
}

fn container(
    packaging: &mut Packaging<'_>,
    place: &str,
    container: &Value,
    secrets: &BTreeMap<String, String>,
    tls: &Path,
) -> anyhow::Result<()> {
    let Some((name, _)) = our_image(text(&container["image"])) else { return Ok(()) };
    let Some(image) = packaging.image(name) else {
        packaging.note(place, [format!("there is no image {name}")]);
        return Ok(());
    };
    let ports = image.ports.clone();
    let mut variables = image.environment.clone();
    let missing: Vec<String> = references(container)
        .filter(|(secret, key)| !secrets.contains_key(&format!("{secret}/{key}")))
        .map(|(secret, key)| format!("secrets.example.yaml has no {secret}/{key}"))
        .collect();
    variables.extend(environment(&given(container, secrets), tls));
    if missing.is_empty() {
        let refusal = packaging.programs.refusal(&Settings { program: name, variables })?;
        packaging.note(place, refusal);
    }
    packaging.note(place, missing);
    if name == "strangler" {
        let words: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap_or_default();
        let refusal = packaging.programs.refusal_of_words(&words)?;
        packaging.note(place, refusal);
    }
    packaging.note(place, wrong_ports(container, &ports));
    Ok(())
}

/// The variables of a container as `{name: value}`.
fn given(container: &Value, secrets: &BTreeMap<String, String>) -> Value {
    let variables = container["env"].as_array().into_iter().flatten().map(|variable| {
        let reference = &variable["valueFrom"]["secretKeyRef"];
        let secret = secrets.get(&format!("{}/{}", text(&reference["name"]), text(&reference["key"])));
        let value = secret.map_or_else(|| variable["value"].clone(), |value| Value::String(value.clone()));
        (text(&variable["name"]).to_owned(), value)
    });
    Value::Object(variables.collect())
}

fn references(container: &Value) -> impl Iterator<Item = (&str, &str)> {
    let variables = container["env"].as_array().into_iter().flatten();
    variables
        .map(|variable| &variable["valueFrom"]["secretKeyRef"])
        .filter(|reference| reference.is_object())
        .map(|reference| (text(&reference["name"]), text(&reference["key"])))
}

fn wrong_ports(container: &Value, ports: &[u16]) -> Vec<String> {
    let named = container["ports"].as_array().into_iter().flatten().filter_map(|port| port["containerPort"].as_u64());
    let wrong = named.filter(|port| !ports.iter().any(|known| u64::from(*known) == *port));
    wrong.map(|port| format!("the image has no port {port}; it has {ports:?}")).collect()
}

/// What a pod of ours never has.
fn open_doors(pod: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if pod["automountServiceAccountToken"] != Value::Bool(false) {
        problems.push("it has a token for the cluster: automountServiceAccountToken is not false".to_owned());
    }
    if pod["serviceAccountName"].as_str().is_none() {
        problems.push("it runs under the namespace's default account".to_owned());
    }
    if pod["securityContext"]["runAsNonRoot"] != Value::Bool(true) {
        problems.push("it may run as root: runAsNonRoot is not true".to_owned());
    }
    for container in pod["containers"].as_array().into_iter().flatten() {
        let name = text(&container["name"]);
        let context = &container["securityContext"];
        if context["allowPrivilegeEscalation"] != Value::Bool(false) {
            problems.push(format!("{name}: allowPrivilegeEscalation is not false"));
        }
        if context["capabilities"]["drop"] != serde_json::json!(["ALL"]) {
            problems.push(format!("{name}: it keeps capabilities; drop: [ALL]"));
        }
        if container["resources"]["requests"].is_null() || container["resources"]["limits"]["memory"].is_null() {
            problems.push(format!("{name}: it has no requests, or no limit of memory"));
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let variable_name = text(&variable["name"]);
            let secret = ["_TOKEN", "_SECRET", "SECRET_KEY", "DATABASE__URL", "PASSWORD"];
            if secret.iter().any(|end| variable_name.ends_with(end)) && variable["value"].is_string() {
                problems.push(format!("{name}: {variable_name} is written out; refer to a Secret"));
            }
        }
    }
    problems
}

/// Budgets, scalers and services that stand for nothing.
fn stray_selectors(resources: &[Value]) -> Vec<String> {
    let workloads: Vec<&Value> = resources.iter().filter(|resource| pod(resource).is_some()).collect();
    let selected = |selector: &Value| {
        workloads.iter().any(|workload| {
            let labels = &workload["spec"]["template"]["metadata"]["labels"];
            selector.as_object().is_some_and(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
        })
    };
    let mut problems = Vec::new();
    for resource in resources {
        let name = text(&resource["metadata"]["name"]);
        let stands = match text(&resource["kind"]) {
            "Service" => selected(&resource["spec"]["selector"]),
            "PodDisruptionBudget" => selected(&resource["spec"]["selector"]["matchLabels"]),
            "HorizontalPodAutoscaler" => {
                let target = &resource["spec"]["scaleTargetRef"];
                workloads.iter().any(|one| one["kind"] == target["kind"] && one["metadata"]["name"] == target["name"])
            }
            _ => true,
        };
        if !stands {
            problems.push(format!("{} {name} selects nothing that is here", text(&resource["kind"])));
        }
    }
    problems
}

fn pod(resource: &Value) -> Option<&Value> {
    let workload = matches!(text(&resource["kind"]), "Deployment" | "StatefulSet" | "DaemonSet" | "Job");
    workload.then(|| &resource["spec"]["template"]["spec"])
}

/// `secret/key` of each.
fn secrets(documents: &[Value]) -> BTreeMap<String, String> {
    let secrets = documents.iter().filter(|document| document["kind"] == "Secret");
    secrets
        .flat_map(|secret| {
            let name = text(&secret["metadata"]["name"]);
            let values = secret["stringData"].as_object().into_iter().flatten();
            values.map(move |(key, value)| (format!("{name}/{key}"), text(value).to_owned()))
        })
        .collect()
}

fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    serde_norway::Deserializer::from_str(text).map(|document| Ok(Value::deserialize(document)?)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
kind: Deployment
metadata: { name: shop }
spec:
  template:
    metadata: { labels: { app: shop } }
    spec:
      automountServiceAccountToken: false
      serviceAccountName: shop
      securityContext: { runAsNonRoot: true }
      containers:
        - name: shop
          env:
            - { name: SHOP__ADMIN__TOKEN, valueFrom: { secretKeyRef: { name: shop, key: token } } }
            - { name: SHOP__B, value: \"5\" }
          resources: { requests: { cpu: 1 }, limits: { memory: 1Gi } }
          ports: [{ containerPort: 8080 }]
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } }
---
kind: Service
metadata: { name: shop }
spec: { selector: { app: shop } }
---
kind: HorizontalPodAutoscaler
metadata: { name: shop }
spec: { scaleTargetRef: { kind: Deployment, name: shop } }
";

    fn problems(text: &str) -> Vec<String> {
        let resources = documents(text).unwrap();
        let pod = pod(&resources[0]).unwrap();
        let mut problems = open_doors(pod);
        problems.extend(wrong_ports(&pod["containers"][0], &[8080]));
        problems.extend(stray_selectors(&resources));
        problems
    }

    #[test]
    fn variables_come_from_values_and_secrets() {
        let resources = documents(GOOD).unwrap();
        let secrets = secrets(&documents("kind: Secret\nmetadata: { name: shop }\nstringData: { token: t }").unwrap());
        let container = &pod(&resources[0]).unwrap()["containers"][0];
        assert_eq!(given(container, &secrets), serde_json::json!({"SHOP__ADMIN__TOKEN": "t", "SHOP__B": "5"}));
        assert_eq!(references(container).collect::<Vec<_>>(), [("shop", "token")]);
    }

    #[test]
    fn planted_mistakes_are_found() {
        assert_eq!(problems(GOOD), Vec::<String>::new());
        for (from, to, expected) in [
            ("automountServiceAccountToken: false", "x: 1", "token for the cluster"),
            ("serviceAccountName: shop", "x: 1", "default account"),
            ("runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
            ("allowPrivilegeEscalation: false", "x: 1", "allowPrivilegeEscalation"),
            ("drop: [ALL]", "drop: [NET_RAW]", "keeps capabilities"),
            ("limits: { memory: 1Gi }", "limits: {}", "no limit of memory"),
            ("valueFrom: { secretKeyRef: { name: shop, key: token } }", "value: hunter2", "written out"),
            ("containerPort: 8080", "containerPort: 8081", "no port 8081"),
            ("selector: { app: shop }", "selector: { app: stop }", "Service shop selects nothing"),
            (
                "scaleTargetRef: { kind: Deployment, name: shop }",
                "scaleTargetRef: { kind: Deployment, name: x }",
                "Autoscaler shop",
            ),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let found = problems(&GOOD.replace(from, to));
            assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
        }
    }
}
