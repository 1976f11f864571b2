//! SIGKILL of every part at random moments of many builds, calls and events.
//!
//! `BUILD_TEST_BUILDS`, `BUILD_TEST_CALLS` and `BUILD_TEST_EVENTS` say how many there are, `BUILD_TEST_KILLS` about how
//! often something dies meanwhile, and `BUILD_TEST_SEED` repeats a run's kills. `cargo test` lets a long run end.

mod answered;
mod events;
mod ruin;

use std::{collections::HashMap, env, str::FromStr, sync::Arc, time::Instant};

use answered::{Answered, Wanted};
use events::Events;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::Client;
use ruin::{Ruin, VICTIMS, Victim};
use serde_json::{Value, json};
use testkit::eventually;
use tokio::task::JoinSet;

use super::{PACKAGES, SECRET, archive};
use crate::mini_lambda::site::{PATIENCE, answer, client, programs};

const SUBMITTERS: usize = 4;
const CALLERS: usize = 4;
const SENDERS: usize = 4;
/// Functions that are called while everything dies; the rest are called in the end.
const CALLED: usize = 4;

/// Where the load goes, and what has come of it.
struct Site {
    client: Client,
    master: String,
    lambda_service: String,
    answered: Answered,
}

fn setting<T: FromStr>(name: &str, usual: T) -> T {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[tokio::test]
async fn kill_of_every_part_loses_no_build_no_execution_and_no_event() {
    let wanted = Wanted {
        builds: setting("BUILD_TEST_BUILDS", 40),
        calls: setting("BUILD_TEST_CALLS", 1_500),
        events: setting("BUILD_TEST_EVENTS", 400),
    };
    let kills = setting("BUILD_TEST_KILLS", 21);
    let seed = setting("BUILD_TEST_SEED", rand::random::<u32>().into());
    eprintln!("BUILD_TEST_SEED={seed}");
    let mut ruin = Ruin::start().await;
    let site = Arc::new(Site {
        client: client(),
        master: ruin.master.url(""),
        lambda_service: ruin.lambda_service.url(""),
        answered: Answered::new(wanted, CALLED),
    });
    // Those to be called are there before anything dies.
    for number in 0..CALLED {
        submit(&site, number).await;
    }
    let functions = site.answered.functions();
    for function in &functions {
        eventually(PATIENCE, || async { call(&site, function).await.is_some() }).await;
    }
    let events = Arc::new(Events::to_new_functions(&site.lambda_service).await);

    let begun = Instant::now();
    let mut load = JoinSet::new();
    for _ in 0..SUBMITTERS {
        let site = Arc::clone(&site);
        load.spawn(async move {
            while let Some(number) = site.answered.next_build().await {
                submit(&site, number).await;
            }
        });
    }
    for first in 0..CALLERS {
        let (site, functions) = (Arc::clone(&site), functions.clone());
        load.spawn(async move { call_until_enough(&site, &functions, first).await });
    }
    for _ in 0..SENDERS {
        let (site, events) = (Arc::clone(&site), Arc::clone(&events));
        load.spawn(async move {
            while let Some(number) = site.answered.next_event().await {
                events.send(number).await;
            }
        });
    }
    let (watching, build, lambda) = (Arc::clone(&site), ruin.pool("build"), ruin.pool("lambda"));
    load.spawn(async move { watching.answered.watch_ends(&build, &lambda).await });
    let killed = kill_meanwhile(&mut ruin, seed, kills, &site.answered, &mut load).await;
    eprintln!("{}; {:.0?}; killed: {killed:?}", site.answered, begun.elapsed());
    all_is_well(&ruin, &site, &events).await;
    eprintln!("everything had been looked at {:.0?} after the beginning", begun.elapsed());
}

/// Kills one part after the other, each after some progress, until the load is done and each has died once.
async fn kill_meanwhile(
    ruin: &mut Ruin,
    seed: u64,
    about: u32,
    answered: &Answered,
    load: &mut JoinSet<()>,
) -> HashMap<Victim, usize> {
    let (mut random, mut killed) = (StdRng::seed_from_u64(seed), HashMap::new());
    let mut order: Vec<Victim> = Vec::new();
    loop {
        let victim = order.pop().unwrap_or_else(|| {
            order.extend(VICTIMS);
            for place in (1..order.len()).rev() {
                order.swap(place, random.random_range(0..=place));
            }
            order.pop().expect("it was filled just now")
        });
        let enough = answered.progress() + random.random_range(0.0..2.0) / f64::from(about.max(1));
        // Progress, or there is none to come.
        let mut is_over = false;
        eventually(PATIENCE, || {
            while load.try_join_next().map(|ended| ended.expect("no part of the load panics")).is_some() {}
            is_over = load.is_empty();
            std::future::ready(is_over || answered.progress() >= enough)
        })
        .await;
        if is_over && killed.len() == VICTIMS.len() {
            return killed;
        }
        ruin.kill(victim, random.random_range(0..2)).await;
        *killed.entry(victim).or_default() += 1;
    }
}

/// Submits a package, under a key of its own and again until it is accepted.
async fn submit(site: &Site, number: usize) {
    let (runtime, handler, files) = PACKAGES[number % PACKAGES.len()];
    let body = json!({"name": format!("built-{number}"), "runtime": runtime, "handler": handler, "package_data": archive(files)});
    eventually(PATIENCE, || async {
        let request =
            site.client.post(format!("{}/functions", site.master)).header("idempotency-key", number.to_string());
        let Some((202, body)) = tried(request.json(&body)).await else { return false };
        let [job, function] = ["job_id", "function_id"].map(|field| body[field].as_str().expect("an id").to_owned());
        site.answered.build(job, function);
        true
    })
    .await;
}

/// Calls functions in turn until all callers together have been answered so often as is wanted.
async fn call_until_enough(site: &Site, functions: &[String], first: usize) {
    for function in functions.iter().cycle().skip(first) {
        if site.answered.has_enough_calls() {
            return;
        }
        if let Some(execution) = call(site, function).await {
            site.answered.execution(execution);
        } else {
            site.answered.failed_call();
            // Not at full speed against what is not there.
            eventually(PATIENCE, || async {
                let ready = tried(site.client.get(format!("{}/readyz", site.lambda_service))).await;
                ready.is_some_and(|(status, _)| status == 200)
            })
            .await;
        }
    }
}

/// The execution of a call that was answered as it must be.
async fn call(site: &Site, function: &str) -> Option<String> {
    let url = format!("{}/api/v1/functions/{function}/invoke", site.lambda_service);
    let (status, said) = tried(site.client.post(url).json(&json!({"name": "Ada"}))).await?;
    if status != 200 || said["status"] != "success" {
        return None;
    }
    assert_eq!(said["output"], "hello Ada", "{said}");
    said["execution_id"].as_str().map(str::to_owned)
}

async fn tried(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, serde_json::from_str(&response.text().await.ok()?).unwrap_or_default()))
}

async fn all_is_well(ruin: &Ruin, site: &Site, events: &Events) {
    for process in [&ruin.master, &ruin.lambda_service, &ruin.workers[0], &ruin.workers[1]] {
        process.ready().await;
    }
    each_job_has_ended_once(ruin, site).await;
    // Each is a function that can be called.
    for function in &site.answered.functions() {
        eventually(PATIENCE, || async {
            let Some(execution) = call(site, function).await else { return false };
            site.answered.execution(execution);
            true
        })
        .await;
    }
    let (status, listed) = answer(site.client.get(format!("{}/builds?status=completed&limit=1", site.master))).await;
    assert_eq!((status, listed["builds"].as_array().map(Vec::len)), (200, Some(1)));
    each_answered_execution_is_recorded(ruin, site).await;
    events.each_has_ended_once(&ruin.pool("lambda")).await;
    // Redis is used again.
    eventually(PATIENCE, || async {
        let metrics = site.client.get(format!("{}/metrics", site.lambda_service)).send().await.expect("it runs");
        metrics.text().await.expect("a whole answer").lines().any(|line| line == "lambda_function_cache_up 1")
    })
    .await;
}

async fn each_job_has_ended_once(ruin: &Ruin, site: &Site) {
    let ends = "SELECT count(*) FILTER (WHERE j.state = 'completed' AND s.ends = 1 AND s.rows = j.sequence), count(*) \
        FROM build_service.build_jobs j LEFT JOIN (SELECT job_id, count(*) AS rows, \
        count(*) FILTER (WHERE state IN ('completed', 'failed', 'cancelled')) AS ends \
        FROM build_service.build_status GROUP BY job_id) s ON s.job_id = j.id";
    let (ended, jobs): (i64, i64) = sqlx::query_as(ends).fetch_one(&ruin.pool("build")).await.expect("it runs");
    let accepted = site.answered.functions().len();
    assert_eq!((ended, jobs, accepted), (jobs, site.answered.wanted.builds as i64, site.answered.wanted.builds));
}

async fn each_answered_execution_is_recorded(ruin: &Ruin, site: &Site) {
    let executions: Vec<uuid::Uuid> = site.answered.executions().iter().map(|id| id.parse().expect("an id")).collect();
    let lambda = ruin.pool("lambda");
    eventually(PATIENCE, || async {
        let statement = "SELECT count(*) FROM lambda_service.invocations WHERE id = ANY ($1)";
        let count: i64 = sqlx::query_scalar(statement).bind(&executions).fetch_one(&lambda).await.expect("it runs");
        count == executions.len() as i64
    })
    .await;
}
