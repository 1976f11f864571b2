//! Calls of one function through the gateway, answered by the monolith and by the lambda service in
//! turn, and cold starts of the sandbox beside the bare interpreters. One run, interleaved rounds, so
//! that the ratios hold on a noisy machine.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its result and ends at the first failure"
)]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use domain::{
    Language,
    contract::{FunctionCreated, InvokeResponse},
};
use hdrhistogram::Histogram;
use local_stack::{RunningStack, Stack, StackOptions, StackSource};
use reqwest::Client;
use sandbox::{Code, FunctionCode, Sandbox, SandboxConfig};
use serde_json::json;

const ROUNDS: usize = 6;
const LEGACY_CALLS: usize = 60;
const CANDIDATE_CALLS: usize = 1_500;
const COLD_STARTS: usize = 12;

const PYTHON: &str = "def handler(event, context):\n    return event\n";
const NODE: &str = "function handler(event, context) { return event; }\n";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // `cargo bench` also passes `--bench`, and `cargo test --benches` would run it for nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    println!("{}", testkit::machine());
    cold_starts().await?;
    warm_calls().await
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 3).unwrap()
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn line(name: &str, measured: &Histogram<u64>) -> String {
    let ms = |quantile| measured.value_at_quantile(quantile) as f64 / 1_000.0;
    format!("{name:<44} {:>6} {:>10.3} {:>10.3}", measured.len(), ms(0.5), ms(0.99))
}

async fn cold_starts() -> anyhow::Result<()> {
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    println!("\n{:<44} {:>6} {:>10} {:>10}", "cold start to first answer", "n", "p50 ms", "p99 ms");
    for (name, language, source, program, arguments) in [
        ("python", Language::Python, PYTHON, "python3", ["-c", "pass"]),
        ("node", Language::Node, NODE, "node", ["-e", "0"]),
    ] {
        let (mut sandboxed, mut bare) = (histogram(), histogram());
        for _ in 0..COLD_STARTS {
            let start = Instant::now();
            let mut worker = sandbox.start(&code(language, source)).await?;
            let outcome = worker.invoke(&invocation()).await;
            ensure!(outcome.worker_reusable, "the function failed: {outcome:?}");
            sandboxed.record(micros(start))?;
            worker.kill().await;

            let start = Instant::now();
            let status =
                Command::new(interpreter(program)).args(arguments).stdin(Stdio::null()).status().context(program)?;
            ensure!(status.success(), "{program} failed");
            bare.record(micros(start))?;
        }
        println!("{}", line(&format!("{name}: sandbox, code loaded, one call"), &sandboxed));
        println!("{}", line(&format!("{name}: bare {program} process, nothing to do"), &bare));
    }
    Ok(())
}

/// The interpreter that the sandbox takes too: the system's own before whatever `PATH` finds, which may
/// be a version manager's script that starts the real one.
fn interpreter(program: &str) -> PathBuf {
    let system = PathBuf::from("/usr/bin").join(program);
    if system.exists() { system } else { PathBuf::from(program) }
}

fn code(language: Language, source: &str) -> FunctionCode {
    FunctionCode {
        function_id: "bench".to_owned(),
        function_name: "bench".to_owned(),
        language,
        launch: sandbox::Launch::default(),
        code: Code::Source(Arc::from(source)),
        handler: "handler".to_owned(),
        environment: std::collections::BTreeMap::new(),
        memory_bytes: 128 << 20,
    }
}

fn invocation() -> sandbox::Invocation {
    sandbox::Invocation {
        execution_id: "bench".to_owned(),
        event: bytes::Bytes::from_static(b"{\"n\":1}"),
        timeout: Duration::from_secs(10),
    }
}

async fn warm_calls() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = std::env::current_exe()?.parent().and_then(|deps| deps.parent()).map(PathBuf::from);
    let stack = Stack::start(StackOptions {
        data_folder: Some(folder.path().to_owned()),
        programs: programs.into_iter().collect(),
        ..StackOptions::new(StackSource::mini_lambda()?)
    })
    .await?;
    let measured = measure(&stack).await;
    stack.stop().await;
    measured
}

async fn measure(stack: &RunningStack) -> anyhow::Result<()> {
    let client = Client::builder().no_proxy().tcp_nodelay(true).build()?;
    println!(
        "\n{:<44} {:>6} {:>10} {:>10}   one caller, keep-alive",
        "call through the gateway", "n", "p50 ms", "p99 ms"
    );
    for (runtime, source) in [("python3.11", PYTHON), ("nodejs20", NODE)] {
        let gateway = &stack.urls()["gateway"];
        let body = json!({"name": format!("bench-{runtime}"), "runtime": runtime, "code": source});
        let created = client.post(format!("{gateway}/api/v1/functions")).json(&body).send().await?;
        let function: FunctionCreated = created.error_for_status()?.json().await?;
        let invoke = format!("{gateway}/api/v1/functions/{}/invoke", function.function_id);

        let (mut legacy, mut candidate) = (histogram(), histogram());
        let mut cpu = CpuUse::default();
        for round in 0..=ROUNDS {
            set_weight(&client, stack, 0.0).await?;
            let before = cpu_seconds(stack);
            calls(&client, &invoke, "legacy", LEGACY_CALLS, &mut legacy).await?;
            let between = cpu_seconds(stack);
            set_weight(&client, stack, 100.0).await?;
            let begun = cpu_seconds(stack);
            calls(&client, &invoke, "candidate", CANDIDATE_CALLS, &mut candidate).await?;
            let after = cpu_seconds(stack);
            if round == 0 {
                // The first round warms pools, connections and caches on both sides.
                legacy.reset();
                candidate.reset();
            } else {
                cpu.add(&before, &between, &begun, &after);
            }
        }
        println!("{}", line(&format!("{runtime}: legacy, a process for each call"), &legacy));
        println!("{}", line(&format!("{runtime}: candidate, a warm worker"), &candidate));
        let ratio = |quantile| legacy.value_at_quantile(quantile) as f64 / candidate.value_at_quantile(quantile) as f64;
        println!("{runtime}: the candidate is {:.0} x as fast at p50, {:.0} x at p99", ratio(0.5), ratio(0.99));
        println!("{}", cpu.per_call());
    }
    Ok(())
}

async fn set_weight(client: &Client, stack: &RunningStack, percent: f64) -> anyhow::Result<()> {
    let url = format!("{}/api/v1/routes/invoke/weight", stack.urls()["admin"]);
    let token = stack.secret("admin").context("the stack has no admin token")?;
    let body = json!({"percent": percent, "reason": "bench", "actor": "bench"});
    client.put(url).bearer_auth(token).json(&body).send().await?.error_for_status()?;
    Ok(())
}

async fn calls(
    client: &Client,
    invoke: &str,
    side: &str,
    calls: usize,
    measured: &mut Histogram<u64>,
) -> anyhow::Result<()> {
    for _ in 0..calls {
        let start = Instant::now();
        let response = client.post(invoke).json(&json!({"n": 1})).send().await?.error_for_status()?;
        let served_by = response.headers().get("x-served-by").map(|side| side.as_bytes().to_vec());
        let answer: InvokeResponse = response.json().await?;
        measured.record(micros(start))?;
        ensure!(served_by.as_deref() == Some(side.as_bytes()), "served by {served_by:?}, not {side}");
        ensure!(answer.output.is_some_and(|output| output.get() == r#"{"n":1}"# || output.get() == r#"{"n": 1}"#));
    }
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
