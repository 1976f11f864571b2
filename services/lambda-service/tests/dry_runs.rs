//! Dry runs: the function runs, and nothing is left of it. Whatever only looks like one is refused and not carried
//! out.

use std::time::{SystemTime, UNIX_EPOCH};

use dry_run::{HANDSHAKE_PATH, Key, Nonce, PROOF_HEADER, REQUEST_HEADER, RequestToken, SignedRequest};
use reqwest::Method;
use serde_json::{Value, json};

use crate::system::{DOCUMENT, ECHO, Setup, System, code};

const SECRET: &str = "a secret of the tests, 32 bytes or more";

/// Counts its calls for as long as its worker lives.
const COUNTING: &str =
    "calls = 0\ndef handler(event, context):\n    global calls\n    calls += 1\n    print('ran')\n    return calls\n";

async fn start() -> System {
    Setup::default().with("DRY_RUN__SECRET", SECRET).start().await
}

fn key() -> Key {
    Key::new(SECRET.as_bytes()).unwrap()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn nonce() -> Nonce {
    Nonce::from(uuid::Uuid::now_v7().as_u128())
}

fn sign(method: &str, target: &str, body: &str) -> RequestToken {
    key().sign(SignedRequest { method, target, body: body.as_bytes() }, nonce(), now_s())
}

struct Shown {
    status: u16,
    body: Value,
    proof: Option<Vec<u8>>,
}

impl Shown {
    fn code(&self) -> (u16, &str) {
        (self.status, code(&self.body).unwrap_or_default())
    }

    fn proves(&self, token: &RequestToken) -> bool {
        self.proof.as_ref().is_some_and(|proof| key().is_proof(proof, token))
    }
}

/// Sends a request with these values of the header.
async fn send(system: &System, method: Method, target: &str, body: &str, headers: &[&str]) -> Shown {
    let client = reqwest::Client::new();
    let mut request = client.request(method.clone(), system.service.url(target)).body(body.to_owned());
    for value in headers {
        request = request.header(REQUEST_HEADER, *value);
    }
    let answer = request.send().await.unwrap();
    let proof = answer.headers().get(PROOF_HEADER).map(|value| value.as_bytes().to_vec());
    let status = answer.status().as_u16();
    let content_type = answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let text = answer.text().await.unwrap();
    DOCUMENT.check(method.as_str(), target, status, content_type.as_deref().unwrap_or_default(), &text);
    Shown { status, body: serde_json::from_str(&text).unwrap_or_default(), proof }
}

async fn dry(system: &System, method: Method, target: &str, body: &str) -> (Shown, RequestToken) {
    let token = sign(method.as_str(), target, body);
    (send(system, method, target, body, &[&token.to_string()]).await, token)
}

/// Every row of both tables, as text.
async fn tables(system: &System) -> String {
    let database = system.database().await;
    let query = "SELECT coalesce((SELECT json_agg(f ORDER BY f.id) FROM functions f)::text, '') \
                 || coalesce((SELECT json_agg(i ORDER BY i.id) FROM invocations i)::text, '')";
    sqlx::query_scalar(query).fetch_one(&database).await.unwrap()
}

/// Every counter of executions.
async fn counters(system: &System) -> Vec<String> {
    let text = reqwest::get(system.service.url("/metrics")).await.unwrap().text().await.unwrap();
    let counted = ["lambda_invocations", "lambda_invocation_duration", "lambda_recorder_rows", "lambda_pool"];
    text.lines().filter(|line| counted.iter().any(|name| line.starts_with(name))).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_dry_run_answers_as_a_live_one_and_leaves_nothing() {
    let system = start().await;
    let id = system.create("python3.11", COUNTING).await;
    let target = format!("/api/v1/functions/{id}/invoke");
    assert_eq!(system.invoke(&id, &json!({})).await["output"], 1);
    let history = format!("/api/v1/functions/{id}/executions");
    assert_eq!(system.get(&history).await.body["count"], 1);
    let before = (tables(&system).await, counters(&system).await, system.journal_segments());

    for count in 1..=3 {
        let (answer, token) = dry(&system, Method::POST, &target, "{}").await;
        assert!(answer.proves(&token), "{:?}", answer.body);
        assert_eq!(
            (answer.status, &answer.body["status"], &answer.body["logs"]),
            (200, &json!("success"), &json!("ran\n"))
        );
        assert_eq!(answer.body["output"], count, "its worker is warm, and no live call's");
    }
    for (target, body) in [
        (format!("/functions/{id}/invoke"), "{}".to_owned()),
        ("/invoke".to_owned(), json!({ "function_id": id, "payload": {} }).to_string()),
    ] {
        let (answer, token) = dry(&system, Method::POST, &target, &body).await;
        assert!(answer.status == 200 && answer.proves(&token), "{target}: {:?}", answer.body);
    }
    assert_eq!(system.get(&history).await.body["count"], 1);
    assert_eq!((tables(&system).await, counters(&system).await, system.journal_segments()), before);
    assert_eq!(system.metric("lambda_dry_runs_total{outcome=\"success\"}").await as u32, 5);

    let live = system.invoke(&id, &json!({})).await;
    assert_eq!(live["output"], 2, "live workers know nothing of dry runs");
    assert_eq!(system.get(&history).await.body["count"], 2);
}

#[tokio::test]
async fn what_fails_live_fails_dry_with_the_same_answer() {
    let system = start().await;
    let broken = system.create("python3.11", "def handler(event, context):\n    raise ValueError('no')\n").await;
    let unloadable = system.create("python3.11", "def other(event): pass\n").await;
    for id in [&broken, &unloadable, "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f", "no-id"] {
        let live = system.try_invoke(id, &json!({})).await;
        let (dry, token) = dry(&system, Method::POST, &format!("/api/v1/functions/{id}/invoke"), "{}").await;
        assert!(dry.proves(&token));
        let shape = |body: &Value| (body["status"].clone(), body["output"].clone(), body["error"].clone());
        assert_eq!((dry.status, shape(&dry.body)), (live.status, shape(&live.body)), "{id}");
    }
}

#[tokio::test]
async fn the_handshake_is_agreed_to_by_whoever_knows_the_secret() {
    let system = start().await;
    let token = key().sign(SignedRequest::HANDSHAKE, nonce(), now_s());
    let answer = send(&system, Method::POST, HANDSHAKE_PATH, "", &[&token.to_string()]).await;
    assert_eq!(answer.status, 204);
    assert!(key().is_agreement(&answer.proof.unwrap(), &token));
    let unsigned = send(&system, Method::POST, HANDSHAKE_PATH, "", &[]).await;
    assert_eq!((unsigned.code(), unsigned.proof.is_none()), ((400, "dry_run_malformed"), true));

    let without = System::start().await;
    let asked = send(&without, Method::POST, HANDSHAKE_PATH, "", &[&token.to_string()]).await;
    assert_eq!((asked.code(), asked.proof.is_none()), ((403, "dry_run_unavailable"), true));
}

#[tokio::test]
async fn what_only_looks_like_a_dry_run_is_never_carried_out() {
    let system = start().await;
    let id = system.create("python3.11", COUNTING).await;
    let target = format!("/api/v1/functions/{id}/invoke");
    let signed = |target: &str, body: &str| sign("POST", target, body);
    let request = SignedRequest { method: "POST", target: &target, body: b"{}" };
    let other_key = Key::new(&[7; 32]).unwrap().sign(request, nonce(), now_s());
    let (good, used) = (signed(&target, "{}"), signed(&target, "{}"));
    assert_eq!(send(&system, Method::POST, &target, "{}", &[&used.to_string()]).await.body["output"], 1);
    let before = tables(&system).await;
    let cases = [
        ("another secret", other_key.to_string(), "dry_run_forged", 403),
        ("another path", signed("/api/v1/functions/x/invoke", "{}").to_string(), "dry_run_forged", 403),
        ("another query", signed(&format!("{target}?a=1"), "{}").to_string(), "dry_run_forged", 403),
        ("another body", signed(&target, "{\"a\":1}").to_string(), "dry_run_forged", 403),
        ("another method", sign("PUT", &target, "{}").to_string(), "dry_run_forged", 403),
        ("the past", key().sign(request, nonce(), now_s() - 60).to_string(), "dry_run_expired", 403),
        ("the future", key().sign(request, nonce(), now_s() + 60).to_string(), "dry_run_expired", 403),
        ("used before", used.to_string(), "dry_run_replayed", 409),
        ("no token", "yes".to_owned(), "dry_run_malformed", 400),
        ("nothing", String::new(), "dry_run_malformed", 400),
    ];
    for (what, value, code, status) in cases {
        let answer = send(&system, Method::POST, &target, "{}", &[&value]).await;
        assert_eq!((answer.code(), answer.proof.is_none()), ((status, code), true), "{what}");
    }
    let twice = send(&system, Method::POST, &target, "{}", &[&good.to_string(), &good.to_string()]).await;
    assert_eq!(twice.code(), (400, "dry_run_malformed"));
    assert_eq!(tables(&system).await, before);
    assert_eq!(system.invoke(&id, &json!({})).await["output"], 1, "no live worker has run it yet");
}

#[tokio::test]
async fn a_route_that_cannot_run_dry_says_so_and_does_nothing() {
    let system = start().await;
    let id = system.create("python3.11", ECHO).await;
    let before = tables(&system).await;
    let create = json!({ "name": "dry", "runtime": "python3.11", "code": ECHO }).to_string();
    let one = format!("/api/v1/functions/{id}");
    for (method, target, body) in
        [(Method::POST, "/api/v1/functions", create.as_str()), (Method::PUT, &one, "{}"), (Method::DELETE, &one, "")]
    {
        let (answer, _) = dry(&system, method.clone(), target, body).await;
        let shown = (answer.code(), answer.proof.is_none());
        assert_eq!(shown, ((422, "dry_run_not_supported"), true), "{method} {target}");
    }
    assert_eq!(tables(&system).await, before);
    let (read, token) = dry(&system, Method::GET, &one, "").await;
    assert!(read.status == 200 && read.proves(&token), "reading has no effect to leave out");
}
