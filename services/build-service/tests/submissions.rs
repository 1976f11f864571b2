//! What is taken from clients, and what is refused and leaves nothing behind.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::system::{Answer, ECHO, Ground, System, form, function, package};

async fn submit_form(system: &System, fields: &[(&str, &str)], package: &[u8]) -> Answer {
    let (content_type, body) = form(fields, package);
    let request = system.request(Method::POST, "/functions").header("content-type", content_type).body(body);
    system.try_send(request).await.unwrap()
}

#[tokio::test]
async fn a_package_in_either_form_becomes_the_same_artifact() {
    let system = System::start().await;
    let zip = package(&[("index.py", ECHO.as_bytes()), ("lib/data.txt", b"kept")]);
    let in_json = system.submit(json!({"package_data": STANDARD.encode(&zip)})).await;
    let fields =
        [("name", "in-a-form"), ("runtime", "python3.11"), ("environment", "{\"A\": \"1\"}"), ("timeout", "5")];
    let in_form = submit_form(&system, &fields, &zip).await;
    assert_eq!((in_form.status, &in_form.body["status"]), (202, &json!("queued")), "{in_form:?}");
    let in_form = in_form.body["job_id"].as_str().unwrap().to_owned();

    let (first, second) = (system.ended(&in_json).await, system.ended(&in_form).await);
    assert_eq!(first["status"], "completed", "{first:#}");
    assert_eq!(first["artifact_digest"], second["artifact_digest"]);
    assert_eq!(
        (&second["name"], &second["timeout"], &second["handler"]),
        (&json!("in-a-form"), &json!(5), &json!("index.handler"))
    );
    assert!(second.get("environment").is_none(), "it may hold secrets");
    assert_eq!(second["package"]["files"], 2);
    assert_eq!(second["package"]["bytes"], zip.len());
    let states: Vec<&Value> = second["history"].as_array().unwrap().iter().map(|item| &item["status"]).collect();
    assert_eq!(states, ["queued", "building", "completed"]);
    let digest = first["artifact_digest"].as_str().unwrap();
    let uploaded = blake3::hash(&zip).to_hex();
    assert_eq!(system.ground.bucket.keys(), [format!("packages/{digest}.zip"), format!("uploads/{uploaded}.zip")]);
}

#[tokio::test]
async fn what_is_refused_has_its_reason_and_leaves_nothing() {
    let ground =
        Ground::new().await.with("PACKAGES__LIMITS__ARCHIVE", "64 KiB").with("PACKAGES__JSON_LIMIT", "200 KiB");
    let system = ground.start("master").await;
    let good = package(&[("index.py", ECHO.as_bytes())]);
    let large = package(&[("index.py", &[b'#'; 70_000])]);
    let escaping = package(&[("../index.py", ECHO.as_bytes())]);
    let with = |field: &str, value: Value| function(json!({field: value}));
    let cases = [
        (with("name", json!("")), 422, "invalid-field", "name"),
        (with("name", json!("n".repeat(256))), 422, "invalid-field", "function"),
        (with("runtime", json!("cobol")), 422, "invalid-field", "runtime"),
        (with("runtime", json!("go1.21")), 422, "invalid-field", "runtime"),
        (with("handler", json!("main.handler")), 422, "package-refused", "handler_file_missing"),
        (with("timeout", json!(901)), 422, "invalid-field", "function"),
        (with("package_type", json!("docker")), 422, "invalid-field", "package_type"),
        (with("webhook_url", json!("ftp://example.com")), 422, "invalid-field", "webhook_url"),
        (with("webhook_url", json!("http://example.com")), 422, "invalid-field", "webhook_secret"),
        (with("package_data", json!("")), 422, "invalid-field", "package_data"),
        (with("package_data", json!("!")), 400, "malformed", ""),
        (with("nonsense", json!(1)), 400, "malformed", ""),
        (with("package_data", json!(STANDARD.encode("no archive"))), 422, "package-refused", "not_a_zip"),
        (with("package_data", json!(STANDARD.encode(&escaping))), 422, "package-refused", "path_traversal"),
        (with("package_data", json!(STANDARD.encode(&large))), 413, "too-large", ""),
        (with("package_data", json!("A".repeat(300_000))), 413, "too-large", ""),
    ];
    for (body, status, code, subject) in cases {
        let answer = system.post("/functions", &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.content_type, "application/problem+json");
        assert_eq!(answer.body["type"], format!("/problems/{code}"), "{answer:?}");
        assert_eq!(answer.body["status"], status);
        if !subject.is_empty() {
            assert_eq!(answer.body["subject"], subject, "{answer:?}");
        }
    }
    let named = [("name", "f"), ("runtime", "python3.11")];
    assert_eq!(submit_form(&system, &named, &large).await.status, 413);
    assert_eq!(submit_form(&system, &named, &escaping).await.body["subject"], "path_traversal");
    assert_eq!(submit_form(&system, &[("nome", "f")], &good).await.status, 400);
    assert_eq!(submit_form(&system, &[("timeout", "soon")], &good).await.body["subject"], "timeout");
    let cut = {
        let (content_type, mut body) = form(&named, &good);
        body.truncate(body.len() / 2);
        system.request(Method::POST, "/functions").header("content-type", content_type).body(body)
    };
    assert_eq!(system.try_send(cut).await.unwrap().status, 400);
    let text = system.request(Method::POST, "/functions").header("content-type", "text/plain").body("x");
    assert_eq!(system.try_send(text).await.unwrap().status, 415);

    assert_eq!(system.ground.bucket.keys(), [""; 0]);
    assert_eq!(system.get("/builds").await.body, json!({"builds": []}));
    assert_eq!(walk(system.ground.work.path()), [""; 0]);
    assert!(system.metric("build_requests_refused_total{reason=\"too_large\"}").await >= 3.0);
}

/// The names of all files below a folder.
pub fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            names.extend(walk(&entry.path()));
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}

#[tokio::test]
async fn one_key_is_one_request() {
    let system = Ground::new().await.start("master").await;
    let send = async |key: &str, body: Value| {
        let request = system.request(Method::POST, "/functions").header("idempotency-key", key).json(&body);
        system.try_send(request).await.unwrap()
    };
    let body = function(json!({"name": "f"}));
    // At the same time, too.
    let answers = futures::future::join_all((0..8).map(|_| send("k", body.clone()))).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (202, &answers[0].body), "{answer:?}");
    }
    let other = send("k", function(json!({"name": "f", "memory": 256}))).await;
    assert_eq!((other.status, other.body["type"].as_str()), (422, Some("/problems/idempotency-key-reused")));
    assert_eq!(send(&"k".repeat(256), body.clone()).await.status, 400);
    assert_eq!(system.get("/builds").await.body["builds"].as_array().unwrap().len(), 1);

    // Another key is another build of the same function.
    let again = send("l", body).await;
    assert_eq!(again.status, 202);
    assert_eq!(again.body["function_id"], answers[0].body["function_id"]);
    assert_ne!(again.body["job_id"], answers[0].body["job_id"]);
}
