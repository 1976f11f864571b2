//! Calls through the gateway, answered by the monolith and by the lambda service in turn.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use domain::contract::{FunctionCreated, InvokeResponse};
use local_stack::{RunningStack, Stack, StackOptions, StackSource};
use reqwest::Client;
use serde_json::{Value, json};

use crate::{
    NODE, PYTHON,
    report::{Times, head, line},
    throughput::{self, Throughput},
};

const ROUNDS: usize = 6;
/// Of these, rounds that measure throughput too.
const THROUGHPUT_ROUNDS: usize = 2;
const LEGACY_CALLS: usize = 60;
const CANDIDATE_CALLS: usize = 1_500;

pub async fn measure() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let stack = Stack::start(StackOptions {
        data_folder: Some(folder.path().to_owned()),
        programs: vec![programs()?],
        ..StackOptions::new(StackSource::mini_lambda()?)
    })
    .await?;
    let measured = measure_both(&stack).await;
    stack.stop().await;
    measured
}

/// The folder of the programs: a benchmark is in PROFILE/deps, they are in PROFILE.
pub fn programs() -> anyhow::Result<PathBuf> {
    let bench = std::env::current_exe()?;
    Ok(bench.ancestors().nth(2).context("a benchmark is in a folder of a folder")?.to_owned())
}

/// One that keeps its connections.
pub fn client() -> anyhow::Result<Client> {
    Ok(Client::builder().no_proxy().tcp_nodelay(true).build()?)
}

/// A runtime, and what was measured of both sides.
struct Runtime {
    name: &'static str,
    invoke: String,
    times: [Times; 2],
    throughput: [Throughput; 2],
    cpu: CpuUse,
}

/// The sides: legacy and candidate.
const SIDES: [(&str, f64, usize); 2] = [("legacy", 0.0, LEGACY_CALLS), ("candidate", 100.0, CANDIDATE_CALLS)];

async fn measure_both(stack: &RunningStack) -> anyhow::Result<()> {
    let client = client()?;
    raise_limit(&client, stack).await?;
    let mut runtimes = Vec::new();
    for (name, source) in [("python3.11", PYTHON), ("nodejs20", NODE)] {
        let mut runtime = Runtime::create(&client, stack, name, source).await?;
        for round in 0..=ROUNDS {
            runtime.round(&client, stack, round).await?;
        }
        runtimes.push(runtime);
    }
    print(&runtimes);
    Ok(())
}

fn print(runtimes: &[Runtime]) {
    head("call through the gateway, one at a time");
    for Runtime { name, times: [legacy, candidate], cpu, .. } in runtimes {
        line(&format!("{name}: legacy, a process for each call"), legacy);
        line(&format!("{name}: candidate, a warm worker"), candidate);
        println!(
            "{name}: the candidate is {:.0} x as fast at p50, {:.0} x at p99",
            legacy.ratio(candidate, 0.5),
            legacy.ratio(candidate, 0.99)
        );
        println!("{}", cpu.per_call());
    }
    throughput::head("calls a second through the gateway");
    for Runtime { name, throughput: [legacy, candidate], .. } in runtimes {
        legacy.line(&format!("{name}: legacy"));
        candidate.line(&format!("{name}: candidate"));
    }
}

impl Runtime {
    async fn create(client: &Client, stack: &RunningStack, name: &'static str, source: &str) -> anyhow::Result<Self> {
        let gateway = &stack.urls()["gateway"];
        let body = json!({"name": format!("bench-{name}"), "runtime": name, "code": source});
        let created = client.post(format!("{gateway}/api/v1/functions")).json(&body).send().await?;
        let function: FunctionCreated = created.error_for_status()?.json().await?;
        let invoke = format!("{gateway}/api/v1/functions/{}/invoke", function.function_id);
        let (times, throughput) = ([Times::new(), Times::new()], [Throughput::new(), Throughput::new()]);
        Ok(Self { name, invoke, times, throughput, cpu: CpuUse::default() })
    }

    async fn round(&mut self, client: &Client, stack: &RunningStack, round: usize) -> anyhow::Result<()> {
        let mut cpu = Vec::new();
        for (side, (name, percent, calls)) in SIDES.into_iter().enumerate() {
            set_weight(client, stack, percent).await?;
            cpu.push(cpu_seconds(stack));
            for _ in 0..calls {
                let answered = call(client, &self.invoke).await?;
                ensure!(answered.by.as_deref() == Some(name), "served by {:?}, not {name}", answered.by);
                self.times[side].add(answered.took);
            }
            cpu.push(cpu_seconds(stack));
            if (1..=THROUGHPUT_ROUNDS).contains(&round) {
                self.throughput[side].measure(client, &self.invoke).await?;
            }
        }
        if round == 0 {
            // The first round warms pools, connections and caches on both sides.
            self.times.iter_mut().for_each(Times::reset);
        } else {
            self.cpu.add(&cpu[0], &cpu[1], &cpu[2], &cpu[3]);
        }
        Ok(())
    }
}

/// One call that was answered as it must be.
pub struct Answered {
    pub took: Duration,
    /// The side, as a gateway says.
    by: Option<String>,
}

pub async fn call(client: &Client, invoke: &str) -> anyhow::Result<Answered> {
    let start = Instant::now();
    let response = client.post(invoke).json(&json!({"n": 1})).send().await?.error_for_status()?;
    let by = response.headers().get("x-served-by").and_then(|side| side.to_str().ok()).map(str::to_owned);
    let answer: InvokeResponse = response.json().await?;
    let took = start.elapsed();
    ensure!(answer.output.is_some_and(|output| output.get() == r#"{"n":1}"# || output.get() == r#"{"n": 1}"#));
    Ok(Answered { took, by })
}

/// One function gets more calls here than its limit lets through.
async fn raise_limit(client: &Client, stack: &RunningStack) -> anyhow::Result<()> {
    let body = json!({"rate": "1000000/s", "reason": "bench", "actor": "bench"});
    put(client, stack, "/api/v1/limits/per-function", &body).await
}

async fn set_weight(client: &Client, stack: &RunningStack, percent: f64) -> anyhow::Result<()> {
    let body = json!({"percent": percent, "reason": "bench", "actor": "bench"});
    put(client, stack, "/api/v1/routes/invoke/weight", &body).await
}

/// Changes something by the gateway's admin API.
async fn put(client: &Client, stack: &RunningStack, path: &str, body: &Value) -> anyhow::Result<()> {
    let token = stack.secret("admin").context("the stack has no admin token")?;
    let asked = client.put(format!("{}{path}", stack.urls()["admin"])).bearer_auth(token).json(body);
    asked.send().await?.error_for_status()?;
    Ok(())
}

/// CPU time, user and system, of each part with the children it has waited for, in seconds.
fn cpu_seconds(stack: &RunningStack) -> [f64; 3] {
    ["gateway", "legacy", "lambda-service"].map(|name| {
        let pid = stack.process(name).and_then(|process| process.pid()).unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name of the process may hold spaces; the fields are counted from after it.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks: f64 = fields.iter().skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
        ticks / 100.0
    })
}

/// CPU time spent in the measured rounds.
#[derive(Default)]
struct CpuUse {
    gateway: [f64; 2],
    side: [f64; 2],
}

impl CpuUse {
    fn add(&mut self, before: &[f64; 3], between: &[f64; 3], begun: &[f64; 3], after: &[f64; 3]) {
        self.gateway[0] += between[0] - before[0];
        self.gateway[1] += after[0] - begun[0];
        self.side[0] += between[1] - before[1];
        self.side[1] += after[2] - begun[2];
    }

    fn per_call(&self) -> String {
        let per_call = |seconds: f64, calls: usize| seconds * 1e6 / (calls * ROUNDS) as f64;
        format!(
            "CPU a call: gateway {:.0} µs (legacy) and {:.0} µs (candidate); legacy {:.0} µs with the process it \
             starts; lambda-service {:.0} µs without its workers",
            per_call(self.gateway[0], LEGACY_CALLS),
            per_call(self.gateway[1], CANDIDATE_CALLS),
            per_call(self.side[0], LEGACY_CALLS),
            per_call(self.side[1], CANDIDATE_CALLS)
        )
    }
}
