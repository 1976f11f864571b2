//! What the build service tells becomes functions: once, in whatever order it comes.

use chrono::{SubsecRound as _, Utc};
use domain::{BuildEvent, BuildReport, BuildState, BuiltFunction, FunctionId, JobId, Runtime};
use reqwest::Method;
use serde_json::json;
use standardwebhooks::Webhook;

use crate::system::{Answer, ECHO, SOON, Setup, System, code};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn completed(function_id: FunctionId, name: &str, version: i64, code_key: &str) -> BuildReport {
    BuildReport {
        job_id: JobId::generate(),
        function_id,
        version,
        sequence: 3,
        status: BuildState::Completed,
        attempt: 1,
        error: None,
        artifact_digest: Some(code_key.to_owned()),
        artifact_key: Some(code_key.to_owned()),
        function: Some(BuiltFunction {
            name: name.to_owned(),
            runtime: Runtime::Python311.into(),
            handler: "handler".to_owned(),
            timeout: 5,
            memory: 128,
            environment: [("VERSION".to_owned(), version.to_string())].into(),
            created_at: Utc::now().trunc_subsecs(6),
            warm: false,
        }),
    }
}

async fn tell(system: &System, report: &BuildReport) -> Answer {
    tell_signed(system, report, SECRET, Utc::now().timestamp()).await
}

async fn tell_signed(system: &System, report: &BuildReport, secret: &str, timestamp: i64) -> Answer {
    let body = serde_json::to_string(&BuildEvent::new(Utc::now(), report.clone())).unwrap();
    let signature = Webhook::new(secret).unwrap().sign("m", timestamp, body.as_bytes()).unwrap();
    let request = system
        .request(Method::POST, &format!("/webhooks/build-status/{}", report.job_id))
        .header("webhook-id", "m")
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature);
    system.finish(request.body(body)).await
}

#[tokio::test]
async fn a_completed_build_is_a_function_however_often_and_in_whatever_order_it_is_told() {
    let system = Setup::default().with("BUILDS__SECRET", SECRET).start().await;
    let donor = system.create("python3.11", ECHO).await;
    let database = system.database().await;
    let code_key: String = sqlx::query_scalar("SELECT code_key FROM functions").fetch_one(&database).await.unwrap();
    let (id, path) = (FunctionId::generate(), |id| format!("/functions/{id}"));

    let first = completed(id, "built", 1, &code_key);
    let queued = BuildReport { status: BuildState::Queued, function: None, artifact_key: None, ..first.clone() };
    assert_eq!(tell(&system, &queued).await.status, 204);
    assert_eq!(system.get(&path(id)).await.status, 404, "only a completed build is a function");
    for _ in 0..2 {
        assert_eq!(tell(&system, &first).await.status, 204);
    }
    assert_eq!(system.invoke(&id.to_string(), &json!([1])).await["output"], json!([1]));

    let third = completed(id, "renamed", 3, &code_key);
    let second = completed(id, "late", 2, &code_key);
    let answers = futures::future::join(tell(&system, &third), tell(&system, &second)).await;
    assert_eq!((answers.0.status, answers.1.status), (204, 204));
    assert_eq!(tell(&system, &second).await.status, 204);
    let shown = system.get(&path(id)).await.body;
    assert_eq!((&shown["name"], &shown["environment"]), (&json!("renamed"), &json!({"VERSION": "3"})));

    // What was deleted stays deleted until it is built again.
    assert_eq!(system.send(Method::DELETE, &format!("/api/v1/functions/{id}"), "").await.status, 204);
    assert_eq!(tell(&system, &third).await.status, 204);
    assert_eq!(system.get(&path(id)).await.status, 404);
    assert_eq!(tell(&system, &completed(id, "again", 4, &code_key)).await.status, 204);
    assert_eq!(system.get(&path(id)).await.body["name"], "again");

    let name = system.get(&path(donor.parse().unwrap())).await.body["name"].as_str().unwrap().to_owned();
    let taken = completed(FunctionId::generate(), &name, 1, &code_key);
    let refused = tell(&system, &taken).await;
    assert_eq!((refused.status, code(&refused.body)), (409, Some("function_exists")));
    assert_eq!(system.get(&path(taken.function_id)).await.status, 404);
}

/// A first build is registered before it has ended; when it then fails, whichever message comes first, there is
/// no function.
#[tokio::test]
async fn a_first_build_that_fails_takes_its_function_back() {
    let system = Setup::default().with("BUILDS__SECRET", SECRET).start().await;
    system.create("python3.11", ECHO).await;
    let database = system.database().await;
    let code_key: String = sqlx::query_scalar("SELECT code_key FROM functions").fetch_one(&database).await.unwrap();
    let failed = |report: &BuildReport| BuildReport { status: BuildState::Failed, ..report.clone() };
    let path = |report: &BuildReport| format!("/functions/{}", report.function_id);

    let first = completed(FunctionId::generate(), "first", 1, &code_key);
    assert_eq!(tell(&system, &first).await.status, 204);
    let shown = system.get(&path(&first)).await.body;
    let asked_for = first.function.as_ref().unwrap().created_at;
    assert_eq!(shown["created_at"].as_str().unwrap().parse::<chrono::DateTime<Utc>>().unwrap(), asked_for);
    assert_eq!(system.invoke(&first.function_id.to_string(), &json!(1)).await["output"], 1);
    let other_build = BuildReport { job_id: JobId::generate(), ..failed(&first) };
    assert_eq!(tell(&system, &other_build).await.status, 204);
    assert_eq!(system.get(&path(&first)).await.status, 200, "another build's failure is no business of it");
    for _ in 0..2 {
        assert_eq!(tell(&system, &failed(&first)).await.status, 204);
        assert_eq!(system.get(&path(&first)).await.status, 404);
    }
    assert_eq!(tell(&system, &first).await.status, 204);
    assert_eq!(system.get(&path(&first)).await.status, 404, "it comes too late");
    let second = completed(first.function_id, "second", 2, &code_key);
    assert_eq!(tell(&system, &second).await.status, 204);
    assert_eq!(tell(&system, &failed(&first)).await.status, 204);
    assert_eq!(tell(&system, &BuildReport { version: 3, ..failed(&second) }).await.status, 204);
    assert_eq!(system.get(&path(&first)).await.body["name"], "second", "a later build's failure leaves what there is");

    let never = completed(FunctionId::generate(), "never", 1, &code_key);
    assert_eq!(tell(&system, &BuildReport { status: BuildState::Cancelled, ..never.clone() }).await.status, 204);
    assert_eq!(tell(&system, &never).await.status, 204);
    assert_eq!(system.get(&path(&never)).await.status, 404);
}

#[tokio::test]
async fn a_function_is_started_at_once_when_its_client_asked_for_that() {
    let system = Setup::default().with("BUILDS__SECRET", SECRET).start().await;
    system.create("python3.11", ECHO).await;
    let database = system.database().await;
    let code_key: String = sqlx::query_scalar("SELECT code_key FROM functions").fetch_one(&database).await.unwrap();
    let mut report = completed(FunctionId::generate(), "warm", 1, &code_key);
    report.function.as_mut().unwrap().warm = true;
    for _ in 0..2 {
        assert_eq!(tell(&system, &report).await.status, 204);
    }
    testkit::eventually(SOON, || async { system.metric("lambda_pool_workers{state=\"idle\"}").await == 1.0 }).await;
    system.invoke(&report.function_id.to_string(), &json!(1)).await;
    let executions = system.get(&format!("/api/v1/functions/{}/executions", report.function_id)).await.body;
    assert_eq!(executions["executions"][0]["IsWarmStart"], true, "{executions}");
}

#[tokio::test]
async fn only_the_build_service_is_believed() {
    let system = Setup::default().with("BUILDS__SECRET", SECRET).start().await;
    let report = completed(FunctionId::generate(), "f", 1, "k");
    let now = Utc::now().timestamp();
    for (secret, timestamp) in [
        ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", now),
        (SECRET, now - 3_600),
        (SECRET, now + 3_600),
        (SECRET, i64::MIN),
        (SECRET, i64::MAX),
    ] {
        assert_eq!(tell_signed(&system, &report, secret, timestamp).await.status, 401, "{timestamp}");
    }
    let path = format!("/webhooks/build-status/{}", report.job_id);
    assert_eq!(system.send(Method::POST, &path, "{}").await.status, 401, "not signed at all");
    let incomplete = BuildReport { function: None, ..report.clone() };
    assert_eq!(tell(&system, &incomplete).await.status, 400);
    assert_eq!(system.get("/functions").await.body, json!([]));

    let without_secret = System::start().await;
    assert_eq!(tell(&without_secret, &report).await.status, 404);
}
