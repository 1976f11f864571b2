//! The sandbox alone, without HTTP and history: warm calls beside a ping-pong over a Unix socket, and starts beside bare
//! processes and `docker exec`.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use domain::Language;
use sandbox::{Code, FunctionCode, Invocation, Kind, Sandbox, SandboxConfig, Worker};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::{Child, Command},
};

use crate::{
    NODE, PYTHON,
    docker::Docker,
    report::{Times, head, line},
};

const ROUNDS: usize = 6;
const WARM_CALLS: usize = 2_000;
const STARTS: usize = 20;
/// Until an interpreter that was started waits: nothing tells.
const SETTLING: Duration = Duration::from_millis(500);

/// Sends back what comes, as the worker's interpreter can do it with the least.
const PYTHON_ECHO: &str = "import socket\ns = socket.socket(fileno=0)\nwhile True:\n    data = s.recv(65536)\n    \
                           if not data: break\n    s.sendall(data)";
const NODE_ECHO: &str = "const s = new (require('net').Socket)({fd: 0}); s.on('data', (data) => s.write(data));";

struct Interpreter {
    name: &'static str,
    language: Language,
    source: &'static str,
    program: &'static str,
    nothing: [&'static str; 2],
    echo: [&'static str; 2],
}

const INTERPRETERS: [Interpreter; 2] = [
    Interpreter {
        name: "python",
        language: Language::Python,
        source: PYTHON,
        program: "python3",
        nothing: ["-c", "pass"],
        echo: ["-c", PYTHON_ECHO],
    },
    Interpreter {
        name: "node",
        language: Language::Node,
        source: NODE,
        program: "node",
        nothing: ["-e", "0"],
        echo: ["-e", NODE_ECHO],
    },
];

/// Warm calls, each beside as many bytes that a process sends back over a Unix socket.
pub async fn warm_calls() -> anyhow::Result<()> {
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    head("executor alone: a warm call, one at a time");
    let mut cat = PingPong::with("cat".into(), &[])?;
    let mut of_cat = Times::new();
    for interpreter in &INTERPRETERS {
        let mut worker = sandbox.start(&interpreter.function()).await?;
        let mut same = PingPong::with(interpreter.path(), &interpreter.echo)?;
        let (mut calls, mut of_same) = (Times::new(), Times::new());
        for round in 0..=ROUNDS {
            for _ in 0..WARM_CALLS {
                calls.add(invoke(&mut worker).await?);
            }
            for _ in 0..WARM_CALLS {
                of_same.add(same.once().await?);
                of_cat.add(cat.once().await?);
            }
            if round == 0 {
                // The first round warms caches and compilers.
                for times in [&mut calls, &mut of_same, &mut of_cat] {
                    times.reset();
                }
            }
        }
        worker.kill().await;
        let name = interpreter.name;
        line(&format!("{name}: sandbox"), &calls);
        line(&format!("{name}: ping-pong with a bare {}", interpreter.program), &of_same);
        line("ping-pong with cat", &of_cat);
        println!(
            "{name}: a warm call takes {:.1} x the ping-pong with its interpreter, {:.1} x that with cat (p50)",
            calls.ratio(&of_same, 0.5),
            calls.ratio(&of_cat, 0.5)
        );
    }
    Ok(())
}

/// Starts to the first answer: from nothing, from an interpreter that waits, and what others do for a call.
pub async fn starts(docker: Option<&Docker>) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    head("executor alone: from start to first answer");
    for interpreter in &INTERPRETERS {
        let function = interpreter.function();
        let kind = Kind::of(&function).context("a built-in runtime")?;
        let [mut cold, mut prewarmed, mut bare] = [(); 3].map(|()| Times::new());
        for _ in 0..STARTS {
            let start = Instant::now();
            let mut worker = sandbox.start(&function).await?;
            invoke(&mut worker).await?;
            cold.add_since(start);
            worker.kill().await;

            let waiting = sandbox.prewarm(&kind).await?;
            tokio::time::sleep(SETTLING).await;
            let start = Instant::now();
            let mut worker = waiting.become_worker(&function).await?;
            invoke(&mut worker).await?;
            prewarmed.add_since(start);
            worker.kill().await;

            let start = Instant::now();
            let status =
                Command::new(interpreter.path()).args(interpreter.nothing).stdin(Stdio::null()).status().await?;
            bare.add_since(start);
            ensure!(status.success(), "{} failed", interpreter.program);
        }
        let name = interpreter.name;
        line(&format!("{name}: sandbox, prewarmed"), &prewarmed);
        line(&format!("{name}: sandbox, cold"), &cold);
        line(&format!("{name}: bare {} process, nothing to do", interpreter.program), &bare);
    }
    if let Some(docker) = docker {
        let (mut exec, mut run) = (Times::new(), Times::new());
        for _ in 0..STARTS {
            docker.exec(&mut exec)?;
            docker.run(&mut run)?;
        }
        line("python: docker exec, nothing to do", &exec);
        line("python: docker run, nothing to do", &run);
    }
    Ok(())
}

impl Interpreter {
    fn function(&self) -> FunctionCode {
        FunctionCode {
            function_id: "bench".to_owned(),
            function_name: "bench".to_owned(),
            language: self.language,
            launch: sandbox::Launch::default(),
            code: Code::Source(Arc::from(self.source)),
            handler: "handler".to_owned(),
            environment: std::collections::BTreeMap::new(),
            memory_bytes: 128 << 20,
        }
    }

    /// The one that the sandbox takes too: the system's own before whatever `PATH` finds, which may be a version
    /// manager's script that starts the real one.
    fn path(&self) -> PathBuf {
        let system = PathBuf::from("/usr/bin").join(self.program);
        if system.exists() { system } else { PathBuf::from(self.program) }
    }
}

async fn invoke(worker: &mut Worker) -> anyhow::Result<Duration> {
    let invocation = Invocation {
        execution_id: "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b".to_owned(),
        event: bytes::Bytes::from_static(b"{\"n\":1}"),
        timeout: Duration::from_secs(10),
    };
    let start = Instant::now();
    let outcome = worker.invoke(&invocation).await;
    let took = start.elapsed();
    ensure!(outcome.worker_reusable, "the function failed: {outcome:?}");
    Ok(took)
}

/// A process that sends back what it gets over a Unix socket, its standard input and output.
struct PingPong {
    stream: UnixStream,
    _process: Child,
}

impl PingPong {
    fn with(program: PathBuf, arguments: &[&str]) -> anyhow::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let theirs = OwnedFd::from(theirs);
        let process = Command::new(program)
            .args(arguments)
            .stdin(theirs.try_clone()?)
            .stdout(theirs)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { stream: UnixStream::from_std(ours)?, _process: process })
    }

    /// As many bytes as a frame of a call.
    async fn once(&mut self) -> anyhow::Result<Duration> {
        let mut buffer = [b'x'; 128];
        let start = Instant::now();
        self.stream.write_all(&buffer).await?;
        self.stream.read_exact(&mut buffer).await?;
        Ok(start.elapsed())
    }
}
