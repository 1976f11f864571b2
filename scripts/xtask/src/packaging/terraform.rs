//! What Terraform makes of the table of programs, which needs no provider: its few references to resources are replaced.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Packaging, programs::Settings};

/// Resources that the table refers to, and what may stand for them.
const RESOURCES: [(&str, &str); 2] = [
    ("aws_s3_bucket.functions.bucket", "\"functions\""),
    ("aws_service_discovery_private_dns_namespace.main.name", "\"strangler.internal\""),
];

/// What has the form of each secret.
const SECRETS: [(&str, &str); 14] = [
    ("access_key", "key"),
    ("secret_key", "secret"),
    ("database_url", "postgres://role:x@database:5432/name?sslmode=require"),
    ("own_database_url", "postgres://role:x@database:5432/name?sslmode=require"),
    ("monolith_url", "postgres://role:x@database:5432/name?sslmode=require"),
    ("source_url", "postgres://role:x@database:5432/name?sslmode=require"),
    ("target_url", "postgres://role:x@database:5432/name?sslmode=require"),
    ("redis_url", "rediss://:x@redis:6379/0"),
    ("rabbitmq_url", "amqps://user:x@rabbitmq:5671/%2f"),
    ("admin_token", "0123456789abcdef-admin"),
    ("view_token", "0123456789abcdef-view"),
    ("dry_run", "0123456789abcdef0123456789abcdef"),
    ("builds", "whsec_Y2hhbmdlLW1lLXRvby1jaGFuZ2UtbWUtdG9vISE="),
    ("webhooks", "whsec_Y2hhbmdlLW1lLWNoYW5nZS1tZS1jaGFuZ2UtbWU="),
];

pub fn check(packaging: &mut Packaging<'_>) -> anyhow::Result<()> {
    if !packaging.tools.has("terraform") {
        eprintln!("packaging: skipped: Terraform's expressions; there is no terraform here");
        return Ok(());
    }
    let known = fs::read_to_string(packaging.root.join("infrastructure/terraform/secrets.tf"))?;
    for program in programs(packaging)?.as_array().into_iter().flatten() {
        let text = |key: &str| program[key].as_str().unwrap_or_default().to_owned();
        let (place, name) = (format!("programs.tf: {}", text("name")), text("image"));
        let Some(image) = packaging.image(&name) else {
            packaging.note(&place, [format!("there is no image {name}")]);
            continue;
        };
        let mut variables = image.environment.clone();
        match given(program, &known) {
            Err(problem) => packaging.note(&place, [problem]),
            Ok(given) => {
                variables.extend(given);
                let refusal = packaging.programs.refusal(&Settings { program: &name, variables })?;
                packaging.note(&place, refusal);
            }
        }
        if name == "strangler" {
            let words: Vec<String> = serde_json::from_value(program["command"].clone()).unwrap_or_default();
            let refusal = packaging.programs.refusal_of_words(&words)?;
            packaging.note(&place, refusal);
        }
    }
    Ok(())
}

/// The table, as Terraform works it out.
fn programs(packaging: &Packaging<'_>) -> anyhow::Result<Value> {
    let folder = packaging.root.join("infrastructure/terraform");
    let copy = packaging.workspace.target_directory.join("packaging/terraform");
    fs::create_dir_all(&copy)?;
    fs::copy(folder.join("variables.tf"), copy.join("variables.tf"))?;
    let mut table = fs::read_to_string(folder.join("programs.tf"))?;
    for (resource, value) in RESOURCES {
        table = table.replace(resource, value);
    }
    fs::write(copy.join("programs.tf"), table)?;
    let mut console = Command::new("terraform")
        .args([
            "console",
            "-no-color",
            "-var=split=true",
            "-var=certificate_arn=arn:aws:acm:x",
            "-var=image_registry=x",
        ])
        .current_dir(&copy)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start terraform")?;
    let asked = "jsonencode([for name, one in local.running : { name = name, image = one.image, secret = one.secret, \
        environment = one.environment, secrets = one.secrets, command = one.command }])\n";
    console.stdin.take().context("no way to ask terraform")?.write_all(asked.as_bytes())?;
    let output = console.wait_with_output()?;
    ensure!(output.status.success(), "terraform console: {}", String::from_utf8_lossy(&output.stderr));
    let text: String = serde_json::from_slice(&output.stdout).context("terraform console printed no text")?;
    serde_json::from_str(&text).context("terraform console printed no JSON")
}

/// The variables of a program, where every secret is one that `secrets.tf` makes.
fn given(program: &Value, known: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = |key: &str| {
        let table = program[key].as_object().into_iter().flatten();
        table.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
    };
    let mut variables: BTreeMap<String, String> = pairs("environment").collect();
    for (name, key) in pairs("secrets") {
        let made = known.lines().any(|line| line.split_once('=').is_some_and(|(left, _)| left.trim() == key));
        let value = SECRETS.iter().find(|(known, _)| *known == key);
        match value {
            Some((_, value)) if made => variables.insert(name, (*value).to_owned()),
            _ => return Err(format!("{name} is the secret {key}, which secrets.tf does not make")),
        };
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_that_nobody_makes_is_found() {
        let secrets = "  database_url = local.x\n  builds       = \"y\"\n";
        let program = |key: &str| json!({"environment": {"SHOP__A": "1"}, "secrets": {"SHOP__DATABASE__URL": key}});
        let variables = given(&program("database_url"), secrets).unwrap();
        assert_eq!(variables["SHOP__A"], "1");
        assert!(variables["SHOP__DATABASE__URL"].starts_with("postgres://"));
        assert!(given(&program("databse_url"), secrets).unwrap_err().contains("databse_url"));
        assert!(given(&program("admin_token"), secrets).is_err(), "it has a form, and is not made");
    }
}
