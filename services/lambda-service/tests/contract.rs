//! Every route with good and bad input. The same table runs on the service's own tables here, and
//! on views over the monolith's in `shared_stage`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::system::{Answer, ECHO, ECHO_NODE, Setup, System, code};

const UNKNOWN: &str = "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f";

#[tokio::test]
async fn its_own_tables_serve_the_contract() {
    let system = Setup::default().with("HTTP__BODY_LIMIT", "64 KiB").start().await;
    creating_is_checked(&system).await;
    functions_are_listed_read_and_deleted(&system).await;
    invoking_answers_what_the_function_did(&system).await;
    executions_are_listed(&system).await;
    what_a_function_is_created_with_is_applied(&system).await;
}

fn error(answer: &Answer) -> (u16, &str) {
    let code = code(&answer.body).unwrap_or_else(|| panic!("no error code in {answer:?}"));
    let text = answer.body.get("message").or_else(|| answer.body.get("detail"));
    assert!(text.and_then(Value::as_str).is_some_and(|text| !text.is_empty()), "{answer:?}");
    (answer.status, code)
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap_or_else(|| panic!("not an object: {value}")).keys().collect();
    keys.sort();
    keys.into_iter().map(String::as_str).collect()
}

pub async fn creating_is_checked(system: &System) {
    let good = json!({"name": "checked", "runtime": "python3.11", "code": ECHO});
    let created = system.post("/api/v1/functions", &good).await;
    assert_eq!(created.status, 201, "{created:?}\n{}", system.service.log());
    assert_eq!(keys(&created.body), ["created_at", "function_id", "name", "runtime"]);
    assert_eq!(created.body["name"], "checked");
    assert_eq!(created.body["runtime"], "python3.11");

    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "other", "runtime": "python3.11", "code": ECHO});
        body[field] = value;
        body.to_string()
    };
    let cases: Vec<(String, u16, &str)> = vec![
        (good.to_string(), 409, "function_exists"),
        (String::new(), 400, "invalid_request"),
        ("{".to_owned(), 400, "invalid_request"),
        ("[]".to_owned(), 400, "invalid_request"),
        (with("name", json!("")), 400, "invalid_request"),
        (with("name", json!(7)), 400, "invalid_request"),
        (with("runtime", json!(null)), 400, "invalid_request"),
        (with("code", json!("")), 400, "invalid_request"),
        (with("timeout", json!(901)), 400, "validation_failed"),
        (with("timeout", json!("3")), 400, "invalid_request"),
        (with("memory", json!(0)), 400, "validation_failed"),
        (with("memory", json!(-1)), 400, "validation_failed"),
        (with("memory", json!(10_241)), 400, "validation_failed"),
        (with("runtime", json!("cobol")), 400, "invalid_runtime"),
        (with("code", json!("x".repeat(70_000))), 413, "payload_too_large"),
    ];
    for (body, status, code) in cases {
        let answer = system.send(Method::POST, "/api/v1/functions", body.clone()).await;
        assert_eq!(error(&answer), (status, code), "for {}", &body[..body.len().min(120)]);
    }
}

pub async fn functions_are_listed_read_and_deleted(system: &System) {
    let fields =
        json!({"runtime": "nodejs20", "code": ECHO_NODE, "environment": {"A": "1"}, "timeout": 5, "memory": 64});
    let id = system.create_with(fields).await;
    let listed = system.get("/api/v1/functions").await;
    assert_eq!(listed.status, 200);
    assert_eq!(keys(&listed.body), ["count", "functions"]);
    let functions = listed.body["functions"].as_array().unwrap();
    assert_eq!(listed.body["count"], functions.len());
    assert_eq!(functions[0]["function_id"], id, "newest first");
    assert_eq!(keys(&functions[0]), ["created_at", "function_id", "name", "runtime"]);

    let read = system.get(&format!("/api/v1/functions/{id}")).await;
    assert_eq!(read.status, 200);
    let expected =
        ["created_at", "environment", "function_id", "handler", "memory", "name", "runtime", "timeout", "updated_at"];
    assert_eq!(keys(&read.body), expected);
    assert_eq!(read.body["handler"], "handler");
    assert_eq!((&read.body["timeout"], &read.body["memory"]), (&json!(5), &json!(64)));
    assert_eq!(read.body["environment"], json!({"A": "1"}));

    assert_eq!(system.get(&format!("/functions/{id}")).await, read);
    assert_eq!(system.get(&format!("/functions?id={id}")).await, read);
    let array = system.get("/functions").await;
    assert_eq!(array.body.as_array().unwrap()[0], read.body);

    let path = format!("/api/v1/functions/{id}");
    assert_eq!(error(&system.send(Method::PUT, &path, "{}").await), (501, "not_implemented"));
    for unknown in [UNKNOWN, "nope", "018f3c5e7d1a7cc38a510b8c1c0d9e2f", "%27%20OR%201=1"] {
        let get = system.get(&format!("/api/v1/functions/{unknown}")).await;
        assert_eq!(error(&get), (404, "function_not_found"), "{unknown}");
        let get = system.get(&format!("/functions?id={unknown}")).await;
        assert_eq!(error(&get), (404, "function_not_found"), "{unknown}");
        let delete = system.send(Method::DELETE, &format!("/api/v1/functions/{unknown}"), "").await;
        assert_eq!(error(&delete), (404, "not_found"), "{unknown}");
    }
    let deleted = system.send(Method::DELETE, &path, "").await;
    assert_eq!((deleted.status, deleted.body), (204, Value::Null));
    assert_eq!(error(&system.send(Method::DELETE, &path, "").await), (404, "not_found"));
    assert_eq!(error(&system.try_invoke(&id, &json!({})).await), (404, "function_not_found"));
}

pub async fn invoking_answers_what_the_function_did(system: &System) {
    let code = "import sys\n\
        def handler(event, context):\n    \
            print('seen', event)\n    \
            if event.get('fail'): raise ValueError('as asked')\n    \
            return event.get('answer')\n";
    let id = system.create("python3.11", code).await;
    let path = format!("/api/v1/functions/{id}/invoke");

    let good = system.invoke(&id, &json!({"answer": {"ü": [1, 2.5, null]}})).await;
    assert_eq!(keys(&good), ["duration_ms", "execution_id", "logs", "memory_used_bytes", "output", "status"]);
    assert_eq!((&good["status"], &good["output"]), (&json!("success"), &json!({"ü": [1, 2.5, null]})));
    assert!(good["logs"].as_str().unwrap().starts_with("seen {"));
    let used = good["memory_used_bytes"].as_i64().unwrap();
    assert!((1_000_000..128 * 1024 * 1024).contains(&used), "{used} bytes are measured, not the limit");

    let failed = system.invoke(&id, &json!({"fail": true})).await;
    assert_eq!((&failed["status"], &failed["error"]), (&json!("failed"), &json!("ValueError: as asked")));
    assert!(failed.get("output").is_none());
    assert!(failed["logs"].as_str().unwrap().contains("Traceback"));

    let empty = system.send(Method::POST, &path, "").await;
    assert_eq!(empty.body["logs"], "seen {}\n", "no body is an empty event");
    for (body, status, code) in
        [("{", 400, "invalid_request"), ("nope", 400, "invalid_request"), ("1 2", 400, "invalid_request")]
    {
        assert_eq!(error(&system.send(Method::POST, &path, body).await), (status, code), "{body}");
    }
    assert_eq!(error(&system.send(Method::POST, &path, "1".repeat(70_000)).await), (413, "payload_too_large"));
    for unknown in [UNKNOWN, "nope"] {
        assert_eq!(error(&system.try_invoke(unknown, &json!({})).await), (404, "function_not_found"));
        let named = system.post("/invoke", &json!({"function_id": unknown})).await;
        assert_eq!(error(&named), (404, "function_not_found"));
    }

    let short = system.post(&format!("/functions/{id}/invoke"), &json!({"answer": 1})).await;
    assert_eq!((short.status, &short.body["output"]), (200, &json!(1)));
    let named = system.post("/invoke", &json!({"function_id": id, "payload": {"answer": 2}})).await;
    assert_eq!((named.status, &named.body["output"]), (200, &json!(2)));
    let without_payload = system.post("/invoke", &json!({"function_id": id})).await;
    assert_eq!(without_payload.body["logs"], "seen {}\n");
    assert_eq!(error(&system.post("/invoke", &json!({"payload": {}})).await), (400, "invalid_request"));

    let go = system.create("go1.21", "package main").await;
    let answer = system.invoke(&go, &json!({})).await;
    assert_eq!(answer["status"], "failed", "{answer}");
}

pub async fn executions_are_listed(system: &System) {
    let id = system.create("python3.11", "def handler(event, context):\n    return 1 / event['by']\n").await;
    let path = format!("/api/v1/functions/{id}/executions");
    assert_eq!(system.get(&path).await.body, json!({"executions": [], "count": 0}));

    let mut answered = Vec::new();
    for by in [1, 0, 2] {
        answered.push(system.invoke(&id, &json!({"by": by})).await);
    }
    // At once: a caller sees the executions that it was answered.
    let listed = system.get(&path).await.body;
    assert_eq!(listed["count"], 3);
    let executions = listed["executions"].as_array().unwrap();
    for (execution, answer) in executions.iter().zip(answered.iter().rev()) {
        assert_eq!(execution["ID"], answer["execution_id"], "newest first");
        assert_eq!(execution["FunctionID"], id);
        assert_eq!(execution["Status"], answer["status"]);
        assert_eq!(execution["Error"], answer.get("error").cloned().unwrap_or("".into()));
        assert_eq!(execution["MemoryUsed"], answer["memory_used_bytes"]);
        assert_eq!(execution["Duration"], answer["duration_ms"].as_i64().unwrap() * 1_000_000);
    }
    let expected = [
        "CompletedAt",
        "Duration",
        "Error",
        "FunctionID",
        "ID",
        "Input",
        "IsWarmStart",
        "MemoryUsed",
        "Output",
        "StartedAt",
        "Status",
    ];
    assert_eq!(keys(&executions[0]), expected);
    assert_eq!(executions[2]["IsWarmStart"], false);
    assert_eq!(executions[0]["IsWarmStart"], true, "an exception does not cost the worker");
    for unknown in [UNKNOWN, "nope"] {
        let none = system.get(&format!("/api/v1/functions/{unknown}/executions")).await;
        assert_eq!((none.status, none.body), (200, json!({"executions": [], "count": 0})));
    }
}

pub async fn what_a_function_is_created_with_is_applied(system: &System) {
    let python = "import os\ndef main(event, context):\n    return [os.environ['COLOUR'], context.memory_limit_mb]\n";
    let node = "exports.main = async (event, context) => [process.env.COLOUR, context.memory_limit_mb]";
    for (runtime, code) in [("python3.9", python), ("nodejs18", node)] {
        let fields = json!({
            "runtime": runtime, "code": code, "handler": "index.main", "environment": {"COLOUR": "red"}, "memory": 200,
        });
        let id = system.create_with(fields).await;
        assert_eq!(system.invoke(&id, &json!({})).await["output"], json!(["red", 200]), "{runtime}");
    }
    let id = system.create_with(json!({"runtime": "python3.11", "code": "import time\ndef handler(e, c):\n    time.sleep(30)\n", "timeout": 1})).await;
    let answer = system.invoke(&id, &json!({})).await;
    assert_eq!(answer["status"], "timeout");
    assert!(answer["error"].as_str().unwrap().contains("within 1 s"), "{answer}");
}

#[tokio::test]
async fn functions_that_the_monolith_cannot_run_are_listed() {
    let system = Setup::default().file("[legacy]\nruntimes = [\"python3.9\", \"nodejs18\"]\n").start().await;
    let path = "/.well-known/strangler/only-here";
    assert_eq!(system.get(path).await.body, json!({"keys": [], "count": 0}));
    system.create("python3.9", ECHO).await;
    let first = system.create("python3.11", ECHO).await;
    let second = system.create("nodejs20", ECHO_NODE).await;
    assert_eq!(system.get(path).await.body, json!({"keys": [second, first], "count": 2}));
}
