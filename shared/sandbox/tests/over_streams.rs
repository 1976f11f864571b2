//! The same protocol over somebody else's streams: here a plain child process, as `docker exec` is one.

use std::{process::Stdio, time::Duration};

use crate::{call, call_within, node, python, run, summary};
use sandbox::{FunctionCode, Invocation, Limits, Outcome, WorkerStreams, call_once_over, launch_command};
use tokio::process::Command;

async fn run_over_streams(function: &FunctionCode, call: &Invocation) -> Outcome {
    let interpreter = match function.language {
        domain::Language::Python => "/usr/bin/python3",
        _ => "/usr/bin/node",
    };
    let launch = launch_command(function.language, interpreter, function.memory_bytes).unwrap();
    let mut child = Command::new(&launch[0])
        .args(&launch[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let streams = WorkerStreams {
        requests: child.stdin.take().unwrap(),
        answers: child.stdout.take().unwrap(),
        logs: child.stderr.take().unwrap(),
    };
    let exit_code = async {
        use std::os::unix::process::ExitStatusExt;
        let status = child.wait().await.unwrap();
        status.code().or_else(|| status.signal().map(|signal| 128 + signal))
    };
    call_once_over(streams, exit_code, function, call, &Limits::default(), Duration::from_secs(10)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_is_the_same_whichever_way_a_function_is_run() {
    for function in [
        python("import sys\ndef handler(e, c):\n  print('out'); print('err', file=sys.stderr)\n  return {'got': e}"),
        node("function handler(e) { console.log('out'); console.error('err'); return {got: e}; }"),
        python("def handler(e, c):\n  raise ValueError('x')"),
        node("function handler() { throw new TypeError('x'); }"),
        python("import sys\ndef handler(e, c):\n  print('last words')\n  sys.exit(3)"),
        node("function handler() { console.log('last words'); process.exit(3); }"),
        python("import os\ndef handler(e, c):\n  os.kill(os.getpid(), 9)"),
        python("import os\ndef handler(e, c):\n  os.write(4, b'this is no frame')\n  return 1"),
        python("def handler(e, c):\n  return {1}"),
        python("def handler("),
        node("const x = 1"),
    ] {
        let over_streams = run_over_streams(&function, &call("[1]")).await;
        let sandboxed = run(&function, "[1]").await;
        assert_eq!(summary(&over_streams), summary(&sandboxed));
        assert_eq!(over_streams.logs, sandboxed.logs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_is_told_alike_and_the_log_kept() {
    let function = python("import time\ndef handler(e, c):\n  print('before')\n  time.sleep(60)");
    let outcome = run_over_streams(&function, &call_within("{}", Duration::from_millis(300))).await;
    assert_eq!(summary(&outcome), ("timeout", "the function did not answer within 300 ms"));
    assert_eq!(outcome.logs, "before\n");
}
