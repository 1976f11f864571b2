//! `strangler ramp`.

use serde_json::{Value, json};
use testkit::{Answer, RecordedRequest, StubUpstream};

use super::{against, said};

fn stand(state: &str) -> Value {
    json!({
        "state": state, "step": 2, "percent": 5.0, "proven_percent": 1.0, "approved": false,
        "reason": "passed with 1200 pairs of requests",
    })
}

fn ramps(holding: &Value) -> Value {
    let counts = |requests| json!({ "requests": requests, "failed": 2, "refused": 1 });
    let step = |percent| json!({ "percent": percent, "least_ms": 600_000, "least_requests": 1000, "approval": false });
    json!({ "ramps": [{
        "route": "invoke", "percent": 5.0, "ramp": stand("running"), "steps": [step(1.0), step(5.0), step(100.0)],
        "here": {
            "conducts": true, "lease_held": true, "lease_age_ms": 4_321, "step_ms": 60_000, "holding": holding,
            "coverage": null, "problem": null,
        },
        "verdict": "continue",
        "evidence": {
            "legacy": counts(900), "candidate": counts(400), "pairs": 390, "pairs_in_all": 1590, "comparisons": 300,
            "mismatches": 0, "bound": 600.0, "baseline_ms": [1.5, null],
            "metrics": [{ "metric": "errors", "e_value": 1.25, "looks": 1590 }],
        },
    }] })
}

#[tokio::test]
async fn the_status_says_where_a_ramp_stands_and_what_it_waits_for() {
    for (holding, shown) in [
        (json!({ "for": "time", "left_ms": 61_000 }), "its least time: 1m 1s left"),
        (json!({ "for": "data", "pairs": 390, "least": 1000 }), "requests to judge: 390 pairs of 1000"),
        (json!({ "for": "gate", "said": "smoke (hold)" }), "a gate: smoke (hold)"),
        (json!({ "for": "coverage", "share": 0.5, "least": 0.95 }), "compared so far 50.0 %, wanted 95.0 %"),
        (json!({ "for": "approval" }), "strangler ramp approve"),
    ] {
        let answer = ramps(&holding);
        let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(200, answer.to_string())).await;
        let output = against(&stub, &["ramp", "status", "invoke"]).await;
        let text = said(&output.stdout);
        assert!(output.status.success(), "{}", said(&output.stderr));
        for part in [
            "invoke: running, step 2 of 3, 5 % in force, 1 % proven",
            "this gateway conducts; lease renewed 4s 300ms ago",
            "390 pairs, 0 of 300 compared answers differ",
            "1.25",
            shown,
        ] {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    }
}

#[tokio::test]
async fn a_command_goes_to_its_route_with_who_and_why() {
    for command in ["start", "pause", "resume", "approve", "promote", "abort"] {
        let answer = json!({ "route": "invoke", "ramp": stand("running"), "revision": 9 });
        let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(200, answer.to_string())).await;
        let output =
            against(&stub, &["ramp", command, "invoke", "--reason", "go", "--actor", "ada", "--expect", "8"]).await;
        assert_eq!(said(&output.stdout), "invoke: running in step 2 at 5 %, proven 1 % (revision 9)\n");
        let request = stub.requests().remove(0);
        assert_eq!((request.method.as_str(), request.path), ("POST", format!("/api/v1/routes/invoke/ramp/{command}")));
        let sent: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(sent, json!({ "actor": "ada", "reason": "go", "expected_revision": 8 }));
    }
}

#[tokio::test]
async fn a_ramp_that_cannot_is_said_to_be_so() {
    let refusal = json!({ "error": "ramp_refused", "message": "the ramp is running, so it cannot resume" });
    let stub = StubUpstream::start(move |_: &RecordedRequest| Answer::json(409, refusal.to_string())).await;
    let output = against(&stub, &["ramp", "resume", "invoke"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output.stderr).contains("the ramp is running, so it cannot resume"), "{}", said(&output.stderr));
}
