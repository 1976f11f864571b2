//! The book's documents are read by what reads them in earnest, and the schemas for editors are what the programs print
//! and hold for every sample.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use local_stack::StackDocument;
use migration::{Mapping, cutover::Hooks};
use serde_json::Value;
use testkit::{JsonSchema, book_blocks};

use crate::mini_lambda::site::programs;

/// Each schema, and who prints it.
const SCHEMAS: [(&str, &str, &[&str]); 7] = [
    ("gateway", "gateway", &["--schema", "settings"]),
    ("rollout", "gateway", &["--schema", "rollout"]),
    ("mapping", "strangler", &["schema", "mapping"]),
    ("stack", "strangler", &["schema", "stack"]),
    ("legacy", "legacy", &["--schema"]),
    ("lambda-service", "lambda-service", &["--schema"]),
    ("build-service", "build-service", &["--schema"]),
];

/// The documents that come with the project, by their schemas.
const SAMPLES: [(&str, &str); 14] = [
    ("gateway", "proxy/gateway/gateway.example.toml"),
    ("gateway", "proxy/gateway/production.example.toml"),
    ("gateway", "infrastructure/local/mini-lambda/gateway.toml"),
    ("gateway", "infrastructure/local/bookshop/gateway.toml"),
    ("gateway", "infrastructure/k8s/base/gateway.toml"),
    ("rollout", "proxy/gateway/rollout.example.toml"),
    ("rollout", "infrastructure/local/mini-lambda/rollout.toml"),
    ("rollout", "infrastructure/local/bookshop/rollout.toml"),
    ("mapping", "infrastructure/local/mini-lambda/mapping.toml"),
    ("mapping", "infrastructure/local/bookshop/mapping.toml"),
    ("stack", "infrastructure/local/mini-lambda/stack.toml"),
    ("stack", "infrastructure/local/bookshop/stack.toml"),
    ("lambda-service", "services/lambda-service/lambda-service.toml"),
    ("build-service", "services/build-service/build-service.toml"),
];

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let asked = Command::new(programs().join(program)).args(arguments).output();
    let asked = asked.expect("`cargo build --workspace --bins` has built it");
    assert!(asked.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&asked.stderr));
    String::from_utf8(asked.stdout).expect("text")
}

#[test]
fn schemas_for_editors_are_what_the_programs_print() {
    for (name, program, arguments) in SCHEMAS {
        let committed = file(&format!("infrastructure/schemas/{name}.schema.json"));
        assert!(printed(program, arguments) == committed, "{name}: run `cargo xtask settings`");
    }
}

#[test]
fn samples_are_what_the_schemas_say_and_a_misspelt_key_is_not() {
    for (name, sample) in SAMPLES {
        let schema: Value = serde_json::from_str(&file(&format!("infrastructure/schemas/{name}.schema.json"))).unwrap();
        let mut document: Value = toml::from_str(&file(sample)).unwrap();
        let check = |document: &Value| JsonSchema::of(&schema).check(&schema, document);
        check(&document).unwrap_or_else(|why| panic!("{sample}: {why}"));
        document.as_object_mut().unwrap().insert("mispelt".to_owned(), Value::from(1));
        assert_eq!(check(&document), Err("$.mispelt is unknown".to_owned()), "{sample}");
    }
}

#[test]
fn every_program_has_a_manual_page_and_completions() {
    for program in ["gateway", "legacy", "lambda-service", "build-service"] {
        let page = printed(program, &["--man"]);
        assert!(page.contains(".TH ") && page.contains("config"), "{program}: {page}");
        for shell in ["bash", "zsh", "fish"] {
            let script = printed(program, &["--completions", shell]);
            assert!(script.contains(program) && script.contains("check"), "{program}: {shell}: {script}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    printed("strangler", &["man", folder.path().to_str().unwrap()]);
    for page in ["strangler", "strangler-weight", "strangler-db-cutover", "strangler-shadow-report"] {
        let text = fs::read_to_string(folder.path().join(page).with_extension("1")).unwrap();
        assert!(text.contains(".SH NAME"), "{page}: {text}");
    }
    assert!(!folder.path().join("strangler-flawed-candidate.1").exists(), "a hidden command has no page");
    for shell in ["bash", "zsh", "fish"] {
        assert!(printed("strangler", &["completions", shell]).contains("rollback"), "{shell}");
    }
}

#[test]
fn documents_in_the_book_are_read_as_the_programs_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateways = BTreeMap::new();
    for block in book_blocks() {
        let place = format!("{}:{}", block.page.display(), block.line);
        match block.kind.as_str() {
            "toml,gateway" => {
                assert!(block.text.contains("[rollout]"), "{place}: name the rollout file, which is checked too");
                gateways.insert(block.page.clone(), block.text);
            }
            "toml,rollout" => {
                let gateway =
                    gateways.get(&block.page).unwrap_or_else(|| panic!("{place}: there are no settings above"));
                validate(folder.path(), &place, gateway, &block.text);
            }
            "toml,mapping" => {
                Mapping::from_toml(&place, &block.text).unwrap_or_else(|problems| panic!("{problems}"));
            }
            "toml,hooks" => {
                Hooks::from_toml(&place, &block.text).unwrap_or_else(|problems| panic!("{problems}"));
            }
            "toml,stack" => {
                StackDocument::parse(&place, &block.text).unwrap_or_else(|problems| panic!("{problems}"));
            }
            kind if kind.starts_with("toml") => {
                // Whole files of the project, which have tests of their own.
                assert!(
                    block.text.trim().starts_with("{{#include "),
                    "{place}: say whose it is, such as `toml,gateway`"
                );
            }
            _ => {}
        }
    }
    for (page, gateway) in &gateways {
        validate(folder.path(), &page.display().to_string(), gateway, "");
    }
}

/// By the gateway itself, as `strangler validate` does.
fn validate(folder: &Path, place: &str, settings: &str, rollout: &str) {
    let config = folder.join("gateway.toml");
    fs::write(&config, settings).expect("our own folder");
    fs::write(folder.join("rollout.toml"), rollout).expect("our own folder");
    let mut gateway = Command::new(programs().join("gateway"));
    // As the book says, the token is in the environment.
    gateway.arg("--config").arg(&config).arg("--check").env("GATEWAY__ADMIN__TOKEN", "a-token-of-the-test-alone");
    let checked = gateway.output().expect("`cargo build --workspace --bins` has built it");
    assert!(checked.status.success(), "{place}: {}", String::from_utf8_lossy(&checked.stderr));
}
