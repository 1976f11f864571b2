//! Calls that are made later. The same functions run on the service's own tables here, on RabbitMQ, and on views
//! over the monolith's tables in `shared_stage`.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::system::{ECHO, SOON, Setup, System};

const UNKNOWN: &str = "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f";
/// Fails four times in the life of its worker, then not any more: an event and its three retries.
const FAILS_FOUR_TIMES: &str = "calls = 0\n\ndef handler(event, context):\n    global calls\n    calls += 1\n    \
     if calls <= 4:\n        raise RuntimeError(f'no {calls}')\n    return calls\n";
const FAILS: &str = "def handler(event, context):\n    raise RuntimeError('never')\n";

pub fn with_fast_retries(setup: Setup) -> Setup {
    setup
        .with("EVENTS__RETRY_FIRST", "10ms")
        .with("EVENTS__RETRY_MOST", "40ms")
        .with("EVENTS__POLL_INTERVAL", "20ms")
        .with("EVENTS__LEASE", "2s")
        .with("CRON__POLL_INTERVAL", "100ms")
        .with("ADMIN__TOKEN", "the operators' token")
}

async fn system() -> System {
    with_fast_retries(Setup::default()).start().await
}

#[tokio::test]
async fn its_own_tables_carry_events() {
    let system = system().await;
    asynchronous_calls(&system).await;
    a_dead_letter_is_retried_for_real(&system).await;
    a_function_that_goes_takes_its_events_along(&system).await;
}

pub async fn asynchronous_calls(system: &System) {
    let id = system.create("python3.11", ECHO).await;
    let mut ids = vec![
        system.invoke_later(&id, &json!({"n": 1})).await,
        system.invoke_later(&id, &json!("text \u{0} and more")).await,
    ];
    let later = |path: &str| system.request(Method::POST, path).header("x-invocation-type", "Event");
    // By the shorter contract, without a body, and with the function in the body.
    for request in [
        later(&format!("/functions/{id}/invoke")),
        later("/invoke").body(json!({"function_id": id, "payload": [1]}).to_string()),
    ] {
        let answer = system.finish(request).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.body.as_object().unwrap().len(), 1);
        ids.push(answer.body["event_id"].as_str().unwrap().to_owned());
    }
    // The caller's own id counts once, while it waits and when it has ended.
    let own = uuid::Uuid::now_v7().to_string();
    for _ in 0..2 {
        for _ in 0..3 {
            let request = later(&format!("/api/v1/functions/{id}/invoke")).header("x-event-id", &own).body("{}");
            assert_eq!(system.finish(request).await.body, json!({"event_id": own}));
        }
        system.audit(&id, 5).await;
    }
    ids.push(own);
    let audit = system.audit(&id, 5).await;
    let mut audited: Vec<&str> = audit.iter().map(|item| item["event_id"].as_str().unwrap()).collect();
    audited.sort_unstable();
    ids.sort_unstable();
    assert_eq!(audited, ids, "each once");
    for item in &audit {
        assert_eq!((&item["event_type"], &item["status"]), (&json!("http"), &json!("success")), "{item}");
        assert_eq!(item["error_message"], Value::Null);
    }

    let path = format!("/api/v1/functions/{id}/invoke");
    let unknown_path = format!("/api/v1/functions/{UNKNOWN}/invoke");
    let refused = [
        (later(&path).body("nonsense"), 400, "invalid_request"),
        (later(&path).header("x-event-id", "7"), 400, "invalid_request"),
        (system.request(Method::POST, &path).header("x-invocation-type", "DryRun"), 400, "invalid_request"),
        (later(&unknown_path), 404, "function_not_found"),
        (later("/api/v1/functions/nope/invoke"), 404, "function_not_found"),
        (later(&path).body(format!("\"{}\"", "x".repeat(2 << 20))), 413, "payload_too_large"),
    ];
    for (request, status, code) in refused {
        let answer = system.finish(request).await;
        assert_eq!((answer.status, &answer.body["error"]), (status, &json!(code)), "{answer:?}");
    }
    let usual = system.request(Method::POST, &path).header("x-invocation-type", "RequestResponse").body("[2]");
    assert_eq!(system.finish(usual).await.body["output"], json!([2]));
    assert_eq!(system.audit(&id, 5).await.len(), 5, "what was refused is no event");
}

/// The letters of one function.
async fn letters(system: &System, function: &str) -> Vec<Value> {
    let all = system.get("/api/v1/dlq?limit=1000").await;
    assert_eq!(all.status, 200, "{all:?}");
    let all = all.body.as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|letter| letter["function_id"] == function).collect()
}

pub async fn a_dead_letter_is_retried_for_real(system: &System) {
    let id = system.create("python3.11", FAILS_FOUR_TIMES).await;
    let payload = json!({"order": 12_345_678_901_234_567_890_u64, "name": "a\u{0}b"});
    let event = system.invoke_later(&id, &payload).await;
    let audit = system.audit(&id, 1).await;
    assert_eq!((&audit[0]["status"], &audit[0]["event_id"]), (&json!("failed"), &json!(event)), "{audit:?}");
    assert_eq!(audit[0]["error_message"], "RuntimeError: no 4");
    let buried = letters(system, &id).await;
    assert_eq!(buried.len(), 1, "{buried:?}");
    let letter = &buried[0];
    assert_eq!((&letter["event_id"], &letter["event_type"]), (&json!(event), &json!("http")));
    assert_eq!((&letter["retry_count"], &letter["max_retries"]), (&json!(3), &json!(3)));
    assert_eq!((&letter["error_message"], &letter["status"]), (&json!("RuntimeError: no 4"), &json!("pending")));
    // What jsonb cannot hold is replaced, and nothing else.
    assert_eq!(letter["payload"], json!({"order": 12_345_678_901_234_567_890_u64, "name": "a\u{fffd}b"}));
    assert!(letter["first_attempt_at"].as_str() < letter["last_attempt_at"].as_str(), "{letter}");

    let retry = format!("/api/v1/dlq/{}/retry", letter["id"].as_str().unwrap());
    let answer = system.send(Method::POST, &retry, "").await;
    assert_eq!((answer.status, answer.body), (200, json!({"status": "retry initiated"})));
    // The fifth call succeeds, and the letter is no dead letter any more.
    let audit = system.audit(&id, 2).await;
    assert_eq!(audit[0]["status"], "success", "{audit:?}");
    assert_ne!(audit[0]["event_id"], json!(event), "a retry is an event of its own");
    assert_eq!(letters(system, &id).await, Vec::<Value>::new());
    assert_eq!(system.send(Method::POST, &retry, "").await.status, 500, "there is nothing to retry");

    a_retry_that_fails_is_the_same_letter(system).await;
    let none = system.get("/api/v1/dlq?limit=1&offset=100000").await;
    assert_eq!(none.body, Value::Null, "the quirk");
}

async fn a_retry_that_fails_is_the_same_letter(system: &System) {
    let id = system.create("python3.11", FAILS).await;
    system.invoke_later(&id, &json!({})).await;
    system.audit(&id, 1).await;
    let before = letters(system, &id).await;
    let path = format!("/api/v1/dlq/{}", before[0]["id"].as_str().unwrap());
    // However often it is asked for, one retry is under way at a time.
    let retry = format!("{path}/retry");
    let retries = (0..4).map(|_| system.send(Method::POST, &retry, ""));
    for answer in futures::future::join_all(retries).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let events = 1 + rows_of(system, &id).await;
    assert!((1..=5).contains(&events), "{events}");
    system.audit(&id, 2).await;
    eventually(SOON, || async { letters(system, &id).await.iter().all(|letter| letter["status"] == "pending") }).await;
    let after = letters(system, &id).await;
    assert_eq!((after.len(), &after[0]["id"]), (1, &before[0]["id"]));
    assert!(after[0]["last_attempt_at"].as_str() > before[0]["last_attempt_at"].as_str());

    // One that is deleted while its retry is under way does not come back.
    let ended = system.audit(&id, 2).await.len();
    assert_eq!(system.send(Method::POST, &format!("{path}/retry"), "").await.status, 200);
    assert_eq!(system.send(Method::DELETE, &path, "").await.status, 204);
    system.audit(&id, ended + 1).await;
    assert_eq!(letters(system, &id).await, Vec::<Value>::new());
    for path in [path.as_str(), "/api/v1/dlq/nope"] {
        assert_eq!(system.send(Method::DELETE, path, "").await.status, 500);
        let answer = system.send(Method::POST, &format!("{path}/retry"), "").await;
        assert_eq!((answer.status, answer.body.as_object().unwrap().len()), (500, 1), "{answer:?}");
    }
}

/// Events of a function that have not ended.
pub async fn rows_of(system: &System, function: &str) -> i64 {
    let database = system.database().await;
    sqlx::query_scalar("SELECT count(*) FROM event_queue WHERE function_id = $1::uuid")
        .bind(function)
        .fetch_one(&database)
        .await
        .unwrap()
}

pub async fn a_function_that_goes_takes_its_events_along(system: &System) {
    let id = system.create("python3.11", FAILS).await;
    assert_eq!(operator(system, "events/pause").await.status, 200);
    for n in 0..3 {
        system.invoke_later(&id, &json!(n)).await;
    }
    assert_eq!(rows_of(system, &id).await, 3, "they are accepted, and nobody works on them");
    assert_eq!(system.send(Method::DELETE, &format!("/api/v1/functions/{id}"), "").await.status, 204);
    let state = operator(system, "events/resume").await;
    assert_eq!((state.status, &state.body["paused"]), (200, &json!(false)));
    let audit = system.audit(&id, 3).await;
    assert!(audit.iter().all(|item| item["status"] == "failed"), "{audit:?}");
    assert_eq!(letters(system, &id).await, Vec::<Value>::new(), "the letters of a function go with it");
    assert_eq!(rows_of(system, &id).await, 0);
}

/// `POST /admin/…` with the token.
pub async fn operator(system: &System, what: &str) -> crate::system::Answer {
    let request = system.request(Method::POST, &format!("/admin/{what}")).bearer_auth("the operators' token");
    system.finish(request.body(r#"{"reason": "a test"}"#)).await
}

#[tokio::test]
async fn the_operators_routes_are_theirs() {
    let system = system().await;
    for path in ["cron/pause", "cron/resume", "events/pause", "events/resume"] {
        for token in ["", "nope", "the operators' toke"] {
            let request = system.request(Method::POST, &format!("/admin/{path}")).bearer_auth(token);
            assert_eq!(system.finish(request).await.status, 401, "{path}");
        }
    }
    for path in ["/admin/cron", "/admin/events"] {
        assert_eq!(system.get(path).await.status, 401);
        let state = system.finish(system.request(Method::GET, path).bearer_auth("the operators' token")).await;
        assert_eq!((state.status, &state.body["paused"]), (200, &json!(false)), "{state:?}");
    }
    let request = system.request(Method::POST, "/admin/cron/stop").bearer_auth("the operators' token");
    assert_eq!(system.finish(request).await.status, 404);
    let paused = operator(&system, "events/pause").await.body;
    let again = operator(&system, "events/pause").await.body;
    assert_eq!((&paused["reason"], &paused["since"]), (&json!("a test"), &again["since"]), "since the first");

    let closed = Setup::default().start().await;
    let request = closed.request(Method::POST, "/admin/cron/pause").bearer_auth("");
    assert_eq!(closed.finish(request).await.status, 404, "without a token nobody is an operator");
}

#[tokio::test]
async fn what_exceeds_the_queue_is_refused_and_a_slow_function_leaves_room_for_others() {
    let setup = with_fast_retries(Setup::default()).with("EVENTS__CAPACITY", "30");
    let system = setup.with("EVENTS__CONCURRENCY", "3").with("EVENTS__CONCURRENCY_PER_FUNCTION", "2").start().await;
    let slow = "import time\n\ndef handler(event, context):\n    time.sleep(300)\n";
    let slow = system.create_with(json!({"runtime": "python3.11", "code": slow, "timeout": 600})).await;
    let quick = system.create("python3.11", ECHO).await;
    for n in 0..5 {
        system.invoke_later(&slow, &json!(n)).await;
    }
    for n in 0..10 {
        system.invoke_later(&quick, &json!(n)).await;
    }
    system.audit(&quick, 10).await;
    // What has ended is counted until the queue is counted again, so it may be full a little early; not for long.
    let refused = std::sync::Mutex::new(None);
    eventually(SOON, || async {
        let answer = system.try_invoke_later(&slow, &json!({})).await.unwrap();
        let is_full = answer.status == 503;
        *refused.lock().unwrap() = Some(answer);
        is_full && rows_of(&system, &slow).await >= 25
    })
    .await;
    let refused = refused.into_inner().unwrap().unwrap();
    assert_eq!((&refused.body["error"], refused.retry_after.as_deref()), (&json!("service_unavailable"), Some("1")));
}

#[tokio::test]
async fn a_drain_gives_events_back_that_do_not_end() {
    let setup = with_fast_retries(Setup::default()).with("EVENTS__DRAIN", "300ms").with("EVENTS__LEASE", "300s");
    let mut system = setup.start().await;
    let code = "import time\n\ndef handler(event, context):\n    time.sleep(event)\n    return event\n";
    let id = system.create_with(json!({"runtime": "python3.11", "code": code, "timeout": 600})).await;
    system.invoke_later(&id, &json!(300)).await;
    let database = system.database().await;
    let held = "SELECT count(*) FROM event_queue WHERE lease_token IS NOT NULL";
    eventually(SOON, || async { sqlx::query_scalar::<_, i64>(held).fetch_one(&database).await.unwrap() == 1 }).await;
    assert!(system.service.terminate(SOON).await.success(), "{}", system.service.log());
    let row: (Option<uuid::Uuid>, i32, bool) =
        sqlx::query_as("SELECT lease_token, deliveries, available_at <= now() FROM event_queue")
            .fetch_one(&database)
            .await
            .unwrap();
    assert_eq!(row, (None, 0, true), "it is anybody's, at once, and no worker died over it");
    sqlx::query("UPDATE event_queue SET body = replace(body, '\"payload\":300', '\"payload\":0')")
        .execute(&database)
        .await
        .unwrap();
    system.service.start_again().await;
    assert_eq!(system.audit(&id, 1).await[0]["status"], "success");
}

#[tokio::test]
async fn an_event_over_which_processes_die_is_given_up() {
    let setup = with_fast_retries(Setup::default()).with("EVENTS__MAX_DELIVERIES", "2");
    let system = setup.start().await;
    let id = system.create("python3.11", ECHO).await;
    operator(&system, "events/pause").await;
    let event = system.invoke_later(&id, &json!({})).await;
    let database = system.database().await;
    // As two processes leave it that took it and were killed.
    sqlx::query("UPDATE event_queue SET deliveries = 2, lease_token = gen_random_uuid()")
        .execute(&database)
        .await
        .unwrap();
    operator(&system, "events/resume").await;
    let audit = system.audit(&id, 1).await;
    assert_eq!((&audit[0]["event_id"], &audit[0]["status"]), (&json!(event), &json!("failed")));
    assert_eq!(letters(&system, &id).await[0]["error_message"], "2 processes ended over it, and none of them finished");
    assert_eq!(system.executions_of(&id).await, 0, "it was not called");
}

impl System {
    /// How many executions of a function there are.
    pub async fn executions_of(&self, id: &str) -> usize {
        let history = self.get(&format!("/api/v1/functions/{id}/executions")).await;
        history.body["executions"].as_array().map_or(0, Vec::len)
    }
}
