//! The dead-letter queue, which stays with the monolith.

use serde_json::json;

use super::super::{
    reply::Reply,
    step::{Case, UNKNOWN, delete, get, post, post_text},
};

const DLQ: &str = "/api/v1/dlq";
const FAILS: &str = "def handler(event, context):\n    raise RuntimeError('never')\n";

pub fn cases() -> Vec<Case> {
    vec![refused(), life()]
}

fn none() -> Reply {
    Reply::json(200, json!(null))
}

fn refused() -> Case {
    Case::new("no dead letters")
        .then(get(DLQ).answers(none()))
        .then(get("/api/v1/dlq?limit=1&offset=0").answers(none()))
        .then(post_text(&format!("{DLQ}/{UNKNOWN}/retry"), "").answers(Reply::text_refused(500)))
        .then(post_text("/api/v1/dlq/nope/retry", "").answers(Reply::text_refused(500)))
        .then(delete(&format!("{DLQ}/{UNKNOWN}")).answers(Reply::text_refused(500)))
        .then(delete("/api/v1/dlq/nope").answers(Reply::text_refused(500)))
}

/// An event fails, is tried three times more, and is given up.
fn life() -> Case {
    let webhook = json!({"name": "w", "path": "{run}/fails"});
    let made = json!({
        "id": "[id]", "function_id": "[function]", "name": "w", "path": "[run]/fails", "secret": "",
        "signature_header": "", "enabled": true, "headers": {}, "created_at": "[time]", "updated_at": "[time]",
    });
    let letter = |status: &str| {
        json!({
            "id": "[letter]", "event_id": "[id]", "function_id": "[function]", "event_type": "webhook",
            "payload": {
                "method": "POST", "path": "[run]/fails", "query": "a=b", "headers": "[headers]", "body": {"n": 1},
            },
            "error_message": "RuntimeError: never", "retry_count": 3, "max_retries": 3, "first_attempt_at": "[time]",
            "last_attempt_at": "[time]", "next_retry_at": null, "status": status, "created_at": "[time]",
        })
    };
    let event = json!({
        "id": "[id]", "event_id": "[id]", "function_id": "[function]", "event_type": "webhook", "status": "failed",
        "duration_ms": "[number]", "error_message": "RuntimeError: never", "created_at": "[time]",
    });
    Case::new("life of a dead letter")
        .with_function("python3.11", FAILS)
        .then(post("/api/v1/functions/{function}/webhooks", &webhook).answers(Reply::json(201, made)))
        .then(
            post("/webhooks/{run}/fails?a=b", &json!({"n": 1}))
                .answers(Reply::json(200, json!({"status": "received"}))),
        )
        .then(get("/api/v1/functions/{function}/events").answers(Reply::json(200, json!([event]))).eventually())
        .then(get(DLQ).answers(Reply::json(200, json!([letter("pending")]))).captures("letter", "/0/id"))
        .then(get("/api/v1/dlq?offset=1").answers(none()))
        // The defect: nothing is run again.
        .then(
            post_text("/api/v1/dlq/{letter}/retry", "").answers(Reply::json(200, json!({"status": "retry initiated"}))),
        )
        .then(get(DLQ).answers(Reply::json(200, json!([letter("[text]")]))))
        .then(delete("/api/v1/dlq/{letter}").answers(Reply::empty(204)))
        .then(delete("/api/v1/dlq/{letter}").answers(Reply::text_refused(500)))
        .then(get(DLQ).answers(none()))
        .then(delete("/api/v1/functions/{function}").answers(Reply::empty(204)))
}
