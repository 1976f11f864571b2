//! Cron triggers that fire.

use serde_json::{Value, json};
use testkit::eventually;

use crate::system::{DEADLINE, System, spawn};

const NOTE: &str =
    "def handler(event, context):\n    print(event['trigger_name'], event['scheduled_at'])\n    return event\n";

async fn trigger(system: &System, function: &str, expression: &str, enabled: bool) {
    let body = json!({"name": "t", "cron_expression": expression, "enabled": enabled});
    let created = system.post(&format!("/api/v1/functions/{function}/triggers/cron"), &body).await;
    assert_eq!(created.status, 202, "{created:?}");
}

/// Makes every trigger due since long ago.
async fn make_due(system: &System) {
    sqlx::query("update cron_triggers set next_run_at = timestamp '2020-01-01 00:00:00'")
        .execute(&system.database.pool().await)
        .await
        .expect("the monolith's table");
}

#[tokio::test]
async fn a_trigger_fires_on_time_and_again() {
    let system = System::start().await;
    let (function, other) = (system.python("f", NOTE).await, system.python("g", NOTE).await);
    trigger(&system, &function, "* * * * * *", true).await;
    trigger(&system, &other, "* * * * * *", false).await;
    let events = system.audit(&function, 2).await;
    assert!(events.iter().all(|event| event["event_type"] == "cron" && event["status"] == "success"), "{events:#?}");
    let listed = system.get(&format!("/api/v1/functions/{function}/triggers/cron")).await.body;
    assert!(listed[0]["last_run_at"].as_str() < listed[0]["next_run_at"].as_str(), "{listed}");
    assert_eq!(system.executions(&other).await, 0, "a disabled trigger does not fire");
}

#[tokio::test]
async fn missed_runs_are_made_up_for_by_one() {
    let system = System::start().await;
    let function = system.python("f", NOTE).await;
    trigger(&system, &function, "0 0 0 1 1 *", true).await;
    make_due(&system).await;
    let events = system.audit(&function, 1).await;
    let listed = system.get(&format!("/api/v1/functions/{function}/triggers/cron")).await.body;
    let next = listed[0]["next_run_at"].as_str().expect("it fires again").to_owned();
    assert!(next.ends_with("-01-01T00:00:00Z") && next.as_str() > "2026", "the next is in the future: {next}");
    assert_eq!(events.len(), 1);
}

#[tokio::test]
async fn replicas_never_fire_one_twice() {
    let system = System::start().await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(spawn(&system.database.url, &system.bucket).start().await);
    }
    let function = system.python("f", "handler = lambda event, context: None").await;
    for _ in 0..10 {
        trigger(&system, &function, "0 0 0 1 1 *", true).await;
    }
    make_due(&system).await;
    let events = system.audit(&function, 10).await;
    // Nothing is due any more, so nothing more can come.
    assert_eq!((events.len(), system.executions(&function).await), (10, 10));
}

#[tokio::test]
async fn a_trigger_that_cannot_be_read_is_taken_out_and_holds_nobody_up() {
    let system = System::start().await;
    let function = system.python("f", NOTE).await;
    trigger(&system, &function, "0 0 0 1 1 *", true).await;
    sqlx::query("update cron_triggers set cron_expression = 'nonsense', name = 'broken'")
        .execute(&system.database.pool().await)
        .await
        .expect("the monolith's table");
    trigger(&system, &function, "0 0 0 1 1 *", true).await;
    make_due(&system).await;
    system.audit(&function, 1).await;
    let listed = system.get(&format!("/api/v1/functions/{function}/triggers/cron")).await.body;
    let next: Vec<(&Value, bool)> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|trigger| (&trigger["name"], trigger["next_run_at"].is_null()))
        .collect();
    assert_eq!(next, [(&json!("t"), false), (&json!("broken"), true)]);
}

#[tokio::test]
async fn a_paused_scheduler_fires_nothing_and_its_successor_makes_up_for_it() {
    let mut system = System::start_with(|spawn| spawn.env("LEGACY__SCHEDULER__ENABLED", "false")).await;
    let function = system.python("f", NOTE).await;
    trigger(&system, &function, "0 0 0 1 1 *", true).await;
    make_due(&system).await;
    let log = system.legacy.log();
    assert!(log.contains("the scheduler is paused"), "{log}");
    let active = spawn(&system.database.url, &system.bucket).start().await;
    let paused = std::mem::replace(&mut system.legacy, active);
    assert_eq!(system.audit(&function, 1).await.len(), 1);
    assert!(!paused.log().contains("cron trigger fired"), "{}", paused.log());
    eventually(DEADLINE, || async { system.legacy.log().contains("cron trigger fired") }).await;
}
