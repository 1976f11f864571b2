//! Every route of the contract, with good and with bad input: whole answers, with ids and times
//! redacted.

use insta::assert_json_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use crate::system::{Answer, System};

const UNKNOWN: &str = "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f";

/// `"404 {…}"`, with what changes from run to run replaced by what kind of thing it is.
fn redacted(answer: &Answer) -> Value {
    fn redact(key: &str, value: &Value) -> Value {
        match value {
            Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), redact(key, value))).collect(),
            Value::Array(items) => items.iter().map(|item| redact(key, item)).collect(),
            Value::String(text) if key.ends_with("_at") || key.ends_with("At") => {
                text.parse::<chrono::DateTime<chrono::Utc>>().map_or_else(|_| value.clone(), |_| "[time]".into())
            }
            Value::String(text) => without_ids(text).into(),
            Value::Number(_) if key == "duration_ms" => "[ms]".into(),
            Value::Number(_) if key == "Duration" => "[ns]".into(),
            other => other.clone(),
        }
    }
    json!({"status": answer.status, "body": redact("", &answer.body)})
}

/// The text, with every id in it replaced.
fn without_ids(text: &str) -> String {
    let is_id = |start: &usize| text.get(*start..start + 36).is_some_and(|part| part.parse::<uuid::Uuid>().is_ok());
    match (0..text.len()).find(is_id) {
        Some(start) => format!("{}[id]{}", &text[..start], without_ids(&text[start + 36..])),
        None => text.to_owned(),
    }
}

macro_rules! snapshot {
    ($name:literal, $answer:expr) => {
        assert_json_snapshot!($name, redacted(&$answer))
    };
}

const ECHO: &str = "import os\n\ndef handler(event, context):\n    print('hello', event.get('n'))\n    return {'event': event, 'mode': os.environ.get('MODE')}\n";

#[tokio::test]
async fn functions() {
    let system = System::start().await;
    snapshot!("functions_none", system.get("/api/v1/functions").await);

    let body = json!({
        "name": "echo", "runtime": "python3.11", "handler": "index.other", "code": ECHO,
        "timeout": 5, "memory": 256, "environment": {"MODE": "test"}
    });
    let created = system.post("/api/v1/functions", &body).await;
    snapshot!("function_created", created);
    let id = created.body["function_id"].as_str().expect("an id").to_owned();
    snapshot!("function_exists", system.post("/api/v1/functions", &body).await);
    snapshot!("functions_one", system.get("/api/v1/functions").await);
    snapshot!("function_shown", system.get(&format!("/api/v1/functions/{id}")).await);
    snapshot!("function_unknown", system.get(&format!("/api/v1/functions/{UNKNOWN}")).await);
    snapshot!("function_no_uuid", system.get("/api/v1/functions/nope").await);
    snapshot!("function_put", system.call(Method::PUT, &format!("/api/v1/functions/{id}"), "{}").await);
    snapshot!("function_delete_unknown", system.delete(&format!("/api/v1/functions/{UNKNOWN}")).await);
    snapshot!("function_delete_no_uuid", system.delete("/api/v1/functions/nope").await);
    snapshot!("function_deleted", system.delete(&format!("/api/v1/functions/{id}")).await);
    snapshot!("function_deleted_again", system.delete(&format!("/api/v1/functions/{id}")).await);
}

#[tokio::test]
async fn functions_that_are_refused() {
    let system = System::start().await;
    let base = json!({"name": "f", "runtime": "python3.9", "code": "x"});
    let with = |field: &str, value: Value| {
        let mut body = base.clone();
        body[field] = value;
        body.to_string()
    };
    let cases = [
        ("not_json", "{".to_owned()),
        ("empty", String::new()),
        ("array", "[]".to_owned()),
        ("no_name", with("name", Value::Null)),
        ("no_runtime", with("runtime", json!(""))),
        ("no_code", with("code", json!(""))),
        ("timeout_over_15_min", with("timeout", json!(901))),
        ("timeout_zero", with("timeout", json!(0))),
        ("memory_zero", with("memory", json!(0))),
        ("memory_over", with("memory", json!(10_241))),
        ("runtime_unknown", with("runtime", json!("cobol"))),
    ];
    let mut answers = serde_json::Map::new();
    for (name, body) in cases {
        let answer = system.call(Method::POST, "/api/v1/functions", body).await;
        answers.insert(name.to_owned(), redacted(&answer));
    }
    let over = "x".repeat(9 * 1024 * 1024);
    let answer = system.call(Method::POST, "/api/v1/functions", over).await;
    answers.insert("too_large".to_owned(), redacted(&answer));
    assert_json_snapshot!("functions_refused", answers);
}

#[tokio::test]
async fn the_list_of_functions_is_cut_and_newest_first() {
    let system = System::start().await;
    for n in 0..103 {
        system.python(&format!("f{n}"), "x = 1").await;
    }
    let list = system.get("/api/v1/functions").await.body;
    let names: Vec<&str> =
        list["functions"].as_array().expect("a list").iter().filter_map(|function| function["name"].as_str()).collect();
    assert_eq!((list["count"].as_u64(), names.len(), names[0], names[99]), (Some(100), 100, "f102", "f3"));
}

#[tokio::test]
async fn shared_code_outlives_one_of_its_functions() {
    let system = System::start().await;
    let (first, second) = (system.python("first", ECHO).await, system.python("second", ECHO).await);
    assert_eq!(system.delete(&format!("/api/v1/functions/{first}")).await.status, 204);
    assert_eq!(system.invoke(&second, &json!({"n": 1})).await.body["status"], "success");
}

#[tokio::test]
async fn invocations() {
    let system = System::start().await;
    let echo = system
        .function(&json!({
            "name": "echo", "runtime": "python3.11", "handler": "not_applied", "code": ECHO, "memory": 64,
            "environment": {"MODE": "test"}
        }))
        .await;
    let invoke = format!("/api/v1/functions/{echo}/invoke");
    snapshot!("invoke_success", system.invoke(&echo, &json!({"n": 7})).await);
    snapshot!("invoke_empty_body", system.call(Method::POST, &invoke, "").await);
    snapshot!("invoke_not_json", system.call(Method::POST, &invoke, "{\"n\":").await);
    snapshot!("invoke_two_values", system.call(Method::POST, &invoke, "{} {}").await);
    snapshot!("invoke_unknown", system.invoke(UNKNOWN, &json!({})).await);
    snapshot!("invoke_no_uuid", system.invoke("nope", &json!({})).await);

    let failing = system.python("failing", "def handler(event, context):\n    raise ValueError('no')\n").await;
    let failed = system.invoke(&failing, &json!({})).await;
    assert_eq!((failed.status, &failed.body["status"]), (200, &json!("failed")));
    assert_eq!(failed.body["error"], "ValueError: no");
    assert_eq!(failed.body.get("output"), None);
    assert!(failed.body["logs"].as_str().is_some_and(|logs| logs.contains("Traceback")), "{failed:?}");

    let broken = system.python("broken", "def handler(:").await;
    let failed = system.invoke(&broken, &json!({})).await;
    assert_eq!((failed.status, &failed.body["status"]), (200, &json!("failed")));

    let slow = system
        .function(&json!({
            "name": "slow", "runtime": "python3.9", "timeout": 1,
            "code": "import time\ndef handler(event, context):\n    time.sleep(60)\n"
        }))
        .await;
    let timed_out = system.invoke(&slow, &json!({})).await;
    snapshot!("invoke_timeout", timed_out);
    assert!(timed_out.body["duration_ms"].as_i64().is_some_and(|ms| (1_000..10_000).contains(&ms)));

    let go = system.function(&json!({"name": "go", "runtime": "go1.21", "code": "package main"})).await;
    snapshot!("invoke_go", system.invoke(&go, &json!({})).await);

    let node = system
        .function(&json!({
            "name": "node", "runtime": "nodejs20",
            "code": "async function handler(event, context) { console.log('hi'); return event.n * 2; }"
        }))
        .await;
    snapshot!("invoke_node", system.invoke(&node, &json!({"n": 21})).await);

    snapshot!("executions", system.get(&format!("/api/v1/functions/{failing}/executions")).await);
    snapshot!("executions_unknown", system.get(&format!("/api/v1/functions/{UNKNOWN}/executions")).await);
    snapshot!("executions_no_uuid", system.get("/api/v1/functions/nope/executions").await);
}

#[tokio::test]
async fn cron_triggers() {
    let system = System::start().await;
    let id = system.python("f", ECHO).await;
    let path = format!("/api/v1/functions/{id}/triggers/cron");
    snapshot!("triggers_none", system.get(&path).await);
    let body =
        json!({"name": "nightly", "cron_expression": "0 0 3 * * *", "timezone": "Europe/Berlin", "enabled": true});
    snapshot!("trigger_created", system.post(&path, &body).await);
    let listed = system.get(&path).await;
    snapshot!("triggers_one", listed);
    let trigger = listed.body[0]["id"].as_str().expect("an id").to_owned();
    snapshot!("trigger_deleted", system.delete(&format!("/api/v1/triggers/cron/{trigger}")).await);
    snapshot!("trigger_deleted_again", system.delete(&format!("/api/v1/triggers/cron/{trigger}")).await);
    snapshot!("trigger_delete_no_uuid", system.delete("/api/v1/triggers/cron/nope").await);

    let mut refused = serde_json::Map::new();
    let cases = [
        ("not_json", path.clone(), "every day".to_owned()),
        ("wrong_type", path.clone(), json!({"cron_expression": 5}).to_string()),
        ("five_fields", path.clone(), json!({"name": "n", "cron_expression": "* * * * *"}).to_string()),
        ("no_expression", path.clone(), json!({"name": "n"}).to_string()),
        (
            "no_such_zone",
            path.clone(),
            json!({"name": "n", "cron_expression": "* * * * * *", "timezone": "Mars/Phobos"}).to_string(),
        ),
        (
            "unknown_function",
            format!("/api/v1/functions/{UNKNOWN}/triggers/cron"),
            json!({"name": "n", "cron_expression": "* * * * * *"}).to_string(),
        ),
    ];
    for (name, path, body) in cases {
        refused.insert(name.to_owned(), redacted(&system.call(Method::POST, &path, body).await));
    }
    assert_json_snapshot!("triggers_refused", refused);
    snapshot!("triggers_unknown", system.get(&format!("/api/v1/functions/{UNKNOWN}/triggers/cron")).await);
}

#[tokio::test]
async fn webhooks() {
    let system = System::start().await;
    let id = system.python("f", ECHO).await;
    let path = format!("/api/v1/functions/{id}/webhooks");
    let body = json!({
        "name": "forge", "path": "/forge/push", "secret": "s3cret", "signature_header": "X-Hub-Signature-256",
        "headers": {"x-team": "core"}
    });
    let created = system.post(&path, &body).await;
    snapshot!("webhook_created", created);
    snapshot!("webhook_path_taken", system.post(&path, &body).await);
    snapshot!("webhook_not_json", system.call(Method::POST, &path, "?").await);
    snapshot!("webhook_no_path", system.post(&path, &json!({"name": "n"})).await);
    let elsewhere = json!({"name": "n", "path": "elsewhere"});
    let unknown = format!("/api/v1/functions/{UNKNOWN}/webhooks");
    snapshot!("webhook_unknown_function", system.post(&unknown, &elsewhere).await);
    snapshot!("webhook_unknown_path", system.call(Method::POST, "/webhooks/forge/pull", "{}").await);

    let webhook = created.body["id"].as_str().expect("an id").to_owned();
    snapshot!("webhook_deleted", system.delete(&format!("/api/v1/webhooks/{webhook}")).await);
    snapshot!("webhook_deleted_again", system.delete(&format!("/api/v1/webhooks/{webhook}")).await);
    assert_eq!(system.call(Method::POST, "/webhooks/forge/push", "{}").await.status, 400);
}

#[tokio::test]
async fn dead_letters_and_events_when_there_are_none() {
    let system = System::start().await;
    let id = system.python("f", ECHO).await;
    snapshot!("dlq_none", system.get("/api/v1/dlq").await);
    snapshot!("dlq_retry_unknown", system.call(Method::POST, &format!("/api/v1/dlq/{UNKNOWN}/retry"), "").await);
    snapshot!("dlq_retry_no_uuid", system.call(Method::POST, "/api/v1/dlq/nope/retry", "").await);
    snapshot!("dlq_delete_unknown", system.delete(&format!("/api/v1/dlq/{UNKNOWN}")).await);
    snapshot!("events_none", system.get(&format!("/api/v1/functions/{id}/events")).await);
    snapshot!("events_no_uuid", system.get("/api/v1/functions/nope/events?limit=x&offset=-1").await);
}

#[tokio::test]
async fn the_routes_of_every_service() {
    let system = System::start().await;
    snapshot!("health", system.get("/health").await);
    let metrics = system.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.as_str().is_some_and(|text| text.contains("http_server_request_duration_seconds")));
}
