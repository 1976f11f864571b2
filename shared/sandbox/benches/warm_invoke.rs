//! What the sandbox costs: a warm call beside bare ping-pongs over pipes and over a Unix socket, a cold start beside the
//! bare interpreter. `cargo bench -p sandbox`. Starts of interpreters that waited are measured by `scripts/bench invoke`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    process::Stdio,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use domain::Language;
use sandbox::{Code, FunctionCode, Invocation, Sandbox, SandboxConfig};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    process::Command,
    runtime::Runtime,
};

fn no_op(language: Language) -> FunctionCode {
    FunctionCode {
        function_id: "0190-function".to_owned(),
        function_name: "no-op".to_owned(),
        language,
        launch: sandbox::Launch::default(),
        code: Code::Source(match language {
            Language::Python => "def handler(event, context):\n  return event".into(),
            _ => "function handler(event) { return event; }".into(),
        }),
        handler: "handler".to_owned(),
        environment: BTreeMap::new(),
        memory_bytes: 128 << 20,
    }
}

fn call() -> Invocation {
    Invocation {
        execution_id: "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".to_owned(),
        event: r#"{"number": 1, "text": "abc"}"#.into(),
        timeout: Duration::from_secs(30),
    }
}

fn warm(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let mut group = criterion.benchmark_group("warm");
    for (name, language) in [("python", Language::Python), ("node", Language::Node)] {
        let mut worker = runtime.block_on(sandbox.start(&no_op(language))).unwrap();
        let call = call();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                runtime.block_on(async {
                    let started = Instant::now();
                    for _ in 0..rounds {
                        let outcome = worker.invoke(&call).await;
                        assert!(outcome.worker_reusable, "{outcome:?}");
                    }
                    started.elapsed()
                })
            });
        });
    }
    group.bench_function("ping-pong over pipes (cat)", |bencher| {
        bencher.iter_custom(|rounds| runtime.block_on(over_pipes(rounds)));
    });
    group.bench_function("ping-pong over a Unix socket (cat)", |bencher| {
        bencher.iter_custom(|rounds| runtime.block_on(over_a_socket(rounds)));
    });
    group.finish();
}

async fn over_pipes(rounds: u64) -> Duration {
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    ping_pong(cat.stdin.take().unwrap(), cat.stdout.take().unwrap(), rounds).await
}

async fn over_a_socket(rounds: u64) -> Duration {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let theirs = OwnedFd::from(theirs);
    let input = theirs.try_clone().unwrap();
    let _cat = Command::new("cat").stdin(input).stdout(theirs).kill_on_drop(true).spawn().unwrap();
    let (answers, requests) = UnixStream::from_std(ours).unwrap().into_split();
    ping_pong(requests, answers, rounds).await
}

/// As many bytes as a call's to a process that only sends them back.
async fn ping_pong(
    mut requests: impl AsyncWrite + Unpin,
    mut answers: impl AsyncRead + Unpin,
    rounds: u64,
) -> Duration {
    let mut buffer = [0; 128];
    let started = Instant::now();
    for _ in 0..rounds {
        requests.write_all(&buffer).await.unwrap();
        answers.read_exact(&mut buffer).await.unwrap();
    }
    started.elapsed()
}

fn cold(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let mut group = criterion.benchmark_group("cold");
    group.sample_size(20);
    for (name, language) in [("python", Language::Python), ("node", Language::Node)] {
        let function = no_op(language);
        let call = call();
        group.bench_function(format!("{name}, to its first answer"), |bencher| {
            bencher.iter_custom(|rounds| {
                runtime.block_on(async {
                    let mut total = Duration::ZERO;
                    for _ in 0..rounds {
                        let started = Instant::now();
                        let mut worker = sandbox.start(&function).await.unwrap();
                        worker.invoke(&call).await;
                        total += started.elapsed();
                        worker.kill().await;
                    }
                    total
                })
            });
        });
    }
    for (name, program, arguments) in
        [("bare python3", "/usr/bin/python3", ["-c", "pass"]), ("bare node", "/usr/bin/node", ["-e", "0"])]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| std::process::Command::new(program).args(arguments).status().unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, warm, cold);
criterion_main!(benches);
