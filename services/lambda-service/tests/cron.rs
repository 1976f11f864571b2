//! Cron triggers. The same functions run on views over the monolith's tables in `shared_stage`.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    events::{operator, with_fast_retries},
    system::{ECHO, SOON, Setup, System},
};

/// Once a year.
const RARELY: &str = "0 0 0 1 1 *";
const UNKNOWN: &str = "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f";

async fn system() -> System {
    with_fast_retries(Setup::default()).start().await
}

#[tokio::test]
async fn its_own_tables_carry_triggers() {
    let system = system().await;
    the_triggers_of_the_contract(&system).await;
    a_trigger_fires_on_time_and_again(&system).await;
    missed_runs_by_policy(&system).await;
    a_pause_holds_everything(&system).await;
}

/// Adds a trigger; its id.
async fn trigger(system: &System, function: &str, body: &Value) -> String {
    let path = format!("/api/v1/functions/{function}/triggers/cron");
    let created = system.post(&path, body).await;
    assert_eq!((created.status, created.body), (202, json!({"status": "webhook received"})), "the quirk");
    system.get(&path).await.body[0]["id"].as_str().unwrap().to_owned()
}

pub async fn the_triggers_of_the_contract(system: &System) {
    let id = system.create("python3.11", ECHO).await;
    let path = format!("/api/v1/functions/{id}/triggers/cron");
    assert_eq!(system.get(&path).await.body, Value::Null);
    let refused = [
        (&path, "nonsense".to_owned(), 400),
        (&path, json!({"cron_expression": 7}).to_string(), 400),
        (&path, json!({"cron_expression": "* * * * *"}).to_string(), 500),
        (&path, json!({"cron_expression": RARELY, "timezone": "Mars/Phobos"}).to_string(), 500),
        (&path, json!({"cron_expression": RARELY, "missed_runs": "all:0"}).to_string(), 400),
        (&path, json!({"cron_expression": RARELY, "name": "n".repeat(256)}).to_string(), 500),
        (&format!("/api/v1/functions/{UNKNOWN}/triggers/cron"), json!({"cron_expression": RARELY}).to_string(), 500),
        (&"/api/v1/functions/nope/triggers/cron".to_owned(), json!({"cron_expression": RARELY}).to_string(), 500),
    ];
    for (path, body, status) in refused {
        let answer = system.send(Method::POST, path, body.clone()).await;
        assert_eq!((answer.status, answer.body.as_object().map(serde_json::Map::len)), (status, Some(1)), "{body}");
    }
    let one = trigger(system, &id, &json!({"name": "n", "cron_expression": RARELY, "timezone": "Europe/Berlin"})).await;
    let listed = system.get(&path).await.body;
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert!(listed[0]["next_run_at"].as_str().unwrap().ends_with("-12-31T23:00:00Z"), "{listed}");

    let shown = format!("/triggers/cron/{one}");
    let patch = |body: Value| system.send(Method::PATCH, &shown, body.to_string());
    assert_eq!(system.get(&shown).await.body["missed_runs"], Value::Null);
    let off = patch(json!({"enabled": false, "missed_runs": "skip"})).await;
    assert_eq!((off.status, &off.body["enabled"], &off.body["missed_runs"]), (200, &json!(false), &json!("skip")));
    assert_eq!(patch(json!({})).await.body["missed_runs"], "skip", "what is left out stays");
    let on = patch(json!({"enabled": true, "missed_runs": null})).await;
    assert_eq!((&on.body["enabled"], &on.body["missed_runs"]), (&json!(true), &Value::Null));
    assert_eq!(on.body["next_run_at"], listed[0]["next_run_at"]);
    for body in [json!({"missed_runs": "never"}), json!({"cron_expression": RARELY}), json!(7)] {
        assert_eq!(patch(body.clone()).await.status, 400, "{body}");
    }
    assert_eq!(system.get(&format!("/triggers/cron/{UNKNOWN}")).await.status, 404);

    let delete = format!("/api/v1/triggers/cron/{one}");
    assert_eq!(system.send(Method::DELETE, &delete, "").await.status, 204);
    for path in [delete.as_str(), "/api/v1/triggers/cron/nope"] {
        assert_eq!(system.send(Method::DELETE, path, "").await.status, 500);
    }
}

pub async fn a_trigger_fires_on_time_and_again(system: &System) {
    let id = system.create("python3.11", ECHO).await;
    let one = trigger(system, &id, &json!({"name": "n", "cron_expression": "* * * * * *"})).await;
    let audit = system.audit(&id, 3).await;
    assert!(audit.iter().all(|item| item["event_type"] == "cron" && item["status"] == "success"), "{audit:?}");
    let database = system.database().await;
    let late: Vec<f64> = sqlx::query_scalar(
        "SELECT EXTRACT(EPOCH FROM fired_at - scheduled_at)::double precision FROM cron_firings \
         WHERE trigger_id = $1::uuid ORDER BY scheduled_at",
    )
    .bind(&one)
    .fetch_all(&database)
    .await
    .unwrap();
    assert!(late.len() >= 3 && late.iter().all(|seconds| *seconds >= 0.0), "never before it is due: {late:?}");
    assert_eq!(system.send(Method::DELETE, &format!("/api/v1/triggers/cron/{one}"), "").await.status, 204);
}

/// Makes a trigger due since then.
async fn make_due(system: &System, trigger: &str, since: DateTime<Utc>) {
    let database = system.database().await;
    let done = sqlx::query("UPDATE cron_jobs SET next_run_at = $2 WHERE id = $1::uuid").bind(trigger).bind(since);
    assert_eq!(done.execute(&database).await.unwrap().rows_affected(), 1);
}

/// The times for which a trigger was fired.
async fn fired(system: &System, trigger: &str) -> Vec<DateTime<Utc>> {
    let database = system.database().await;
    sqlx::query_scalar("SELECT scheduled_at FROM cron_firings WHERE trigger_id = $1::uuid ORDER BY scheduled_at")
        .bind(trigger)
        .fetch_all(&database)
        .await
        .unwrap()
}

async fn is_moved_on(system: &System, trigger: &str) -> bool {
    let shown = system.get(&format!("/triggers/cron/{trigger}")).await.body;
    shown["next_run_at"].as_str().is_none_or(|at| at.parse::<DateTime<Utc>>().unwrap() > Utc::now())
}

pub async fn missed_runs_by_policy(system: &System) {
    let id = system.create("python3.11", ECHO).await;
    let hour = "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap();
    let mut triggers = Vec::new();
    // Due since the first hour of 2026: many hours were missed.
    for (policy, count) in [(json!(null), 1), (json!("skip"), 0), (json!("all:5"), 5)] {
        let body = json!({"name": "n", "cron_expression": "0 0 * * * *", "enabled": false, "missed_runs": policy});
        let one = trigger(system, &id, &body).await;
        make_due(system, &one, hour).await;
        triggers.push((one, count));
    }
    let database = system.database().await;
    sqlx::query("UPDATE cron_jobs SET enabled = true WHERE function_id = $1::uuid")
        .bind(&id)
        .execute(&database)
        .await
        .unwrap();
    for (one, _) in &triggers {
        eventually(SOON, || is_moved_on(system, one)).await;
    }
    let [once, skip, all] = [&triggers[0].0, &triggers[1].0, &triggers[2].0];
    assert_eq!(fired(system, once).await, [hour], "one stands for all, and says for when it was due");
    // Unless this hour began within the tolerance of a minute.
    let skipped = fired(system, skip).await;
    assert!(skipped.iter().all(|at| Utc::now() - at < TimeDelta::minutes(2)), "{skipped:?}");
    let latest = fired(system, all).await;
    assert_eq!(latest.len(), 5);
    assert!(latest.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::hours(1)), "{latest:?}");
    assert!(Utc::now() - latest[4] < TimeDelta::hours(1));
    system.audit(&id, 6).await;
    assert_eq!(system.send(Method::DELETE, &format!("/api/v1/functions/{id}"), "").await.status, 204);
}

/// What a cutover relies on: once the pause is answered nothing fires, and nothing that was due is lost.
pub async fn a_pause_holds_everything(system: &System) {
    let id = system.create("python3.11", ECHO).await;
    let body = json!({"name": "n", "cron_expression": "* * * * * *", "missed_runs": "all:1000"});
    let one = trigger(system, &id, &body).await;
    eventually(SOON, || async { !fired(system, &one).await.is_empty() }).await;
    assert_eq!(operator(system, "cron/pause").await.status, 200);
    let until = fired(system, &one).await;
    // The next comes due, and nobody fires it.
    eventually(SOON, || async { !is_moved_on(system, &one).await }).await;
    eventually(SOON, || async {
        let seconds = Utc::now() - until.last().unwrap();
        seconds > TimeDelta::milliseconds(2500)
    })
    .await;
    assert_eq!(fired(system, &one).await, until);
    assert_eq!(operator(system, "cron/resume").await.status, 200);
    eventually(SOON, || async { fired(system, &one).await.len() >= until.len() + 3 }).await;
    operator(system, "cron/pause").await;
    let all = fired(system, &one).await;
    assert!(all.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::seconds(1)), "no second is lost: {all:?}");
    system.audit(&id, all.len()).await;
    operator(system, "cron/resume").await;
    assert_eq!(system.send(Method::DELETE, &format!("/api/v1/functions/{id}"), "").await.status, 204);
}

#[tokio::test]
async fn a_schedule_that_begins_paused_stays_so_until_it_is_resumed() {
    let mut system = with_fast_retries(Setup::default()).with("CRON__INITIALLY", "paused").start().await;
    let id = system.create("python3.11", ECHO).await;
    let one = trigger(&system, &id, &json!({"name": "n", "cron_expression": RARELY})).await;
    make_due(&system, &one, "2026-01-01T00:00:00Z".parse().unwrap()).await;
    system.service.kill().await;
    system.service.start_again().await;
    let state = system.request(Method::GET, "/admin/cron").bearer_auth("the operators' token");
    assert_eq!(system.finish(state).await.body["paused"], true);
    assert!(fired(&system, &one).await.is_empty());
    operator(&system, "cron/resume").await;
    system.audit(&id, 1).await;
    // The setting is about the beginning: what an operator said is kept over a restart.
    system.service.kill().await;
    system.service.start_again().await;
    let state = system.request(Method::GET, "/admin/cron").bearer_auth("the operators' token");
    assert_eq!(system.finish(state).await.body["paused"], false);
}

#[tokio::test]
async fn a_trigger_that_cannot_be_read_is_taken_out_and_holds_nobody_up() {
    let system = system().await;
    let id = system.create("python3.11", ECHO).await;
    let broken = trigger(&system, &id, &json!({"name": "broken", "cron_expression": RARELY})).await;
    let database = system.database().await;
    sqlx::query("UPDATE cron_jobs SET cron_expression = 'nonsense'").execute(&database).await.unwrap();
    let good = trigger(&system, &id, &json!({"name": "good", "cron_expression": RARELY})).await;
    for one in [&broken, &good] {
        make_due(&system, one, "2026-01-01T00:00:00Z".parse().unwrap()).await;
    }
    system.audit(&id, 1).await;
    assert_eq!(fired(&system, &good).await.len(), 1);
    let shown = system.get(&format!("/triggers/cron/{broken}")).await.body;
    assert_eq!((&shown["next_run_at"], &shown["last_run_at"]), (&Value::Null, &Value::Null));
}

/// Three replicas, of which some are killed all the time: each second of each trigger is one event.
#[tokio::test]
async fn kill_of_replicas_fires_nothing_twice_and_loses_no_second() {
    let first = system().await;
    let mut second = with_fast_retries(Setup::default()).beside(&first).start().await;
    let mut third = with_fast_retries(Setup::default()).beside(&first).start().await;
    let id = first.create("python3.11", ECHO).await;
    let body = json!({"name": "n", "cron_expression": "* * * * * *", "missed_runs": "all:1000"});
    let mut triggers = Vec::new();
    for _ in 0..4 {
        triggers.push(trigger(&first, &id, &body).await);
    }
    for round in 0..4 {
        let replica = if round % 2 == 0 { &mut second } else { &mut third };
        let before = fired(&first, &triggers[0]).await.len();
        eventually(SOON, || async { fired(&first, &triggers[0]).await.len() > before }).await;
        replica.service.kill().await;
        replica.service.start_again().await;
    }
    operator(&first, "cron/pause").await;
    let mut firings = 0;
    for one in &triggers {
        let times = fired(&first, one).await;
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::seconds(1)), "{times:?}");
        firings += times.len();
    }
    let audit = first.audit(&id, firings).await;
    assert_eq!(audit.len(), firings, "one event for each firing");
    assert!(audit.iter().all(|item| item["status"] == "success"), "{audit:?}");
}
