//! Workers start, stay, and leave nothing behind.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{assert_healthy, call, call_within, node, python, sandbox, start, summary};
use sandbox::{ControlGroups, Sandbox, SandboxConfig, SandboxError};

/// How many processes of the machine have this text among their arguments.
fn processes_with(marker: &str) -> usize {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
                && String::from_utf8_lossy(&arguments).contains(marker)
        })
        .count()
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts 50 processes in sessions of their own that ignore SIGTERM and SIGHUP, then does as the event says.
fn family(marker: &str) -> sandbox::FunctionCode {
    python(&format!(
        "import os, signal, subprocess, sys, time\ndef handler(e, c):\n  for _ in range(50):\n    if os.fork() == 0:\n      \
         os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)\n      \
         os.execv('/bin/sh', ['sh', '-c', 'trap \"\" TERM HUP; while :; do read x <&9; done 9<>/tmp/f', '{marker}'])\n  \
         if e == 'stay': time.sleep(60)\n  time.sleep(0.2)\n  return 1"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_kills_the_whole_family_before_it_is_answered() {
    let marker = "family-of-the-timeout";
    let mut worker = start(&family(marker)).await;
    let outcome = worker.invoke(&call_within("\"stay\"", Duration::from_secs(2))).await;
    assert_eq!(summary(&outcome).0, "timeout");
    assert_eq!(processes_with(marker), 0);
    assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_a_worker_kills_its_family() {
    let marker = "family-of-the-killed";
    let mut worker = start(&family(marker)).await;
    assert_eq!(summary(&worker.invoke(&call("{}")).await), ("success", "1"));
    eventually("the family runs", || processes_with(marker) >= 50).await;
    worker.kill().await;
    assert_eq!(processes_with(marker), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_call_half_way_leaves_no_process() {
    let marker = "family-of-the-dropped";
    let mut worker = start(&family(marker)).await;
    {
        let call = call("\"stay\"");
        let invoke = worker.invoke(&call);
        tokio::pin!(invoke);
        tokio::select! {
            outcome = &mut invoke => panic!("{outcome:?}"),
            () = eventually("the family runs", || processes_with(marker) >= 50) => {}
        }
    }
    assert!(!worker.is_alive(), "a call was dropped half-way");
    let outcome = worker.invoke(&call("{}")).await;
    assert_eq!(summary(&outcome).0, "failed");
    drop(worker);
    eventually("the family is gone", || processes_with(marker) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_start_half_way_leaves_no_process() {
    let marker = "slow-to-load";
    let slow = python(&format!("import os\nos.execv('/bin/sleep', ['{marker}', '60'])"));
    for wait_ms in [0, 1, 3, 10, 20, 40, 80] {
        let started = tokio::time::timeout(Duration::from_millis(wait_ms), sandbox().start(&slow)).await;
        assert!(started.is_err());
    }
    eventually("nothing is left", || processes_with(marker) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_takes_its_workers_with_it() {
    let marker = "family-of-the-service";
    let mut service = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifecycle::a_service_that_waits_to_be_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the family runs", || processes_with(marker) >= 50).await;
    service.kill().unwrap();
    service.wait().unwrap();
    eventually("the family is gone", || processes_with(marker) == 0).await;
}

#[tokio::test]
#[ignore = "is started and killed by a_killed_service_takes_its_workers_with_it"]
async fn a_service_that_waits_to_be_killed() {
    let mut worker = start(&family("family-of-the-service")).await;
    worker.invoke(&call_within("\"stay\"", Duration::from_secs(60))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_worker_keeps_what_its_code_has_made() {
    for function in [
        python("n = 0\ndef handler(e, c):\n  global n\n  n += 1\n  return n"),
        node("let n = 0; function handler() { return ++n; }"),
    ] {
        let mut worker = start(&function).await;
        for expected in 1..=200 {
            let outcome = worker.invoke(&call("{}")).await;
            assert_eq!(summary(&outcome), ("success", expected.to_string().as_str()));
            assert_eq!(outcome.logs, "");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_between_two_calls_belongs_to_neither() {
    for function in [
        python(
            "import threading\ndef handler(e, c):\n  if e == 1: threading.Timer(0.05, lambda: (print('stray'), open('/tmp/done', 'w'))).start()\n  \
             import os\n  return os.path.exists('/tmp/done')",
        ),
        node(
            "let done = false; function handler(e) { if (e === 1) setTimeout(() => { console.log('stray'); done = true; }, 50); return done; }",
        ),
    ] {
        let mut worker = start(&function).await;
        let first = worker.invoke(&call("1")).await;
        assert_eq!((summary(&first).1, first.logs.as_str()), ("false", ""));
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            // The wait is for the function's own timer, between calls.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let next = worker.invoke(&call("2")).await;
            assert_eq!(next.logs, "");
            if summary(&next).1 == "true" {
                break;
            }
            assert!(Instant::now() < deadline);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_workers_answer_side_by_side() {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        tasks.spawn(async move {
            let function = if number % 2 == 0 {
                python("def handler(e, c):\n  return [e, c.execution_id]")
            } else {
                node("function handler(e, c) { return [e, c.execution_id]; }")
            };
            let mut worker = start(&function).await;
            for round in 0..50 {
                let call = call(&format!("\"{number}-{round}\""));
                let outcome = worker.invoke(&call).await;
                let expected = format!("[\"{number}-{round}\",\"{}\"]", call.execution_id);
                assert_eq!(summary(&outcome), ("success", expected.as_str()));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_between_calls_is_seen_to_be_dead() {
    let function =
        python("import os, threading\ndef handler(e, c):\n  threading.Timer(0.05, lambda: os._exit(1)).start()");
    let mut worker = start(&function).await;
    assert!(worker.invoke(&call("{}")).await.worker_reusable);
    eventually("it is dead", || !worker.is_alive()).await;
    let outcome = worker.invoke(&call("{}")).await;
    assert_eq!(summary(&outcome), ("failed", "the function exited with status 1 before it answered"));
    assert!(!outcome.worker_reusable);
}

#[test]
fn a_machine_that_lacks_something_is_told_so() {
    let missing = SandboxConfig { bwrap: Some("/nowhere/bwrap".into()), ..SandboxConfig::default() };
    let error = Sandbox::new(missing).unwrap_err();
    assert!(matches!(error, SandboxError::BwrapMissing { .. }));
    assert!(error.to_string().contains("apt install bubblewrap"));
    let refused = SandboxConfig { bwrap: Some("/bin/false".into()), ..SandboxConfig::default() };
    assert!(matches!(Sandbox::new(refused).unwrap_err(), SandboxError::BwrapRefused { .. }));
    let nothing = SandboxConfig {
        python: Some("/nowhere/python3".into()),
        node: Some("/bin/false".into()),
        ..SandboxConfig::default()
    };
    assert!(matches!(Sandbox::new(nothing).unwrap_err(), SandboxError::NoInterpreter { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn resource_limits_alone_bound_memory_where_there_are_no_control_groups() {
    let config = SandboxConfig { control_groups: ControlGroups::Off, ..SandboxConfig::default() };
    let sandbox = Sandbox::new(config).unwrap();
    assert!(sandbox.describe().contains("no control groups (switched off)"));
    for function in [
        python("def handler(e, c):\n  a = []\n  while True: a.append(bytearray(1 << 20))"),
        node("function handler() { const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1)); }"),
    ] {
        let outcome = sandbox.call_once(&function, &call("{}")).await.unwrap();
        assert_eq!(summary(&outcome), ("failed", "the function used more memory than its limit of 128 MB"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_groups_are_gone_with_their_workers() {
    let name = format!("sandbox-test-{}", std::process::id());
    let config = SandboxConfig { control_group_name: name.clone(), ..SandboxConfig::default() };
    let sandbox = Sandbox::new(config).unwrap();
    let Some(folder) = sandbox
        .describe()
        .split_once("control groups v1 (")
        .and_then(|(_, rest)| rest.split_once(')').map(|(folder, _)| std::path::PathBuf::from(folder)))
    else {
        return;
    };
    let groups = || fs::read_dir(&folder).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    let worker = sandbox.start(&python("def handler(e, c): pass")).await.unwrap();
    assert_eq!(groups(), 1);
    worker.kill().await;
    assert_eq!(groups(), 0);
    for controller in ["memory", "pids", "cpu"] {
        fs::remove_dir(folder.parent().unwrap().parent().unwrap().join(controller).join(&name)).unwrap();
    }
}
