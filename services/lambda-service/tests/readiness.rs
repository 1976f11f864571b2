//! Services start in any order, and say what is missing.

use serde_json::json;
use testkit::{ChaosProxy, Network};

use crate::system::{ECHO, SOON, Setup};

#[tokio::test]
async fn it_starts_before_its_database_and_says_so() {
    let database = testkit::postgres().await;
    let proxy = ChaosProxy::start(database.address()).await;
    proxy.set(Network::Refuse).await;
    let url = database.url_through(&proxy.address().to_string());
    let system = Setup::default().database(database).database_url(url).spawn().await;
    testkit::eventually(SOON, || async {
        let Ok(ready) = system.try_send(reqwest::Method::GET, "/readyz", "").await else { return false };
        ready.status == 503 && ready.body["missing"].get("database").is_some()
    })
    .await;
    let early = system.post("/api/v1/functions", &json!({"name": "f", "runtime": "python3.11", "code": ECHO})).await;
    assert_eq!((early.status, early.body["error"].as_str()), (503, Some("service_unavailable")));
    assert_eq!(early.retry_after.as_deref(), Some("1"));
    assert_eq!(system.get("/livez").await.status, 200);
    assert_eq!(system.get("/health").await.body, json!({"status": "healthy"}));

    proxy.set(Network::Pass).await;
    system.service.ready().await;
    let id = system.create("python3.11", ECHO).await;
    assert_eq!(system.invoke(&id, &json!([1])).await["output"], json!([1]));
}

#[tokio::test]
async fn without_its_views_it_waits_for_them() {
    let system = Setup::default().with("DATABASE__MIGRATE", "false").spawn().await;
    testkit::eventually(SOON, || async {
        let Ok(ready) = system.try_send(reqwest::Method::GET, "/readyz", "").await else { return false };
        ready.body["missing"]["database"].as_str().is_some_and(|reason| reason.contains("does not exist"))
    })
    .await;
    let functions = include_str!("../migrations/0001_functions_and_invocations.sql");
    let events = include_str!("../migrations/0003_events.sql");
    let database = system.database().await;
    sqlx::raw_sql("CREATE SCHEMA lambda_service").execute(&database).await.unwrap();
    for what_the_views_show in [functions, events] {
        sqlx::raw_sql(what_the_views_show).execute(&database).await.unwrap();
    }
    system.service.ready().await;
}

#[tokio::test]
async fn two_processes_cannot_share_a_journal() {
    let first = Setup::default().start().await;
    let second = Setup::default().with("RECORDER__JOURNAL", first.journal().to_str().unwrap()).spawn().await;
    let status = second.service.exited(SOON).await;
    assert_eq!(status.code(), Some(1));
    assert!(second.service.log().contains("in use by another process"), "{}", second.service.log());
}
