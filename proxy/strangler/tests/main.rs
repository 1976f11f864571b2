//! The command line as its user meets it: words, exit status, output, and the admin API behind it.
#![allow(clippy::unwrap_used, missing_docs)]

mod copies;
mod ramps;
mod rollout;
mod shadow;
mod shadow_walk;
mod syncs;

use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use testkit::{Answer, RecordedRequest, StubUpstream};

const TOKEN: &str = "a-token-of-this-test";

fn strangler(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strangler"));
    command.args(arguments).env_remove("STRANGLER_ADMIN").env_remove("STRANGLER_TOKEN");
    command
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command against a stub of the admin API.
async fn against(stub: &StubUpstream, arguments: &[&str]) -> Output {
    let mut command = strangler(arguments);
    command.env("STRANGLER_ADMIN", format!("http://{}", stub.address())).env("STRANGLER_TOKEN", TOKEN);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn status_with(requests: u64, counts: &[u64]) -> Value {
    let side = |requests: u64, counts: &[u64]| {
        json!({"requests": requests, "errors": 0, "in_flight": 0,
               "latency": {"le_seconds": [0.001, 0.01], "counts": counts, "sum_seconds": 0.1}})
    };
    json!({
        "revision": 7, "rollout_file": "rollout.toml", "reload_error": null, "started_at": "2026-01-01T00:00:00Z",
        "uptime_seconds": requests as f64 / 100.0,
        "upstreams": [{"name": "old", "address": "127.0.0.1:1", "healthy": true}],
        "routes": [{"name": "invoke", "stage": "canary", "percent": 10.0, "epoch": 2, "fallbacks": 0,
                    "sides": {"legacy": side(requests, counts), "candidate": side(0, &[0, 0])}}]
    })
}

#[test]
fn words_that_make_no_sense_are_status_2() {
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["weight", "invoke"],
        &["weight", "invoke", "101"],
        &["weight", "invoke", "0.123"],
        &["rollback"],
        &["pin", "invoke", "fn-1"],
        &["pin", "invoke", "fn-1", "both"],
        &["limit", "per-function"],
        &["limit", "per-function", "5/s", "--reset"],
        &["rollback", "invoke", "--all"],
        &["history", "--head", "abc"],
        &["plan"],
        &["--admin", "http://127.0.0.1:1", "--token-file", "/dev/null", "apply", "/nowhere/rollout.toml"],
        &["status", "--count", "3"],
        &["--output", "xml", "routes"],
        &["db", "plan", "--mapping", "/nowhere/mapping.toml"],
        &["db", "copy", "orders", "--mapping", "/nowhere/mapping.toml"],
        &["db", "copy", "orders", "--mapping", "mapping.toml", "--readers", "0"],
        &["--data", "/nowhere", "routes"],
        &["--admin", "http://127.0.0.1:1", "routes"],
        &["api-key", "new", "a b"],
        &["api-key", "new", "a", "--scope", "b c"],
        &["api-key", "new", "a", "--expires", "soon"],
    ] {
        let output = strangler(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output.stderr));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_gateway_that_is_away_is_status_1_and_named() {
    // Port 1 of loopback: nobody listens there.
    let output =
        strangler(&["--admin", "http://127.0.0.1:1", "routes"]).env("STRANGLER_TOKEN", TOKEN).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = said(&output.stderr);
    assert!(error.contains("http://127.0.0.1:1") && !error.contains(TOKEN), "{error}");
}

#[test]
fn a_token_is_not_sent_to_another_machine_in_clear() {
    let mut command = strangler(&["--admin", "http://192.0.2.1:9901", "routes"]);
    let output = command.env("STRANGLER_TOKEN", TOKEN).output().unwrap();
    let error = said(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("https://") && !error.contains(TOKEN), "{error}");
}

#[test]
fn a_new_api_key_is_printed_once_with_the_entry_that_knows_it() {
    let asked = ["api-key", "new", "ci", "--scope", "read", "--scope", "write", "--expires", "2031-12-31T00:00:00Z"];
    let text = said(&strangler(&asked).output().unwrap().stdout);
    let key = text.lines().map(str::trim).find(|line| line.starts_with("sgk_")).unwrap();
    assert_eq!(key.len(), 4 + 64, "256 random bits");
    let hash = hex::encode(Sha256::digest(key));
    let entry = format!(
        "[[keys]]\nname = \"ci\"\nsha256 = \"{hash}\"\nscopes = [\"read\", \"write\"]\nexpires = \"2031-12-31T00:00:00Z\"\n"
    );
    assert!(text.ends_with(&entry), "{text}");
    assert_eq!(text.matches("sgk_").count(), 1);
    let again = said(&strangler(&["--output", "json", "api-key", "new", "ci"]).output().unwrap().stdout);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_ne!(again["key"].as_str().unwrap(), key);
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = strangler(&["completions", shell]).output().unwrap();
        assert!(output.status.success() && said(&output.stdout).contains("rollback"), "{shell}");
    }
}

#[test]
fn doctor_names_a_fix_for_whatever_is_missing() {
    let output = strangler(&["--output", "json", "doctor"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["check"] == "PostgreSQL"), "{report}");
    for check in checks {
        assert_eq!(check["verdict"] == "good", check["fix"].is_null(), "{check}");
    }
    let missing = checks.iter().any(|check| check["verdict"] == "missing");
    assert_eq!(output.status.code(), Some(i32::from(missing)));
}

#[tokio::test]
async fn a_weight_is_sent_with_its_reason_and_answered_in_words_or_json() {
    let answer = json!({"route": "a/b", "from_percent": 0.0, "to_percent": 12.5, "epoch": 0, "revision": 3});
    let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(200, answer.to_string())).await;
    let arguments = ["weight", "a/b", "12.5%", "--reason", "first", "--actor", "ada"];
    let output = against(&stub, &arguments).await;
    assert!(output.status.success(), "{}", said(&output.stderr));
    assert_eq!(said(&output.stdout), "a/b: 0 % -> 12.5 % of keys on the candidate (revision 3)\n");

    let request = stub.requests().remove(0);
    // A slash in a name stays in its segment, so that no name can reach another path.
    assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/api/v1/routes/a%2Fb/weight"));
    assert_eq!(request.headers["authorization"], format!("Bearer {TOKEN}"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, json!({"percent": 12.5, "reason": "first", "actor": "ada"}));

    let output = against(&stub, &["--output", "json", "weight", "a/b", "12.5"]).await;
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["to_percent"], 12.5);
}

#[tokio::test]
async fn pins_and_limits_are_sent_and_told_in_words() {
    let answer = |request: &RecordedRequest| {
        let (from, to) = match request.path.as_str() {
            "/api/v1/routes/invoke/pins/fn%2F1" if request.method == "PUT" => (json!(null), json!("candidate")),
            "/api/v1/routes/invoke/pins/fn%2F1" => (json!("candidate"), json!(null)),
            _ => (json!({"rate": "1/s", "burst": 1}), json!({"rate": "5/s", "burst": 9})),
        };
        let key = request.path.contains("overrides").then_some("fn 1");
        let body = if request.path.starts_with("/api/v1/routes") {
            json!({"route": "invoke", "key": "fn/1", "from": from, "to": to, "revision": 3})
        } else {
            json!({"policy": "per-function", "key": key, "from": from, "to": to, "revision": 3})
        };
        Answer::json(200, body.to_string())
    };
    let stub = StubUpstream::start(answer).await;
    for (arguments, said_so, method, path, body) in [
        (
            &["pin", "invoke", "fn/1", "candidate"][..],
            "invoke: \"fn/1\" where its weight puts it -> candidate (revision 3)\n",
            "PUT",
            "/api/v1/routes/invoke/pins/fn%2F1",
            json!({"side": "candidate"}),
        ),
        (
            &["unpin", "invoke", "fn/1"],
            "invoke: \"fn/1\" candidate -> where its weight puts it (revision 3)\n",
            "DELETE",
            "/api/v1/routes/invoke/pins/fn%2F1",
            json!({}),
        ),
        (
            &["limit", "per-function", "5/s", "--burst", "9"],
            "per-function: 1/s, 1 at once -> 5/s, 9 at once (revision 3)\n",
            "PUT",
            "/api/v1/limits/per-function",
            json!({"rate": "5/s", "burst": 9}),
        ),
        (
            &["limit", "per-function", "--key", "fn 1", "--reset"],
            "per-function for \"fn 1\": 1/s, 1 at once -> 5/s, 9 at once (revision 3)\n",
            "DELETE",
            "/api/v1/limits/per-function/overrides/fn%201",
            json!({}),
        ),
    ] {
        let noted = [arguments, &["--actor", "ada", "--reason", "first", "--expect", "2"]].concat();
        let output = against(&stub, &noted).await;
        assert_eq!(said(&output.stdout), said_so, "{}", said(&output.stderr));
        let request = stub.requests().pop().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), (method, path));
        let mut expected = json!({"reason": "first", "actor": "ada", "expected_revision": 2});
        expected.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), expected);
    }
}

#[tokio::test]
async fn limits_are_listed_with_what_single_keys_are_allowed() {
    let answer = json!({"policies": [{
        "name": "per-function", "counts": "key", "configured": {"rate": "100/s", "burst": 20}, "rate": "50/s",
        "burst": 10, "overrides": [{"key": "fn-1", "rate": "500/s", "burst": 50}],
    }]});
    let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(200, answer.to_string())).await;
    let text = said(&against(&stub, &["limits"]).await.stdout);
    for expected in ["each key", "50/s", "\"fn-1\"", "500/s", "100/s, 20 at once"] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
    let output = against(&stub, &["--output", "json", "limits"]).await;
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["policies"][0]["burst"], 10);
}

#[tokio::test]
async fn what_the_gateway_refuses_is_status_2_and_a_fault_of_its_own_is_status_1() {
    for (status, expected) in [(400, 2), (404, 2), (409, 2), (401, 1), (500, 1)] {
        let refusal = json!({"error": "some_code", "message": "some words"}).to_string();
        let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(status, refusal.clone())).await;
        let output = against(&stub, &["rollback", "--all"]).await;
        assert_eq!(output.status.code(), Some(expected), "{status}");
        assert!(said(&output.stderr).contains("some words (some_code)"), "{}", said(&output.stderr));
    }
}

#[tokio::test]
async fn a_rollback_says_what_legacy_cannot_serve() {
    let route =
        |name: &str, only: Value| json!({ "route": name, "from_percent": 5.0, "epoch": 2, "only_candidate": only });
    let keys: Vec<String> = (0..12).map(|number| format!("fn-{number}")).collect();
    let routes = [
        route("invoke", json!({ "keys": keys, "count": 12, "age_seconds": 4.2 })),
        route("read", json!({ "keys": [], "count": 0, "age_seconds": 4.2 })),
        route("write", json!({ "keys": [], "count": null, "age_seconds": null })),
    ];
    let answer =
        json!({ "routes": routes, "revision": 8, "persisted": true, "persist_error": null, "set_aside": null });
    let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(200, answer.to_string())).await;
    let output = against(&stub, &["rollback", "--all"]).await;
    let text = said(&output.stdout);
    assert!(output.status.success(), "{}", said(&output.stderr));
    assert!(text.contains("invoke: legacy cannot serve 12 keys, as of 4 s ago: fn-0, fn-1, "), "{text}");
    assert!(text.contains("fn-9, …") && !text.contains("read: legacy"), "{text}");
    assert!(text.contains("write: the candidate has not said which keys legacy cannot serve"), "{text}");
}

#[tokio::test]
async fn a_rollback_that_was_not_written_down_is_no_success() {
    let answer = json!({"routes": [{"route": "invoke", "from_percent": 50.0, "epoch": 4}], "revision": 9,
                        "persisted": false, "persist_error": "disk full", "set_aside": null});
    let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(200, answer.to_string())).await;
    let output = against(&stub, &["rollback", "invoke"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output.stdout).contains("invoke: 50 % -> 0 %, epoch 4"), "{}", said(&output.stdout));
    assert!(said(&output.stderr).contains("disk full"), "{}", said(&output.stderr));
}

#[tokio::test]
async fn watching_shows_what_happened_since_the_last_look() {
    let looks = std::sync::atomic::AtomicU64::new(0);
    let stub = StubUpstream::start(move |_: &RecordedRequest| {
        let look = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Answer::json(200, status_with(100 + look * 50, &[100, 100 + look * 50]).to_string())
    })
    .await;
    let output = against(&stub, &["status", "--watch", "--count", "2", "--interval", "50ms"]).await;
    let text = said(&output.stdout);
    assert!(output.status.success(), "{}", said(&output.stderr));
    let (first, second) = text.split_once("since the gateway started").unwrap();
    assert!(first.contains(" 100 ") && second.contains(" 50 "), "{text}");
    assert!(second.contains("since the last look"), "{text}");
    assert!(!text.contains('\x1b'), "no escape sequences where nobody looks: {text}");
}

#[test]
fn a_broken_configuration_is_status_2_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    std::fs::write(&config, "[admin]\ntoken = \"0123456789abcdef\"\n[[routes]]\nname = \"a\"\npath = \"no-slash\"\n")
        .unwrap();
    let output = strangler(&["validate", config.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output.stderr));
    let text = said(&output.stdout);
    assert!(text.contains("gateway.toml:5") && !text.contains("0123456789abcdef"), "{text}");
}
