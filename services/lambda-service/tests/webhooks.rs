//! Webhooks in. The first function runs on views over the monolith's tables in `shared_stage` too.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::Utc;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    events::with_fast_retries,
    system::{Answer, ECHO, Setup, System},
};

const BODY: &str = r#"{"action": "push", "n": 12345678901234567890}"#;

#[tokio::test]
async fn its_own_tables_carry_webhooks() {
    let setup = with_fast_retries(Setup::default()).with("WEBHOOKS__BODY_LIMIT", "16 KiB");
    let system = setup.start().await;
    the_webhooks_of_the_contract(&system).await;
    let path = webhook(&system, &system.create("python3.11", ECHO).await, "X-Signature").await;
    let large = "x".repeat(20_000);
    let answer = deliver(&system, &path, &large, &[("x-signature", &plain(&large))]).await;
    assert_eq!((answer.status, answer.body.as_object().unwrap().len()), (413, 1), "{answer:?}");
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn plain(body: &str) -> String {
    hex::encode(hmac(b"s3cret", body))
}

fn stripe(time: i64, body: &str) -> String {
    format!("t={time},v1={}", hex::encode(hmac(b"s3cret", &format!("{time}.{body}"))))
}

fn standard(id: &str, time: i64, body: &str) -> String {
    format!("v1,{}", STANDARD.encode(hmac(b"s3cret", &format!("{id}.{time}.{body}"))))
}

/// A webhook with the secret `s3cret`; its path.
async fn webhook(system: &System, function: &str, signature_header: &str) -> String {
    let path = testkit::unique_name("hook");
    // `s3cret` in base64, for those styles that read it so.
    let secret = match signature_header {
        "webhook-signature" | "svix-signature" => format!("whsec_{}", STANDARD.encode("s3cret")),
        _ => "s3cret".to_owned(),
    };
    let body = json!({"name": "w", "path": path, "secret": secret, "signature_header": signature_header,
        "headers": {"x-team": "core"}});
    let created = system.post(&format!("/api/v1/functions/{function}/webhooks"), &body).await;
    assert_eq!(created.status, 201, "{created:?}");
    path
}

async fn deliver(system: &System, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = system.request(Method::POST, &format!("/webhooks/{path}?a=b")).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    system.finish(request).await
}

pub async fn the_webhooks_of_the_contract(system: &System) {
    let id = system.create("python3.11", ECHO).await;
    let path = webhook(system, &id, "X-Signature").await;
    let taken = json!({"path": path});
    let refused = system.post(&format!("/api/v1/functions/{id}/webhooks"), &taken).await;
    assert_eq!((refused.status, refused.body.as_object().unwrap().len()), (500, 1), "{refused:?}");

    let genuine = plain(BODY);
    let signed: [(&str, &str); 2] = [("x-signature", &genuine), ("authorization", "Bearer of bad news")];
    for _ in 0..2 {
        let answer = deliver(system, &path, BODY, &signed).await;
        assert_eq!((answer.status, answer.body), (200, json!({"status": "received"})));
    }
    let forged: [(u16, &[(&str, &str)]); 5] = [
        (401, &[]),
        (401, &[("x-hub-signature-256", &genuine)]),
        (400, &[("x-signature", &plain("{}"))]),
        (400, &[("x-signature", "")]),
        (400, &[("x-signature", &genuine), ("x-signature", &genuine)]),
    ];
    for (status, headers) in forged {
        let answer = deliver(system, &path, BODY, headers).await;
        assert_eq!((answer.status, answer.body.as_object().unwrap().len()), (status, 1), "{headers:?} {answer:?}");
    }
    assert_eq!(deliver(system, "no/such/hook", BODY, &signed).await.status, 400);
    let audit = system.audit(&id, 2).await;
    assert_eq!(audit.len(), 2, "the same body may mean another delivery");
    assert!(audit.iter().all(|item| item["event_type"] == "webhook" && item["status"] == "success"));

    // What the function gets is what the monolith gives it.
    let shows = "def handler(event, context):\n    raise RuntimeError(event['body']['action'])\n";
    let fails = system.create("python3.11", shows).await;
    let other = webhook(system, &fails, "X-Signature").await;
    assert_eq!(deliver(system, &other, BODY, &signed).await.status, 200);
    system.audit(&fails, 1).await;
    let letters = system.get("/api/v1/dlq?limit=1000").await.body;
    let letter = letters.as_array().unwrap().iter().find(|letter| letter["function_id"] == fails.as_str()).unwrap();
    let payload = &letter["payload"];
    assert_eq!(
        (&payload["method"], &payload["path"], &payload["query"]),
        (&json!("POST"), &json!(other), &json!("a=b"))
    );
    assert_eq!(payload["body"], serde_json::from_str::<Value>(BODY).unwrap());
    assert_eq!(payload["headers"]["x-signature"], genuine.as_str());
    assert_eq!(payload["headers"].get("authorization"), None, "credentials are not stored");
    assert_eq!(letter["error_message"], "RuntimeError: push");
}

/// What an attacker who has seen genuine requests can send: no line of this table makes a second event.
#[tokio::test]
async fn requests_that_were_seen_count_once() {
    let setup = with_fast_retries(Setup::default()).with("WEBHOOKS__TOLERANCE", "60s");
    let system = setup.with("WEBHOOKS__SINGLE_USE", r#"["X-Hub-Signature-256"]"#).start().await;
    let now = Utc::now().timestamp();

    // Stripe: the signed time and the signature.
    let id = system.create("python3.11", ECHO).await;
    let path = webhook(&system, &id, "Stripe-Signature").await;
    let (genuine, old) = (stripe(now, BODY), stripe(now - 61 - 5, BODY));
    let reordered = genuine.split(',').rev().collect::<Vec<_>>().join(",");
    let more = format!("{genuine},v1={},v0=00", "00".repeat(32));
    let later = genuine.replace(&format!("t={now}"), &format!("t={}", now + 1));
    for (header, status) in [
        (&genuine, 200),
        (&genuine, 200),
        (&reordered, 200),
        (&more, 200),
        (&later, 400),
        (&old, 400),
        (&stripe(now + 66, BODY), 400),
    ] {
        assert_eq!(deliver(&system, &path, BODY, &[("stripe-signature", header)]).await.status, status, "{header}");
    }
    assert_eq!(deliver(&system, &path, BODY, &[]).await.status, 401);
    let again = stripe(now - 1, BODY);
    assert_eq!(deliver(&system, &path, BODY, &[("stripe-signature", &again)]).await.status, 200);
    assert_eq!(system.audit(&id, 2).await.len(), 2, "the sender's second, a second earlier, is another one");

    // Standard Webhooks: the id.
    for family in ["webhook", "svix"] {
        let id = system.create("python3.11", ECHO).await;
        let path = webhook(&system, &id, &format!("{family}-signature")).await;
        let send = async |message: &str, time: i64, signature: &str| {
            let time = time.to_string();
            let names = ["id", "timestamp", "signature"].map(|what| format!("{family}-{what}"));
            let headers: Vec<(&str, &str)> =
                names.iter().map(String::as_str).zip([message, time.as_str(), signature]).collect();
            deliver(&system, &path, BODY, &headers).await.status
        };
        assert_eq!(send("msg_1", now, &standard("msg_1", now, BODY)).await, 200);
        assert_eq!(send("msg_1", now, &standard("msg_1", now, BODY)).await, 200);
        assert_eq!(send("msg_1", now - 9, &standard("msg_1", now - 9, BODY)).await, 200, "its sender tries again");
        assert_eq!(send("msg_2", now, &standard("msg_1", now, BODY)).await, 400);
        assert_eq!(send("msg_1", now - 66, &standard("msg_1", now - 66, BODY)).await, 400);
        assert_eq!(send("msg_2", now, &standard("msg_2", now, BODY)).await, 200);
        assert_eq!(system.audit(&id, 2).await.len(), 2, "{family}");
    }

    // GitHub: the signature, since nothing else is signed.
    let id = system.create("python3.11", ECHO).await;
    let path = webhook(&system, &id, "").await;
    let genuine = format!("sha256={}", plain(BODY));
    for delivery in ["1", "2"] {
        let headers = [("x-hub-signature-256", genuine.as_str()), ("x-github-delivery", delivery)];
        assert_eq!(deliver(&system, &path, BODY, &headers).await.status, 200);
    }
    let other = plain("{}");
    assert_eq!(deliver(&system, &path, "{}", &[("x-hub-signature-256", &other)]).await.status, 200);
    assert_eq!(system.audit(&id, 2).await.len(), 2);

    // A signature of one webhook's is none of another's, and what counts once counts once for each.
    let elsewhere = system.create("python3.11", ECHO).await;
    let path = webhook(&system, &elsewhere, "").await;
    assert_eq!(deliver(&system, &path, BODY, &[("x-hub-signature-256", &genuine)]).await.status, 200);
    assert_eq!(system.audit(&elsewhere, 1).await.len(), 1);
}

#[tokio::test]
async fn webhooks_without_a_secret_can_be_closed() {
    let system = with_fast_retries(Setup::default()).with("WEBHOOKS__ALLOW_WITHOUT_SECRET", "false").start().await;
    let id = system.create("python3.11", ECHO).await;
    let created = system.post(&format!("/api/v1/functions/{id}/webhooks"), &json!({"path": "open"})).await;
    assert_eq!((created.status, &created.body["secret"]), (201, &json!("")));
    let answer = deliver(&system, "open", BODY, &[("x-hub-signature-256", &plain(BODY))]).await;
    assert_eq!(answer.status, 401, "{answer:?}");
}
