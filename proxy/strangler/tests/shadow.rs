//! `strangler shadow …` against a stub of the admin API, and test cases against a stub of a service.

use serde_json::{Value, json};
use testkit::{Answer, RecordedRequest, StubUpstream};

use crate::{against, said, strangler};

const ID: &str = "0191f1a0-7c3e-7b00-8000-000000000001";

fn body(text: &str) -> Value {
    json!({"text": text, "whole": true})
}

fn mismatch() -> Value {
    let answer = |price: u32| {
        let text = format!(r#"{{"id":"7","price":{price},"at":"12:00","token":"[redacted]"}}"#);
        json!({"status": 200, "headers": [["content-type", "application/json"], ["set-cookie", "[redacted]"]], "body": body(&text)})
    };
    json!({
        "id": ID, "at": "2026-11-23T20:00:00Z", "route": "item", "shape": "GET /items/{id}?colour",
        "served_by": "legacy", "trace_id": "0af7651916cd43dd8448eb211c80319c", "served_span_id": "b7ad6b7169203331",
        "copied_span_id": "00f067aa0ba902b7",
        "request": {
            "method": "GET", "target": "/items/7?colour=red",
            "headers": [["accept", "*/*"], ["authorization", "[redacted]"], ["host", "shop"], ["x-shadow", "1"]],
            "body": body("")
        },
        "legacy": answer(5), "candidate": answer(6),
        "differences": [{"path": "$.price", "kind": "value", "legacy": "5", "candidate": "6"}],
        "clusters": [{"path": "$.price", "kind": "value", "count": 1}],
        "masked": ["$.at"]
    })
}

fn report() -> Value {
    let mask = json!({"path": "$.at", "kind": "value", "since": "2026-11-23T19:00:00Z", "until": "2026-11-23T21:00:00Z",
                      "seen": 30, "noisy": 30, "rate_at_least": 0.89});
    let counted = |outcome: &str, requests: u64| json!({"outcome": outcome, "reason": "", "requests": requests});
    json!({
        "routes": [{"route": "item", "percent": 25.0, "outcomes": [counted("equal", 75), counted("different", 25)],
                    "mismatch_rate": 0.25, "ignored": ["$..x"],
                    "noise": {"pairs": 30, "masks": [mask], "over_cap": [], "crowded": 0}}],
        "clusters": [{"route": "item", "path": "$.price", "kind": "value", "count": 25, "example": ID,
                      "first_at": "2026-11-23T19:30:00Z", "last_at": "2026-11-23T20:00:00Z"}],
        "store": "embedded", "store_problem": null
    })
}

async fn gateway() -> StubUpstream {
    StubUpstream::start(|request: &RecordedRequest| {
        let answer = match (request.method.as_str(), request.path.split('?').next().unwrap()) {
            ("GET", "/api/v1/shadow") => report(),
            ("GET", "/api/v1/shadow/mismatches") => {
                json!({"mismatches": [{"id": ID, "at": "2026-11-23T20:00:00Z", "route": "item", "shape": "GET /items/{id}?colour",
                                       "clusters": [{"path": "$.price", "kind": "value", "count": 1}]}]})
            }
            ("POST", "/api/v1/shadow/ignore") => {
                json!({"route": "item", "path": "$.price", "changed": true, "ignored": ["$.price"], "revision": 4})
            }
            ("GET", path) if path.ends_with(ID) => {
                let limits = json!({"depth": 64, "values": 1000, "steps": 10000, "unpacked_bytes": 100_000,
                                    "differences": 10, "value_bytes": 100});
                json!({"mismatch": mismatch(), "rules": {"headers": ["content-type", "set-cookie"], "rules": [], "limits": limits}})
            }
            _ => return Answer::json(404, json!({"error": "mismatch_not_found", "message": "there is none"}).to_string()),
        };
        Answer::json(200, answer.to_string())
    })
    .await
}

#[tokio::test]
async fn the_report_shows_rates_noise_clusters_and_the_latest() {
    let stub = gateway().await;
    let text = said(&against(&stub, &["shadow", "report"]).await.stdout);
    for expected in ["25.00 %", "30 of 30", "89.0 %", "masked", "$.price", ID, "GET /items/{id}?colour"] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
    let other = said(&against(&stub, &["--output", "json", "shadow", "report", "--route", "other"]).await.stdout);
    let other: Value = serde_json::from_str(&other).unwrap();
    assert_eq!((&other["report"]["routes"], &other["report"]["clusters"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn a_mismatch_is_shown_side_by_side_and_its_path_ignored_with_a_reason() {
    let stub = gateway().await;
    let text = said(&against(&stub, &["shadow", "diff", ID]).await.stdout);
    let line = text.lines().find(|line| line.contains("$.price")).unwrap();
    assert!(line.contains(" 5 ") && line.contains(" 6 ") && !text.contains('\x1b'), "{text}");
    assert_eq!(against(&stub, &["shadow", "diff", "nothing"]).await.status.code(), Some(2));
    let arguments = ["shadow", "ignore", "item", "$.price", "--reason", "another currency", "--actor", "ada"];
    let output = against(&stub, &arguments).await;
    assert_eq!(said(&output.stdout), "item: differences at $.price are ignored from now on (revision 4)\n");
    let sent: Value = serde_json::from_slice(&stub.requests().last().unwrap().body).unwrap();
    assert_eq!(sent, json!({"route": "item", "path": "$.price", "reason": "another currency", "actor": "ada"}));
}

/// The service under test, which wants to be asked with its secret and answers with another.
async fn service(price: u32) -> StubUpstream {
    StubUpstream::start(move |request: &RecordedRequest| {
        let asked_well = request.path == "/items/7?colour=red"
            && request.headers.get("authorization").is_some_and(|value| value == "Bearer x");
        let body = format!(r#"{{"price":{price},"token":"another secret","at":"13:00","id":"7"}}"#);
        Answer::json(if asked_well { 200 } else { 400 }, body).header("set-cookie", "another")
    })
    .await
}

#[tokio::test]
async fn an_exported_case_runs_and_fails_against_the_defect_only() {
    let (stub, good, bad) = (gateway().await, service(5).await, service(6).await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("case.json");
    let file = file.to_str().unwrap();
    let output = against(&stub, &["shadow", "export", ID, "--to", file]).await;
    assert!(output.status.success(), "{}", said(&output.stderr));
    for (service, expected, shown) in [(&good, 0, "passed"), (&bad, 1, "$.price")] {
        let address = format!("http://{}", service.address());
        let arguments = ["shadow", "run", file, "--against", &address, "--header", "authorization: Bearer x"];
        let mut command = strangler(&arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(expected), "{} {}", said(&output.stdout), said(&output.stderr));
        assert!(said(&output.stdout).contains(shown), "{}", said(&output.stdout));
        let sent = service.requests().remove(0).headers;
        assert!(sent.get("x-shadow").is_none() && sent["host"] != "shop");
    }
    // Without the secret, the service answers with another status.
    let address = format!("http://{}", good.address());
    let mut command = strangler(&["shadow", "run", file, "--against", &address]);
    assert!(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap().status.code() == Some(1));
}
