//! The sandbox against the machine's real `bwrap`, Python and Node.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop at what they do not expect, and say why they skip"
)]

mod folders;
mod hostile;
mod isolation;
mod lifecycle;
mod outcomes;
mod over_streams;
mod prewarmed;
mod runtime_api;
mod runtime_clients;
mod system_calls;

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use domain::Language;
use sandbox::{Code, FunctionCode, FunctionResult, Invocation, Launch, Outcome, Sandbox, SandboxConfig, Worker};

/// One sandbox for the whole test process: it is made to be shared.
fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(SandboxConfig::default()).unwrap_or_else(|error| panic!("{error}")))
}

fn function(language: Language, source: &str) -> FunctionCode {
    FunctionCode {
        function_id: "0190-function".to_owned(),
        function_name: "a-function".to_owned(),
        language,
        launch: Launch::default(),
        code: Code::Source(source.into()),
        handler: "handler".to_owned(),
        environment: BTreeMap::new(),
        memory_bytes: 128 << 20,
    }
}

fn python(source: &str) -> FunctionCode {
    function(Language::Python, source)
}

fn node(source: &str) -> FunctionCode {
    function(Language::Node, source)
}

fn call(event: &str) -> Invocation {
    call_within(event, Duration::from_secs(20))
}

fn call_within(event: &str, timeout: Duration) -> Invocation {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let serial = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Invocation {
        execution_id: format!("0190f0f0-0000-7000-8000-{serial:012x}"),
        event: event.to_owned().into(),
        timeout,
    }
}

async fn start(function: &FunctionCode) -> Worker {
    sandbox().start(function).await.unwrap_or_else(|error| panic!("{function:?}: {error}"))
}

/// The outcome of one call of one function, in a worker of its own.
async fn run(function: &FunctionCode, event: &str) -> Outcome {
    sandbox().call_once(function, &call(event)).await.unwrap()
}

/// The outcome in one word and its text, for tables.
fn summary(outcome: &Outcome) -> (&'static str, &str) {
    match &outcome.result {
        FunctionResult::Success { output } => ("success", output.get()),
        FunctionResult::Failed { error } => ("failed", error),
        FunctionResult::TimedOut { error } => ("timeout", error),
    }
}

/// After whatever happened, the next function must be none the worse.
async fn assert_healthy() {
    for function in [python("def handler(e, c):\n  return e['n'] + 1"), node("function handler(e) { return e.n + 1; }")]
    {
        let outcome = run(&function, r#"{"n": 41}"#).await;
        assert_eq!(summary(&outcome), ("success", "42"), "{}", outcome.logs);
    }
}
