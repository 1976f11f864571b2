//! The lambda service on a database of its own, without a gateway: in sandboxes, and in Docker where there is one.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use domain::contract::FunctionCreated;
use reqwest::Client;
use serde_json::json;
use tempfile::TempDir;
use testkit::{TestBucket, TestDatabase, process::Spawned};

use crate::{
    NODE, PYTHON,
    docker::{Docker, IMAGE},
    gateway::{call, client, programs},
    report::{Times, head, line},
    throughput::{self, Throughput},
};

const ROUNDS: usize = 3;
const WARM_CALLS: usize = 1_000;
const FIRST_CALLS: usize = 12;
/// Until the interpreter that was taken is replaced, so that its start is no part of the next call.
const PAUSE: Duration = Duration::from_millis(1_500);
/// Of functions for which nothing waits: interpreters wait for the usual size.
const UNUSUAL_MEMORY_MB: u32 = 192;

/// A service, and how its lines begin.
struct Service {
    name: &'static str,
    process: Spawned,
    _ground: (TestDatabase, TestBucket, TempDir),
}

/// A service with one runtime, and what was measured of it.
struct Subject<'a> {
    service: &'a Service,
    runtime: &'static str,
    source: &'static str,
    warm: Times,
    prewarmed: Times,
    cold: Times,
    throughput: Throughput,
}

pub async fn measure(docker: Option<&Docker>) -> anyhow::Result<()> {
    let sandboxes = Service::start("sandbox", String::new()).await?;
    let containers = match docker {
        Some(docker) => Some((Service::start("Docker", settings_for(docker)).await?, docker)),
        None => None,
    };
    let mut subjects = vec![Subject::new(&sandboxes, "python3.11", PYTHON), Subject::new(&sandboxes, "nodejs20", NODE)];
    if let Some((containers, _)) = &containers {
        subjects.push(Subject::new(containers, "python3.11", PYTHON));
    }
    let client = client()?;
    let mut functions = Vec::new();
    for subject in &mut subjects {
        functions.push(subject.service.create(&client, subject.runtime, subject.source, None).await?);
        subject.starts(&client).await?;
    }
    for round in 0..=ROUNDS {
        for (subject, function) in subjects.iter_mut().zip(&functions) {
            for _ in 0..WARM_CALLS {
                subject.warm.add(call(&client, function).await?.took);
            }
            if round == 0 {
                // The first round warms pools, connections and caches.
                subject.warm.reset();
            } else {
                subject.throughput.measure(&client, function).await?;
            }
        }
    }
    print(&subjects);
    Ok(())
}

fn print(subjects: &[Subject<'_>]) {
    head("lambda service by HTTP, without a gateway");
    for subject in subjects {
        line(&subject.label("a warm call, one at a time"), &subject.warm);
        line(&subject.label("first call, prewarmed"), &subject.prewarmed);
        line(&subject.label("first call, cold"), &subject.cold);
    }
    throughput::head("lambda service by HTTP: calls a second");
    for subject in subjects {
        subject.throughput.line(&subject.label("warm"));
    }
}

/// The image of this machine's Python is the runtime's.
fn settings_for(docker: &Docker) -> String {
    format!(
        "executor = \"docker\"\n[[runtimes]]\nname = \"python3.11\"\nkind = \"python\"\nimage = {IMAGE:?}\n\
         interpreter = {:?}\n[[prewarmed]]\nruntime = \"python3.11\"\ncount = 1\n[docker]\nsocket = {:?}\n",
        docker.python, docker.daemon.socket
    )
}

impl Service {
    async fn start(name: &'static str, settings: String) -> anyhow::Result<Self> {
        let (database, bucket, folder) = (testkit::postgres().await, testkit::s3().await, tempfile::tempdir()?);
        let file = folder.path().join("lambda-service.toml");
        std::fs::write(&file, settings)?;
        let program: PathBuf = programs()?.join("lambda-service");
        let place = |name: &str| folder.path().join(name).display().to_string();
        let mut spawn = Spawned::of(program)
            .arg("--config")
            .arg(&file)
            .listen("LAMBDA_SERVICE__HTTP__BIND")
            .env("LAMBDA_SERVICE__DATABASE__URL", &database.url)
            .env("LAMBDA_SERVICE__OBJECTS__ENDPOINT", &bucket.endpoint)
            .env("LAMBDA_SERVICE__OBJECTS__BUCKET", &bucket.bucket)
            .env("LAMBDA_SERVICE__OBJECTS__ACCESS_KEY", &bucket.access_key)
            .env("LAMBDA_SERVICE__OBJECTS__SECRET_KEY", &bucket.secret_key)
            .env("LAMBDA_SERVICE__OBJECTS__PATH_STYLE", "true")
            .env("LAMBDA_SERVICE__SANDBOX__CONTROL_GROUP_NAME", testkit::unique_name("bench"))
            .env("LAMBDA_SERVICE__RECORDER__JOURNAL", place("journal"));
        if name == "Docker" {
            spawn = spawn.env("LAMBDA_SERVICE__DOCKER__FOLDER", place("containers"));
        }
        Ok(Self { name, process: spawn.start().await, _ground: (database, bucket, folder) })
    }

    /// Creates a function; answers where it is called.
    async fn create(
        &self,
        client: &Client,
        runtime: &str,
        source: &str,
        memory_mb: Option<u32>,
    ) -> anyhow::Result<String> {
        let mut body = json!({"name": testkit::unique_name("bench"), "runtime": runtime, "code": source});
        if let Some(memory_mb) = memory_mb {
            body["memory"] = memory_mb.into();
        }
        let created = client.post(self.process.url("/api/v1/functions")).json(&body).send().await?;
        let function: FunctionCreated = created.error_for_status()?.json().await?;
        Ok(self.process.url(&format!("/api/v1/functions/{}/invoke", function.function_id)))
    }

    /// How many calls an interpreter that waited has answered.
    async fn prewarmed_hits(&self, client: &Client) -> anyhow::Result<f64> {
        let metrics = client.get(self.process.url("/metrics")).send().await?.text().await?;
        let value = metrics.lines().find_map(|line| line.strip_prefix("lambda_prewarmed_total{outcome=\"hit\"} "));
        value.map_or(Ok(0.0), |value| value.parse().context("the metric is a number"))
    }
}

impl<'a> Subject<'a> {
    fn new(service: &'a Service, runtime: &'static str, source: &'static str) -> Self {
        let [warm, prewarmed, cold] = [(); 3].map(|()| Times::new());
        Self { service, runtime, source, warm, prewarmed, cold, throughput: Throughput::new() }
    }

    fn label(&self, what: &str) -> String {
        format!("{}, {}: {what}", self.runtime, self.service.name)
    }

    /// First calls of new functions.
    async fn starts(&mut self, client: &Client) -> anyhow::Result<()> {
        for _ in 0..FIRST_CALLS {
            let service = self.service;
            let usual = service.create(client, self.runtime, self.source, None).await?;
            tokio::time::sleep(PAUSE).await;
            let hits = service.prewarmed_hits(client).await?;
            self.prewarmed.add(call(client, &usual).await?.took);
            ensure!(service.prewarmed_hits(client).await? > hits, "no interpreter waited for {}", self.label("a call"));

            let unusual = service.create(client, self.runtime, self.source, Some(UNUSUAL_MEMORY_MB)).await?;
            tokio::time::sleep(PAUSE).await;
            self.cold.add(call(client, &unusual).await?.took);
        }
        Ok(())
    }
}
