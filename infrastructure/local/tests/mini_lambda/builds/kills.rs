//! SIGKILL of every part at random moments of many builds and calls.
//!
//! `BUILD_TEST_BUILDS` and `BUILD_TEST_CALLS` say how many there are, and `BUILD_TEST_SEED` repeats a run's kills.

use std::{
    collections::HashMap,
    env,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use testkit::{PrivatePostgres, PrivateRabbitMq, PrivateS3, eventually, process::Spawned};
use tokio::task::JoinSet;

use super::{PACKAGES, SECRET, archive};
use crate::mini_lambda::site::{PATIENCE, answer, client, programs};

const SUBMITTERS: usize = 4;
const CALLERS: usize = 4;
/// Functions that are called while everything dies; the rest are called in the end.
const CALLED: usize = 4;

/// Who may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Victim {
    Master,
    Worker,
    LambdaService,
    RabbitMq,
    Postgres,
    S3,
}

const VICTIMS: [Victim; 6] =
    [Victim::Worker, Victim::Master, Victim::S3, Victim::LambdaService, Victim::Postgres, Victim::RabbitMq];

/// Everything that runs.
struct Ruin {
    postgres: PrivatePostgres,
    rabbitmq: PrivateRabbitMq,
    s3: PrivateS3,
    master: Spawned,
    workers: [Spawned; 2],
    lambda_service: Spawned,
    _folder: tempfile::TempDir,
}

impl Ruin {
    async fn start() -> Self {
        let folder = super::passable_folder();
        let path = |name: &str| folder.path().join(name).to_str().expect("its name is text").to_owned();
        let (postgres, rabbitmq, s3) =
            tokio::join!(PrivatePostgres::start_durable(), PrivateRabbitMq::start(), PrivateS3::start());
        for database in ["build", "lambda"] {
            let mut admin = PgConnection::connect(&postgres.url("postgres")).await.expect("it runs");
            let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {database}"));
            sqlx::raw_sql(statement).execute(&mut admin).await.expect("a new database");
        }
        let program = |name: &str, prefix: &str, database: &str| {
            let setting = |key: &str| format!("{prefix}__{key}");
            Spawned::of(programs().join(name))
                .listen(setting("HTTP__BIND"))
                .env(setting("DATABASE__URL"), postgres.url(database))
                .env(setting("DATABASE__PROBE_INTERVAL"), "200ms")
                .env(setting("OBJECTS__ENDPOINT"), &s3.endpoint)
                .env(setting("OBJECTS__BUCKET"), &s3.bucket)
                .env(setting("OBJECTS__ACCESS_KEY"), &s3.access_key)
                .env(setting("OBJECTS__SECRET_KEY"), &s3.secret_key)
                .env(setting("SANDBOX__CONTROL_GROUP_NAME"), testkit::unique_name(name))
        };
        let lambda_service = program("lambda-service", "LAMBDA_SERVICE", "lambda")
            .env("LAMBDA_SERVICE__BUILDS__SECRET", SECRET)
            .env("LAMBDA_SERVICE__CODE__PACKAGES__FOLDER", path("packages"))
            .env("LAMBDA_SERVICE__RECORDER__JOURNAL", path("journal"))
            .start()
            .await;
        let build = |role: &str| {
            let receiver = |key: &str| format!("BUILD_SERVICE__WEBHOOKS__RECEIVERS__LAMBDA_SERVICE__{key}");
            program("build-service", "BUILD_SERVICE", "build")
                .env("BUILD_SERVICE__ROLE", role)
                .env("BUILD_SERVICE__WORK_FOLDER", path("work"))
                .env("BUILD_SERVICE__QUEUE__KIND", "rabbitmq")
                .env("BUILD_SERVICE__QUEUE__RABBITMQ__URL", rabbitmq.url())
                .env("BUILD_SERVICE__QUEUE__RABBITMQ__PUBLISH_TIMEOUT", "2s")
                .env("BUILD_SERVICE__QUEUE__ANNOUNCE_AGAIN", "10s")
                .env("BUILD_SERVICE__WORKER__LEASE", "2s")
                .env("BUILD_SERVICE__WORKER__MAX_ATTEMPTS", "1000")
                .env("BUILD_SERVICE__WORKER__POLL_INTERVAL", "500ms")
                .env("BUILD_SERVICE__WEBHOOKS__ALLOW", "[\"127.0.0.1\"]")
                .env("BUILD_SERVICE__WEBHOOKS__RETRY_FIRST", "100ms")
                .env("BUILD_SERVICE__WEBHOOKS__RETRY_MOST", "1s")
                .env("BUILD_SERVICE__WEBHOOKS__MAX_ATTEMPTS", "100000")
                .env(receiver("URL"), lambda_service.url("/webhooks/build-status/{job_id}"))
                .env(receiver("SECRET"), SECRET)
                .env(receiver("REGISTERS"), "true")
        };
        let master = build("master").start().await;
        let workers = [build("worker").start().await, build("worker").start().await];
        Self { postgres, rabbitmq, s3, master, workers, lambda_service, _folder: folder }
    }

    /// Kills a part and starts it again; the services are not waited for.
    async fn kill(&mut self, victim: Victim, worker: usize) {
        match victim {
            Victim::RabbitMq => {
                self.rabbitmq.kill().await;
                self.rabbitmq.start_again().await;
            }
            Victim::Postgres => {
                self.postgres.kill().await;
                self.postgres.start_again().await;
            }
            Victim::S3 => {
                self.s3.kill().await;
                self.s3.start_again().await;
            }
            Victim::Master | Victim::Worker | Victim::LambdaService => {
                let process = match victim {
                    Victim::Master => &mut self.master,
                    Victim::Worker => &mut self.workers[worker],
                    _ => &mut self.lambda_service,
                };
                process.kill().await;
                process.spawn_again().await;
            }
        }
    }

    async fn database(&self, name: &str) -> PgConnection {
        PgConnection::connect(&self.postgres.url(name)).await.expect("it runs")
    }
}

/// What clients have been answered so far.
#[derive(Default)]
struct Answered {
    /// Functions by job.
    builds: Mutex<HashMap<String, String>>,
    executions: Mutex<Vec<String>>,
    failed_calls: AtomicUsize,
}

impl Answered {
    fn count(&self) -> usize {
        locked(&self.builds).len() + locked(&self.executions).len()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn setting<T: FromStr>(name: &str, usual: T) -> T {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[tokio::test]
async fn kill_of_every_part_loses_no_build_and_no_execution() {
    let (builds, calls) = (setting("BUILD_TEST_BUILDS", 40), setting("BUILD_TEST_CALLS", 1_500));
    let seed = setting("BUILD_TEST_SEED", rand::random::<u32>().into());
    eprintln!("BUILD_TEST_SEED={seed}");
    let mut ruin = Ruin::start().await;
    let answered = Arc::new(Answered::default());
    let urls = Arc::new([ruin.master.url(""), ruin.lambda_service.url("")]);
    // Those to be called are there before anything dies.
    submit(&urls, 0..CALLED, &answered).await;
    let functions: Vec<String> = locked(&answered.builds).values().cloned().collect();
    for function in &functions {
        eventually(PATIENCE, || async { call(&client(), &urls, function).await.is_some() }).await;
    }

    let begun = Instant::now();
    let mut load = JoinSet::new();
    let next = Arc::new(AtomicUsize::new(CALLED));
    for _ in 0..SUBMITTERS {
        let (urls, answered, next) = (Arc::clone(&urls), Arc::clone(&answered), Arc::clone(&next));
        load.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= builds {
                    return;
                }
                submit(&urls, number..number + 1, &answered).await;
            }
        });
    }
    for first in 0..CALLERS {
        let (urls, answered, functions) = (Arc::clone(&urls), Arc::clone(&answered), functions.clone());
        load.spawn(async move { call_until(&urls, &functions, first, calls, &answered).await });
    }
    let kills = kill_meanwhile(&mut ruin, seed, (builds + calls) / 10, &answered, &mut load).await;
    eprintln!(
        "{} builds and {} calls answered in {:.0?}; {} calls failed; killed: {kills:?}",
        locked(&answered.builds).len(),
        locked(&answered.executions).len(),
        begun.elapsed(),
        answered.failed_calls.load(Ordering::Relaxed)
    );
    all_is_well(&ruin, builds, &answered, &urls).await;
    eprintln!("everything had ended {:.0?} after the beginning", begun.elapsed());
}

/// Kills one part after the other, each after some progress, until the load is done and each has died once.
async fn kill_meanwhile(
    ruin: &mut Ruin,
    seed: u64,
    most_between: usize,
    answered: &Answered,
    load: &mut JoinSet<()>,
) -> HashMap<Victim, usize> {
    let (mut random, mut kills) = (StdRng::seed_from_u64(seed), HashMap::new());
    let mut order: Vec<Victim> = Vec::new();
    loop {
        let victim = order.pop().unwrap_or_else(|| {
            order.extend(VICTIMS);
            for place in (1..order.len()).rev() {
                order.swap(place, random.random_range(0..=place));
            }
            order.pop().expect("it was filled just now")
        });
        let enough = answered.count() + random.random_range(1..=most_between.max(1));
        // Progress, or there is none to come.
        let mut is_over = false;
        eventually(PATIENCE, || {
            while load.try_join_next().map(|ended| ended.expect("no part of the load panics")).is_some() {}
            is_over = load.is_empty();
            std::future::ready(is_over || answered.count() >= enough)
        })
        .await;
        if is_over && kills.len() == VICTIMS.len() {
            return kills;
        }
        ruin.kill(victim, random.random_range(0..2)).await;
        *kills.entry(victim).or_default() += 1;
    }
}

/// Submits packages, each under a key of its own and again until it is accepted.
async fn submit(urls: &[String; 2], numbers: std::ops::Range<usize>, answered: &Answered) {
    let client = client();
    for number in numbers {
        let (runtime, handler, files) = PACKAGES[number % PACKAGES.len()];
        let body = json!({"name": format!("built-{number}"), "runtime": runtime, "handler": handler, "package_data": archive(files)});
        eventually(PATIENCE, || async {
            let request = client.post(format!("{}/functions", urls[0])).header("idempotency-key", format!("{number}"));
            let Some((202, body)) = tried(request.json(&body)).await else { return false };
            let [job, function] =
                ["job_id", "function_id"].map(|field| body[field].as_str().expect("an id").to_owned());
            locked(&answered.builds).insert(job, function);
            true
        })
        .await;
    }
}

/// Calls functions in turn until all callers together have been answered so often.
async fn call_until(urls: &[String; 2], functions: &[String], first: usize, calls: usize, answered: &Answered) {
    let client = client();
    for function in functions.iter().cycle().skip(first) {
        if locked(&answered.executions).len() >= calls {
            return;
        }
        if let Some(execution) = call(&client, urls, function).await {
            locked(&answered.executions).push(execution);
        } else {
            answered.failed_calls.fetch_add(1, Ordering::Relaxed);
            // Not at full speed against what is not there.
            eventually(PATIENCE, || async {
                tried(client.get(format!("{}/readyz", urls[1]))).await.is_some_and(|(status, _)| status == 200)
            })
            .await;
        }
    }
}

/// The execution of a call that was answered as it must be.
async fn call(client: &Client, urls: &[String; 2], function: &str) -> Option<String> {
    let url = format!("{}/api/v1/functions/{function}/invoke", urls[1]);
    let (status, said) = tried(client.post(url).json(&json!({"name": "Ada"}))).await?;
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

async fn all_is_well(ruin: &Ruin, builds: usize, answered: &Answered, urls: &[String; 2]) {
    for process in [&ruin.master, &ruin.lambda_service, &ruin.workers[0], &ruin.workers[1]] {
        process.ready().await;
    }
    let mut build = ruin.database("build").await;
    // Every job ends, and once.
    let ends = "SELECT count(*) FILTER (WHERE j.state = 'completed' AND s.ends = 1 AND s.rows = j.sequence), count(*) \
        FROM build_service.build_jobs j LEFT JOIN (SELECT job_id, count(*) AS rows, \
        count(*) FILTER (WHERE state IN ('completed', 'failed', 'cancelled')) AS ends \
        FROM build_service.build_status GROUP BY job_id) s ON s.job_id = j.id";
    let state = Mutex::new((0_i64, 0_i64));
    let connection = tokio::sync::Mutex::new(&mut build);
    eventually(PATIENCE, || async {
        let read: (i64, i64) = sqlx::query_as(ends).fetch_one(&mut **connection.lock().await).await.expect("it runs");
        *locked(&state) = read;
        read.0 == read.1
    })
    .await;
    let jobs = locked(&state).1;
    assert_eq!((jobs, locked(&answered.builds).len()), (builds as i64, builds), "one key is one job");

    // Each is a function that can be called.
    let functions: Vec<String> = locked(&answered.builds).values().cloned().collect();
    let client = client();
    for function in &functions {
        eventually(PATIENCE, || async {
            let Some(execution) = call(&client, urls, function).await else { return false };
            locked(&answered.executions).push(execution);
            true
        })
        .await;
    }
    let (status, listed) = answer(client.get(format!("{}/builds?status=completed&limit=1", urls[0]))).await;
    assert_eq!((status, listed["builds"].as_array().map(Vec::len)), (200, Some(1)));

    // Every execution that was answered is in the history.
    let executions: Vec<uuid::Uuid> =
        locked(&answered.executions).iter().map(|id| id.parse().expect("an id")).collect();
    let mut lambda = ruin.database("lambda").await;
    let connection = tokio::sync::Mutex::new(&mut lambda);
    eventually(PATIENCE, || async {
        let statement = "SELECT count(*) FROM lambda_service.invocations WHERE id = ANY ($1)";
        let count = sqlx::query_as(statement).bind(&executions).fetch_one(&mut **connection.lock().await).await;
        let (count,): (i64,) = count.expect("it runs");
        count == executions.len() as i64
    })
    .await;
}
