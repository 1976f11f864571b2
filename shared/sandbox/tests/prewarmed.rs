//! Interpreters that wait for whichever function comes first.

use sandbox::{Kind, Prewarmed, StartError};

use super::*;

async fn prewarm(function: &FunctionCode) -> Prewarmed {
    let kind = Kind::of(function).expect("a built-in worker");
    sandbox().prewarm(&kind).await.unwrap()
}

#[tokio::test]
async fn it_becomes_one_functions_worker_with_all_that_a_cold_start_gives() {
    for mut function in [
        python(
            "import os\ncalls = 0\ndef handler(e, c):\n  global calls\n  calls += 1\n  return [calls, e, os.environ['OWN'], c.function_name, c.memory_limit_mb, os.getcwd()]",
        ),
        node(
            "let calls = 0; function handler(e, c) { return [++calls, e, process.env.OWN, c.function_name, c.memory_limit_mb, process.cwd()]; }",
        ),
    ] {
        function.environment.insert("OWN".to_owned(), "value".to_owned());
        let waiting = prewarm(&function).await;
        let mut worker = waiting.become_worker(&function).await.unwrap();
        for calls in 1..=2 {
            let outcome = worker.invoke(&call("7")).await;
            let expected = format!(r#"[{calls},7,"value","a-function",128,"/tmp"]"#);
            assert_eq!(summary(&outcome), ("success", expected.as_str()), "{}", outcome.logs);
        }
    }
}

#[tokio::test]
async fn a_package_is_mounted_read_only_into_this_one_alone() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can mount in a sandbox");
        return;
    }
    let files = [
        (
            "index.py",
            "import os, helper\ndef handler(e, c):\n  try: open('/var/task/new', 'w')\n  except OSError as error: return [helper.NAME, error.strerror, os.getcwd(), os.environ['LAMBDA_TASK_ROOT'], sorted(os.listdir('/var/task'))]",
        ),
        ("helper.py", "NAME = 'helper'"),
        (
            "index.mjs",
            "import fs from 'node:fs'; import {name} from './lib.mjs'; export const handler = () => [name, fs.readdirSync('/var/task').length, process.cwd()];",
        ),
        ("lib.mjs", "export const name = 'lib';"),
    ];
    let folder = crate::folders::folder(&files);
    let expected =
        r#"["helper","Read-only file system","/var/task","/var/task",["helper.py","index.mjs","index.py","lib.mjs"]]"#;
    for (language, handler, expected) in
        [(Language::Python, "index.handler", expected), (Language::Node, "index.handler", r#"["lib",4,"/var/task"]"#)]
    {
        let function = crate::folders::in_folder(language, folder.path(), handler);
        let (waiting, neighbour) = (prewarm(&function).await, prewarm(&function).await);
        let mut worker = waiting.become_worker(&function).await.unwrap();
        let outcome = worker.invoke(&call("{}")).await;
        assert_eq!(summary(&outcome), ("success", expected), "{}", outcome.logs);
        let look = match language {
            Language::Python => python("import os\ndef handler(e, c): return os.listdir('/var/task')"),
            _ => node("function handler() { return require('fs').readdirSync('/var/task'); }"),
        };
        let mut other = neighbour.become_worker(&look).await.unwrap();
        assert_eq!(summary(&other.invoke(&call("{}")).await), ("success", "[]"), "it sees its own package only");
    }
    let host = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!host.contains("/var/task"), "nothing is mounted on the host");
}

#[tokio::test]
async fn it_fits_functions_of_its_own_kind_only() {
    let function = python("def handler(e, c): pass");
    let waiting = prewarm(&function).await;
    assert!(waiting.fits(&function));
    assert!(!waiting.fits(&node("function handler() {}")));
    assert!(!waiting.fits(&FunctionCode { memory_bytes: 256 << 20, ..function.clone() }));
    let launch = Launch { interpreter: Some(std::path::Path::new("/usr/bin/python3").into()), ..Launch::default() };
    assert!(!waiting.fits(&FunctionCode { launch, ..function.clone() }));
}

#[tokio::test]
async fn limits_hold_as_after_a_cold_start_and_broken_code_says_so() {
    let greedy = python("def handler(e, c):\n  return len(bytearray(1 << 30))");
    let mut worker = prewarm(&greedy).await.become_worker(&greedy).await.unwrap();
    let outcome = worker.invoke(&call("{}")).await;
    assert_eq!(summary(&outcome), ("failed", "the function used more memory than its limit of 128 MB"));
    let broken = python("def handler(e, c:\n");
    match prewarm(&broken).await.become_worker(&broken).await {
        Err(StartError::Function { error, .. }) => assert!(error.starts_with("SyntaxError"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn cpu_time_and_memory_are_counted_for_each_call() {
    if !sandbox().describe().contains("control groups v") {
        eprintln!("skipped: no control groups here, which count it");
        return;
    }
    let function = python(
        "import time, os\ndef handler(e, c):\n  if e == 0: return 0\n  if os.fork() == 0:\n    end = time.process_time() + 0.3\n    while time.process_time() < end: pass\n    os._exit(0)\n  os.wait()\n  return 1",
    );
    let mut worker = start(&function).await;
    let idle = worker.invoke(&call("0")).await.cpu_time.unwrap();
    let busy = worker.invoke(&call("1")).await.cpu_time.unwrap();
    assert!(idle < Duration::from_millis(100), "{idle:?}");
    assert!((Duration::from_millis(280)..Duration::from_millis(900)).contains(&busy), "{busy:?}");
}
