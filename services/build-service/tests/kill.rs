//! SIGKILL at any moment: every job ends, and ends once.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use serde_json::json;
use sqlx::Row as _;
use testkit::eventually;

use crate::system::{Ground, SECRET, SOON, System, function};

const BUILDS: usize = 24;

/// Waits until every job has ended; each did so once, by a history without gaps. Answers their final states.
pub async fn jobs_that_ended_once(system: &System) -> HashMap<String, String> {
    let database = system.database().await;
    eventually(SOON, || async {
        let open = sqlx::query("SELECT count(*) FROM build_jobs WHERE state IN ('queued', 'building')");
        open.fetch_one(&database).await.is_ok_and(|row| row.get::<i64, _>(0) == 0)
    })
    .await;
    let rows = sqlx::query(
        "SELECT j.id::text AS id, j.state, j.sequence, count(*) AS rows, max(s.sequence) AS last, \
         count(*) FILTER (WHERE s.state IN ('completed', 'failed', 'cancelled')) AS ends \
         FROM build_jobs j JOIN build_status s ON s.job_id = j.id GROUP BY j.id",
    )
    .fetch_all(&database)
    .await
    .unwrap();
    for row in &rows {
        let (sequence, count): (i32, i64) = (row.get("sequence"), row.get("rows"));
        assert_eq!((i64::from(sequence), row.get::<i32, _>("last"), row.get::<i64, _>("ends")), (count, sequence, 1));
    }
    rows.iter().map(|row| (row.get("id"), row.get("state"))).collect()
}

/// The same, and all that were accepted were completed.
pub async fn every_job_ends_once(system: &System, accepted: &HashSet<String>) {
    let ended = jobs_that_ended_once(system).await;
    assert!(ended.values().all(|state| state == "completed"), "{ended:?}");
    assert!(accepted.iter().all(|id| ended.contains_key(id)), "an accepted build is gone");
}

#[tokio::test]
async fn kill_of_masters_and_workers_loses_no_build_and_ends_none_twice() {
    let receiver = testkit::StubUpstream::start(|_| testkit::Answer::new(204, "")).await;
    let ground = Ground::new()
        .await
        .with("WORKER__LEASE", "1s")
        .with("WORKER__MAX_ATTEMPTS", "100")
        .with("WEBHOOKS__RETRY_FIRST", "100ms")
        .with("WEBHOOKS__TIMEOUT", "500ms")
        .with("WEBHOOKS__SECRET", SECRET)
        .file("webhooks.allow = [\"127.0.0.1\"]");
    let mut system = ground.start("master").await;
    let mut workers =
        vec![system.ground.process("worker").start().await, system.ground.process("worker").start().await];
    let mut accepted = HashSet::new();
    for round in 0..BUILDS {
        let body = function(json!({"webhook_url": receiver.url("/hook")}));
        let key = format!("key-{round}");
        // As a client does: again with the same key until there is an answer.
        let killing = round % 5 == 4;
        let request =
            || system.request(reqwest::Method::POST, "/functions").header("idempotency-key", &key).json(&body);
        let mut answer = if killing {
            // A moment of the request that differs from round to round.
            let patience = std::time::Duration::from_micros(500 * round as u64);
            let answer = tokio::time::timeout(patience, system.try_send(request())).await;
            system.service.kill().await;
            system.service.start_again().await;
            answer.ok().and_then(Result::ok)
        } else {
            None
        };
        if answer.is_none() {
            answer = Some(
                system
                    .try_send(
                        system.request(reqwest::Method::POST, "/functions").header("idempotency-key", &key).json(&body),
                    )
                    .await
                    .unwrap(),
            );
        }
        let answer = answer.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        assert!(accepted.insert(answer.body["job_id"].as_str().unwrap().to_owned()), "two keys, one job");
        if round % 4 == 3 {
            let worker = &mut workers[round / 4 % 2];
            worker.kill().await;
            worker.start_again().await;
        }
    }
    every_job_ends_once(&system, &accepted).await;
    let database = system.database().await;
    let jobs: i64 = sqlx::query("SELECT count(*) FROM build_jobs").fetch_one(&database).await.unwrap().get(0);
    assert_eq!(jobs, BUILDS as i64, "one key is one job, also over a kill");
    // Each transition reaches its receiver, under one id however often.
    eventually(SOON, || async {
        let waiting = sqlx::query("SELECT count(*) FROM webhook_deliveries WHERE state <> 'delivered'");
        waiting.fetch_one(&database).await.is_ok_and(|row| row.get::<i64, _>(0) == 0)
    })
    .await;
    let told: HashSet<String> =
        receiver.requests().iter().map(|request| request.headers["webhook-id"].to_str().unwrap().to_owned()).collect();
    let deliveries: i64 =
        sqlx::query("SELECT count(*) FROM webhook_deliveries").fetch_one(&database).await.unwrap().get(0);
    assert_eq!(told.len() as i64, deliveries);

    for worker in &workers {
        assert!(worker.terminate(SOON).await.success());
    }
    assert!(system.service.terminate(SOON).await.success());
    let left: Vec<PathBuf> =
        std::fs::read_dir(system.ground.work.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let inside = |path: &PathBuf| std::fs::read_dir(path).map(|entries| entries.flatten().collect::<Vec<_>>());
    let contents: Vec<_> = left.iter().map(inside).collect();
    assert_eq!(left.len(), 0, "nothing is left of those that were killed: {left:?}: {contents:?}");
}
