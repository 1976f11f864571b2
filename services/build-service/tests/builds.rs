//! Builds from their clients' side: look, list, cancel, try again.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    submissions::walk,
    system::{ECHO, Ground, SOON, System, package},
};

#[tokio::test]
async fn a_build_that_fails_says_why_and_can_be_tried_again() {
    let system = System::start().await;
    // Its directory is in order, its data is not.
    let mut zip = package(&[("index.py", ECHO.as_bytes())]);
    let at = zip.windows(6).position(|window| window == b"return").unwrap();
    zip[at] = b'R';
    let job_id = system.submit(json!({"package_data": STANDARD.encode(&zip)})).await;
    let build = system.ended(&job_id).await;
    assert_eq!(build["status"], "failed", "{build:#}");
    let message = build["error"]["message"].as_str().unwrap();
    assert!(message.contains("index.py"), "{message}");
    assert_eq!(build["history"][2]["message"], message);

    let retry = system.post(&format!("/builds/{job_id}/retry"), &json!({})).await;
    assert_eq!((retry.status, &retry.body["function_id"]), (202, &build["function_id"]), "{retry:?}");
    let twice = system.post(&format!("/builds/{job_id}/retry"), &json!({})).await;
    assert_eq!(twice.body, retry.body, "one failed build is tried again by one other");
    let again = system.ended(retry.body["job_id"].as_str().unwrap()).await;
    assert_eq!(
        (&again["retry_of"], &again["version"], &again["status"]),
        (&json!(job_id), &json!(2), &json!("failed"))
    );
    let cause = build["error"]["code"].as_str().unwrap();
    assert_eq!(system.metric(&format!("build_failures_total{{cause=\"{cause}\"}}")).await, 2.0);
    assert_eq!(walk(system.ground.work.path()), [""; 0]);
}

/// What can be seen without running it is seen before anybody calls the function.
#[tokio::test]
async fn a_handler_that_cannot_be_there_fails_the_build() {
    let system = System::start().await;
    for (runtime, file, source, code) in [
        ("python3.11", "index.py", "def handler(event, context)\n    pass\n", "handler_syntax"),
        ("python3.11", "index.py", "def main(event, context): pass\n", "handler_undefined"),
        ("nodejs20", "index.mjs", "export const handler = ;\n", "handler_syntax"),
    ] {
        let zip = package(&[(file, source.as_bytes())]);
        let fields = json!({"runtime": runtime, "package_data": STANDARD.encode(&zip)});
        let build = system.ended(&system.submit(fields).await).await;
        assert_eq!((&build["status"], &build["error"]["code"]), (&json!("failed"), &json!(code)), "{build:#}");
        let message = build["error"]["message"].as_str().unwrap();
        assert!(message.contains(file), "{message}");
    }
}

#[tokio::test]
async fn a_waiting_build_is_cancelled_once_and_for_all() {
    let system = Ground::new().await.start("master").await;
    let job_id = system.submit(json!({})).await;
    for _ in 0..2 {
        let cancelled = system.post(&format!("/builds/{job_id}/cancel"), &json!({})).await;
        assert_eq!((cancelled.status, &cancelled.body["status"]), (200, &json!("cancelled")), "{cancelled:?}");
        assert_eq!(cancelled.body["history"].as_array().unwrap().len(), 2);
    }
    let worker = system.ground.process("worker").start().await;
    let next = system.submit(json!({})).await;
    assert_eq!(system.ended(&next).await["status"], "completed");
    assert_eq!(system.get(&format!("/builds/{job_id}")).await.body["status"], "cancelled");
    let late = system.post(&format!("/builds/{next}/cancel"), &json!({})).await;
    assert_eq!((late.status, late.body["type"].as_str()), (409, Some("/problems/wrong-state")));
    assert_eq!(system.post(&format!("/builds/{next}/retry"), &json!({})).await.status, 409);
    for path in ["/builds/x", "/builds/018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f"] {
        let unknown = system.get(path).await;
        assert_eq!((unknown.status, unknown.body["type"].as_str()), (404, Some("/problems/build-not-found")));
    }
    assert!(worker.terminate(SOON).await.success());
}

#[tokio::test]
async fn lists_are_filtered_and_read_in_parts() {
    let system = Ground::new().await.start("master").await;
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(system.submit(json!({"name": if n % 2 == 0 { "even" } else { "odd" }})).await);
    }
    system.post(&format!("/builds/{}/cancel", ids[0]), &json!({})).await;
    ids.reverse();
    let (mut read, mut path) = (Vec::new(), "/builds?limit=3".to_owned());
    loop {
        let part = system.get(&path).await.body;
        read.extend(
            part["builds"].as_array().unwrap().iter().map(|build| build["job_id"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = part["next_cursor"].as_str() else { break };
        path = format!("/builds?limit=3&cursor={cursor}");
    }
    assert_eq!(read, ids);
    let count =
        async |query: &str| system.get(&format!("/builds?{query}")).await.body["builds"].as_array().unwrap().len();
    assert_eq!(count("name=odd").await, 3);
    assert_eq!(count("status=cancelled").await, 1);
    assert_eq!(count("status=queued&name=even").await, 3);
    assert_eq!(count("function_id=018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f").await, 0);
    for query in ["limit=0", "limit=201", "cursor=x", "status=lost", "function_id=x", "nonsense=1"] {
        let refused = system.get(&format!("/builds?{query}")).await;
        assert_eq!(
            (refused.status, refused.body["type"].as_str()),
            (400, Some("/problems/invalid-parameter")),
            "{query}"
        );
    }
}

/// What a worker says that has lost its job changes nothing.
#[tokio::test]
async fn a_stale_worker_completes_nothing() {
    // Long enough for a busy machine, where a worker may lose a lease that it would renew elsewhere.
    let ground = Ground::new().await.with("WORKER__LEASE", "2s").with("WORKER__MAX_ATTEMPTS", "100");
    let system = ground.start("master").await;
    let zip = package(&[("index.py", ECHO.as_bytes()), ("data", &vec![7; 6_000_000])]);
    let job_id = system.submit(json!({"package_data": STANDARD.encode(&zip[..])})).await;
    let stale = system.ground.process("worker").start().await;
    system.in_state(&job_id, &["building"]).await;
    stale.pause();
    let worker = system.ground.process("worker").start().await;
    let build = system.ended(&job_id).await;
    assert_eq!(build["status"], "completed", "{build:#}");
    assert!(build["attempt"].as_i64().unwrap() >= 2, "{build:#}");
    stale.resume();
    testkit::eventually(SOON, || async { stale.log().contains("another worker's now") }).await;
    assert_eq!(system.get(&format!("/builds/{job_id}")).await.body, build, "nothing has changed");
    let ends = build["history"].as_array().unwrap().iter().filter(|item| item["status"] == "completed").count();
    assert_eq!(ends, 1, "{build:#}");
    drop(worker);
}

#[tokio::test]
async fn at_sigterm_a_build_goes_on_for_a_while_and_is_then_given_back() {
    let ground = Ground::new().await.with("WORKER__LEASE", "60s").with("WORKER__DRAIN", "300ms");
    let system = ground.start("master").await;
    let proxy = testkit::ChaosProxy::start(system.ground.bucket.endpoint.trim_start_matches("http://")).await;
    let held =
        system.ground.process("worker").env("BUILD_SERVICE__OBJECTS__ENDPOINT", format!("http://{}", proxy.address()));
    let held = held.start().await;
    proxy.set(testkit::Network::Stall).await;
    let job_id = system.submit(json!({})).await;
    system.in_state(&job_id, &["building"]).await;
    assert!(held.terminate(Duration::from_secs(20)).await.success(), "{}", held.log());
    let worker = system.ground.process("worker").start().await;
    let build = system.ended(&job_id).await;
    assert_eq!((&build["status"], &build["attempt"]), (&json!("completed"), &json!(2)), "{build:#}");
    drop(worker);
}

#[tokio::test]
async fn the_database_refuses_what_must_not_happen() {
    let system = System::start().await;
    let job_id = system.submit(json!({})).await;
    system.ended(&job_id).await;
    let database = system.database().await;
    for statement in [
        "UPDATE build_jobs SET state = 'queued', artifact_digest = NULL, finished_at = NULL",
        "UPDATE build_jobs SET attempt = attempt - 1",
        "UPDATE build_jobs SET state = 'lost'",
        "INSERT INTO build_status (job_id, sequence, state, attempt) SELECT id, 9, 'failed', 1 FROM build_jobs",
        "INSERT INTO build_status (job_id, sequence, state, attempt) SELECT id, 9, 'queued', 1 FROM build_jobs",
        "UPDATE package_metadata SET package_bytes = 0",
        "UPDATE webhook_deliveries SET state = 'lost'; INSERT INTO build_outbox (job_id) VALUES (gen_random_uuid())",
    ] {
        assert!(sqlx::raw_sql(statement).execute(&database).await.is_err(), "{statement}");
    }
}
