//! Webhooks to the end of their events: signatures, retries, dead letters, the audit. On the
//! in-process bus; `rabbitmq` repeats what differs.

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::system::{Answer, DEADLINE, System};

const REMEMBER: &str = "def handler(event, context):\n    print(event['body'])\n    return event\n";
const FAIL: &str = "def handler(event, context):\n    raise RuntimeError('never')\n";

/// A webhook `path` of the function, with the secret `s3cret` in `X-Signature`.
pub(crate) async fn webhook(system: &System, function: &str, path: &str) {
    let body = json!({"name": path, "path": path, "secret": "s3cret", "signature_header": "X-Signature"});
    let created = system.post(&format!("/api/v1/functions/{function}/webhooks"), &body).await;
    assert_eq!(created.status, 201, "{created:?}");
}

/// Sends an unsigned webhook.
pub(crate) async fn send(system: &System, path: &str, body: &Value) -> Answer {
    system.post(&format!("/webhooks/{path}"), body).await
}

fn signature(body: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").expect("any key");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn a_webhook_is_checked_and_its_function_called() {
    let system = System::start().await;
    let function = system.python("f", REMEMBER).await;
    webhook(&system, &function, "/forge/push").await;

    let body = r#"{"ref":"main"}"#;
    let genuine = signature(body);
    let accepted: Vec<(&str, String)> = vec![
        ("plain", genuine.clone()),
        ("sha256=", format!("sha256={genuine}")),
        ("sha1=", format!("sha1={genuine}")),
        ("v0=", format!("v0={genuine}")),
    ];
    for (what, value) in &accepted {
        let answer =
            system.call_with_headers(Method::POST, "/webhooks/forge/push", &[("X-Signature", value)], body).await;
        assert_eq!((answer.status, &answer.body), (200, &json!({"status": "received"})), "{what}");
    }
    // The defect of the contract, kept: without a signature it is accepted.
    assert_eq!(send(&system, "forge/push", &json!({"ref": "unsigned"})).await.status, 200);
    let empty = signature("");
    let answer =
        system.call_with_headers(Method::GET, "/webhooks/forge/push?a=b", &[("X-Signature", &empty)], "").await;
    assert_eq!(answer.status, 200);

    let wrong = [
        ("another body", signature("{}")),
        ("cut", genuine[..62].to_owned()),
        ("no hex", "zz".repeat(32)),
        ("empty", String::new()),
        ("another algorithm's name", format!("sha512={genuine}")),
    ];
    for (what, value) in &wrong {
        let answer =
            system.call_with_headers(Method::POST, "/webhooks/forge/push", &[("X-Signature", value)], body).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert_eq!(answer.body, json!({"error": "the signature is wrong"}), "{what}");
    }
    let head = system.call(Method::HEAD, "/webhooks/forge/push", "").await;
    assert_eq!(head.status, 400);

    let events = system.audit(&function, accepted.len() + 2).await;
    assert_eq!(events.len(), accepted.len() + 2, "one for each accepted request: {events:#?}");
    for event in &events {
        assert_eq!((&event["status"], &event["event_type"]), (&json!("success"), &json!("webhook")), "{event}");
        assert_eq!(event["error_message"], Value::Null);
    }
    assert_eq!(system.executions(&function).await, 6);
}

#[tokio::test]
async fn an_event_that_fails_is_retried_and_then_a_dead_letter() {
    let system = System::start().await;
    dead_letter_after_three_retries(&system).await;
}

/// The same on every bus.
pub(crate) async fn dead_letter_after_three_retries(system: &System) {
    let function = system.python("failing", FAIL).await;
    webhook(system, &function, "fail").await;
    assert_eq!(send(system, "fail", &json!({"n": 1, "nul": "a\u{0}b"})).await.status, 200);
    let events = system.audit(&function, 1).await;
    assert_eq!(events.len(), 1, "audited once, at its end");
    assert_eq!((&events[0]["status"], &events[0]["error_message"]), (&json!("failed"), &json!("RuntimeError: never")));
    assert_eq!(system.executions(&function).await, 4, "one attempt and three retries");

    let letters = system.get("/api/v1/dlq").await.body;
    let letter = &letters[0];
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    assert_eq!(
        (&letter["event_id"], &letter["function_id"], &letter["event_type"]),
        (&events[0]["event_id"], &json!(function), &json!("webhook"))
    );
    assert_eq!(
        (&letter["retry_count"], &letter["max_retries"], &letter["status"], &letter["error_message"]),
        (&json!(3), &json!(3), &json!("pending"), &json!("RuntimeError: never"))
    );
    assert_eq!(letter["payload"]["body"], json!({"n": 1, "nul": "a\u{fffd}b"}));
    assert!(letter["first_attempt_at"].as_str() < letter["last_attempt_at"].as_str(), "{letter}");

    let id = letter["id"].as_str().expect("an id");
    let retried = system.call(Method::POST, &format!("/api/v1/dlq/{id}/retry"), "").await;
    assert_eq!((retried.status, retried.body), (200, json!({"status": "retry initiated"})));
    assert_eq!(system.get("/api/v1/dlq?offset=1").await.body, Value::Null);
    assert_eq!(system.delete(&format!("/api/v1/dlq/{id}")).await.status, 204);
    assert_eq!(system.get("/api/v1/dlq").await.body, Value::Null);
    assert_eq!(system.executions(&function).await, 4, "nothing is re-run: the defect of the contract");
}

#[tokio::test]
async fn an_event_of_a_function_that_is_gone_ends() {
    let system = System::start().await;
    let function = system.python("f", REMEMBER).await;
    let id = "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f";
    let gone = "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e30";
    let event = json!({"id": id, "type": "queue", "function_id": gone, "timestamp": "2026-01-01T00:00:00Z"});
    sqlx::query("insert into in_process_bus.events (id, body) values ($1, $2)")
        .bind(id.parse::<uuid::Uuid>().expect("a UUID"))
        .bind(event.to_string())
        .execute(&system.database.pool().await)
        .await
        .expect("the journal");
    let events = system.audit(gone, 1).await;
    assert_eq!((&events[0]["event_id"], &events[0]["status"]), (&json!(id), &json!("failed")));
    assert_eq!(system.executions(&function).await, 0);
}

#[tokio::test]
async fn the_audit_and_the_dead_letters_are_paged() {
    let system = System::start().await;
    let function = system.python("f", "handler = lambda event, context: event['body']").await;
    webhook(&system, &function, "w").await;
    for n in 0..5 {
        assert_eq!(send(&system, "w", &json!(n)).await.status, 200);
    }
    let all = system.audit(&function, 5).await;
    let path = format!("/api/v1/functions/{function}/events");
    let page = system.get(&format!("{path}?limit=2&offset=1")).await.body;
    assert_eq!(page, json!(all[1..3]));
    assert_eq!(system.get(&format!("{path}?offset=5")).await.body, json!([]));
}

#[tokio::test]
async fn a_bus_that_is_full_refuses_and_the_sender_tries_again() {
    let system = System::start_with(|spawn| {
        spawn
            .env("LEGACY__BUS__IN_PROCESS__CAPACITY", "3")
            .env("LEGACY__BUS__CONCURRENCY", "1")
            .env("LEGACY__BUS__REDELIVERY_DELAY", "1h")
    })
    .await;
    // Each event fails once and then waits for its retry.
    let function = system.python("f", FAIL).await;
    webhook(&system, &function, "w").await;
    let mut statuses = Vec::new();
    for n in 0..5 {
        statuses.push(send(&system, "w", &json!(n)).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 500, 500]);
    eventually(DEADLINE, || async { system.executions(&function).await == 3 }).await;
}
