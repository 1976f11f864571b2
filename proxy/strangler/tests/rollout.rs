//! The document as a whole: planned, applied, looked back on, undone.

use std::{fs, process::Output};

use serde_json::{Value, json};
use testkit::{Answer, RecordedRequest, StubUpstream};

use super::{against, said};

const DOCUMENT: &str = "# by hand\n[routes.invoke]\npercent = 12.5\n";

fn plan(changes: &Value, text_differs: bool) -> Value {
    json!({
        "revision": 7, "hash": "77", "changes": changes, "text_differs": text_differs,
        "routes": [{ "route": "invoke", "from_percent": 5.0, "to_percent": 12.5, "epoch": 2 }],
    })
}

fn change() -> Value {
    json!([{ "key": "routes.invoke.percent", "before": "5", "after": "12.5" }])
}

/// A stub that plans so, and takes every change.
async fn gateway(planned: Value) -> StubUpstream {
    StubUpstream::start(move |request: &RecordedRequest| {
        let answer = match request.path.as_str() {
            "/api/v1/rollout/plan" => planned.clone(),
            _ => json!({ "revision": 8, "hash": "88", "changed": true, "changes": change() }),
        };
        Answer::json(200, answer.to_string())
    })
    .await
}

async fn with_document(stub: &StubUpstream, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rollout.toml");
    fs::write(&file, DOCUMENT).unwrap();
    let mut all = vec![arguments[0], file.to_str().unwrap()];
    all.extend(&arguments[1..]);
    against(stub, &all).await
}

#[tokio::test]
async fn a_plan_is_printed_and_is_status_3_when_something_would_change() {
    let stub = gateway(plan(&change(), true)).await;
    let output = with_document(&stub, &["plan"]).await;
    assert_eq!(output.status.code(), Some(3), "{}", said(&output.stderr));
    let text = said(&output.stdout);
    assert!(text.contains("routes.invoke.percent: 5 -> 12.5") && text.contains("invoke: 5 % -> 12.5 %"), "{text}");
    let sent: Value = serde_json::from_slice(&stub.requests().remove(0).body).unwrap();
    assert_eq!(sent, json!({ "document": DOCUMENT }));

    let stub = gateway(plan(&json!([]), true)).await;
    let output = with_document(&stub, &["plan"]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output.stdout).contains("only comments"), "{}", said(&output.stdout));
}

#[tokio::test]
async fn an_apply_expects_the_revision_that_it_was_planned_from() {
    for (arguments, expected) in [(&["apply", "--reason", "go"][..], 7), (&["apply", "--expect", "6"], 6)] {
        let stub = gateway(plan(&change(), true)).await;
        let output = with_document(&stub, arguments).await;
        assert!(output.status.success(), "{}", said(&output.stderr));
        assert_eq!(said(&output.stdout), "in force: 1 changes, revision 8\n");
        assert!(said(&output.stderr).contains("5 -> 12.5"), "the plan is progress: {}", said(&output.stderr));
        let request = stub.requests().remove(1);
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/api/v1/rollout"));
        let sent: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!((&sent["document"], &sent["expected_revision"]), (&json!(DOCUMENT), &json!(expected)));
    }
    let stub = gateway(plan(&json!([]), false)).await;
    let output = with_document(&stub, &["apply"]).await;
    assert!(output.status.success() && said(&output.stdout).contains("nothing changed"));
    assert_eq!(stub.requests().len(), 1, "an unchanged file is not sent");
}

#[tokio::test]
async fn a_refused_document_is_shown_with_file_line_caret_and_fix() {
    let refusal = json!({
        "error": "rollout_document_invalid", "message": "m",
        "problems": [{ "line": 3, "column": 11, "key": "routes.invoke.percent", "message": "too much", "fix": "write less" }],
    });
    let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(422, refusal.to_string())).await;
    for command in ["plan", "apply"] {
        let output = with_document(&stub, &[command]).await;
        assert_eq!(output.status.code(), Some(2));
        let error = said(&output.stderr);
        let expected = "rollout.toml:3:11: routes.invoke.percent: too much\n  3 | percent = 12.5\n    |           ^\n  to mend it: write less";
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_conflict_says_what_changed_meanwhile() {
    let entry = json!({
        "revision": 8, "at": "2026-01-01T00:00:00.000001Z", "actor": "grace", "authenticated_as": "operate",
        "reason": "errors", "kind": "rollback", "changes": change(), "epochs": {}, "document_sha256": "d",
        "previous_hash": "p", "hash": "h",
    });
    let shown = entry.clone();
    let stub = StubUpstream::start(move |request: &RecordedRequest| match request.method.as_str() {
        "GET" => Answer::json(200, json!({ "entries": [shown.clone()] }).to_string()),
        _ => {
            let more = json!({ "error": "revision_conflict", "message": "m", "revision": 8, "changed_since": [entry.clone()] });
            Answer::json(409, more.to_string())
        }
    })
    .await;
    let output = against(&stub, &["weight", "invoke", "5", "--expect", "7"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output.stderr).contains("revision 8 by grace: rollback"), "{}", said(&output.stderr));
    let sent: Value = serde_json::from_slice(&stub.requests().remove(0).body).unwrap();
    assert_eq!(sent["expected_revision"], json!(7));

    let output = against(&stub, &["history", "--route", "invoke", "--limit", "5"]).await;
    let text = said(&output.stdout);
    assert!(text.contains("2026-01-01 00:00:00") && text.contains("grace") && text.contains("5 -> 12.5"), "{text}");
    assert_eq!(stub.requests().remove(1).path.as_str(), "/api/v1/history?limit=5&route=invoke");
}

#[tokio::test]
async fn a_history_that_was_tampered_with_is_status_1() {
    for (found, status, shown) in [
        (json!({ "verified": true, "revisions": 3, "head": "abc", "problem": null }), 0, "abc"),
        (
            json!({ "verified": false, "revision": 2, "problem": "the chain breaks at revision 2" }),
            1,
            "breaks at revision 2",
        ),
    ] {
        let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(200, found.to_string())).await;
        let output = against(&stub, &["history", "--verify", "--head", "abc"]).await;
        assert_eq!(output.status.code(), Some(status));
        assert!(said(&output.stdout).contains(shown), "{}", said(&output.stdout));
    }
}

#[tokio::test]
async fn an_undo_of_a_rollback_says_how_to_confirm_it() {
    let refusal = json!({ "error": "undoes_rollback", "message": "this undoes a rollback", "routes": ["invoke"] });
    let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(409, refusal.to_string())).await;
    let output = against(&stub, &["undo"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output.stderr).contains("--confirm"), "{}", said(&output.stderr));
    let stub = gateway(Value::Null).await;
    let output = against(&stub, &["undo", "7", "--confirm", "--reason", "mended"]).await;
    assert!(output.status.success() && said(&output.stdout).contains("revision 8"), "{}", said(&output.stdout));
    let sent: Value = serde_json::from_slice(&stub.requests().remove(0).body).unwrap();
    assert_eq!((&sent["revision"], &sent["confirm"], &sent["reason"]), (&json!(7), &json!(true), &json!("mended")));
}

#[tokio::test]
async fn a_rollback_that_others_have_not_heard_of_is_no_success() {
    let answer = json!({"routes": [{"route": "invoke", "from_percent": 50.0, "epoch": 4}], "revision": 9, "persisted": true,
                        "persist_error": null, "shared": false, "share_error": "store away", "set_aside": null});
    let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(200, answer.to_string())).await;
    let output = against(&stub, &["rollback", "invoke"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output.stderr).contains("store away"), "{}", said(&output.stderr));
}
