//! Programs that speak AWS's Runtime API: what they are given, and what they cannot do with it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use sandbox::{Protocol, StartError};
use tempfile::TempDir;

use super::*;

/// What the bootstraps below have in common.
const CLIENT: &str = r#"#!/usr/bin/python3 -I
import http.client, json, os, socket, sys, time
HOST, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
BASE = "/2018-06-01/runtime/"
def ask(method, path, body=None, headers={}, connection=None):
    connection = connection or http.client.HTTPConnection(HOST, int(PORT))
    connection.request(method, BASE + path, body, headers)
    response = connection.getresponse()
    return response.status, dict((k.lower(), v) for k, v in response.getheaders()), response.read()
def next():
    status, headers, body = ask("GET", "invocation/next")
    assert status == 200, (status, body)
    return headers["lambda-runtime-aws-request-id"], headers, json.loads(body)
def respond(id, value):
    return ask("POST", f"invocation/{id}/response", json.dumps(value))[0]
def kind(answer):
    return [answer[0], json.loads(answer[2])["errorType"]]
"#;

/// A package whose `bootstrap` is the client above and this.
fn package(program: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let bootstrap = folder.path().join("bootstrap");
    fs::write(&bootstrap, format!("{CLIENT}{program}")).unwrap();
    fs::set_permissions(&bootstrap, PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// A function of its own program; `None` where the sandbox cannot open the API, because it is not root's.
pub(crate) fn provided(folder: &Path) -> Option<FunctionCode> {
    let function = FunctionCode {
        code: Code::Folder(folder.into()),
        handler: "index.handler".to_owned(),
        launch: Launch {
            protocol: Protocol::RuntimeApi { command: vec!["/var/task/bootstrap".to_owned()].into() },
            ..Launch::default()
        },
        ..function(Language::Provided, "")
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can open the Runtime API inside a sandbox");
        return None;
    }
    Some(function)
}

async fn started(program: &str) -> Option<(Worker, TempDir)> {
    let folder = package(program);
    let function = provided(folder.path())?;
    Some((start(&function).await, folder))
}

#[tokio::test]
async fn a_bootstrap_is_given_invocations_with_what_is_known_of_them() {
    let program = r#"
while True:
    id, headers, event = next()
    print("at work on", event["n"], flush=True)
    left = int(headers["lambda-runtime-deadline-ms"]) - time.time() * 1000
    names = ["AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION", "_HANDLER",
             "LAMBDA_TASK_ROOT", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_RUNTIME_API", "OWN"]
    respond(id, {"id": id, "n": event["n"], "pid": os.getpid(), "left": 18000 < left <= 20000, "cwd": os.getcwd(),
        "arn": headers["lambda-runtime-invoked-function-arn"], "type": headers["content-type"],
        "environment": [os.environ[name] for name in names]})
"#;
    let folder = package(program);
    let Some(mut function) = provided(folder.path()) else { return };
    function.environment.insert("OWN".to_owned(), "a b\n\"c\"".to_owned());
    function.environment.insert("_HANDLER".to_owned(), "forged".to_owned());
    let mut worker = start(&function).await;
    let mut pids = Vec::new();
    for n in 1..=3 {
        let call = call(&format!(r#"{{"n": {n}}}"#));
        let outcome = worker.invoke(&call).await;
        let (status, text) = summary(&outcome);
        assert_eq!(status, "success", "{text}");
        let answer: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(answer["id"], call.execution_id);
        assert_eq!(answer["n"], n);
        assert_eq!(answer["left"], true);
        assert_eq!(answer["cwd"], "/var/task");
        assert_eq!(answer["type"], "application/json");
        assert_eq!(answer["arn"], "arn:aws:lambda:local:000000000000:function:a-function");
        let environment = [
            "a-function",
            "128",
            "$LATEST",
            "index.handler",
            "/var/task",
            "/aws/lambda/a-function",
            "127.0.0.1:9001",
            "a b\n\"c\"",
        ];
        assert_eq!(answer["environment"], serde_json::json!(environment));
        assert_eq!(outcome.logs, format!("at work on {n}\n"));
        assert!(outcome.worker_reusable);
        pids.push(answer["pid"].clone());
    }
    pids.dedup();
    assert_eq!(pids.len(), 1, "one process, many calls");
}

#[tokio::test]
async fn errors_come_back_in_the_words_of_the_built_in_workers_and_the_runtime_lives_on() {
    let program = r#"
while True:
    id, headers, event = next()
    status = ask("POST", f"invocation/{id}/error", event["body"], {"Lambda-Runtime-Function-Error-Type": "Header.Type"})[0]
    assert status == 202, status
"#;
    let Some((mut worker, _folder)) = started(program).await else { return };
    for (body, error) in [
        (r#"{\"errorMessage\": \"'k'\", \"errorType\": \"KeyError\", \"stackTrace\": [\"x\"]}"#, "KeyError: 'k'"),
        (r#"{\"errorMessage\": \"only\"}"#, "Header.Type: only"),
        ("nonsense", "Header.Type"),
    ] {
        let outcome = worker.invoke(&call(&format!(r#"{{"body": "{body}"}}"#))).await;
        assert_eq!(summary(&outcome), ("failed", error));
        assert!(outcome.worker_reusable);
    }
}

#[tokio::test]
async fn a_runtime_that_does_not_start_says_why_and_one_that_ends_is_told_of() {
    for (program, expected) in [
        (
            r#"assert ask("POST", "init/error", '{"errorMessage": "no such module", "errorType": "ImportError"}')[0] == 202"#,
            "ImportError: no such module",
        ),
        ("sys.exit(3)", "the function exited with status 3 before it answered"),
        ("os.kill(os.getpid(), 11)", "the function was killed by signal 11 (SIGSEGV) before it answered"),
    ] {
        let folder = package(&format!("print('starting', flush=True)\n{program}\n"));
        let Some(function) = provided(folder.path()) else { return };
        match sandbox().start(&function).await {
            Err(StartError::Function { error, logs }) => {
                assert_eq!((error.as_str(), logs.as_str()), (expected, "starting\n"));
            }
            other => panic!("{program}: {other:?}"),
        }
    }
    let Some((mut worker, _folder)) = started("next()\nos._exit(9)\n").await else { return };
    let outcome = worker.invoke(&call("{}")).await;
    assert_eq!(summary(&outcome), ("failed", "the function exited with status 9 before it answered"));
    assert!(!outcome.worker_reusable);
}

#[tokio::test]
async fn a_bootstrap_that_cannot_be_run_is_the_functions_fault() {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let Some(function) = provided(folder.path()) else { return };
    match sandbox().start(&function).await {
        Err(StartError::Function { error, logs }) => {
            assert!(error.contains("127") && logs.contains("bootstrap"), "{error} {logs}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_runtime_that_never_asks_is_given_up() {
    let folder = package("time.sleep(600)\n");
    let Some(function) = provided(folder.path()) else { return };
    let config =
        SandboxConfig { start_timeout: layered_config::HumanDuration::from_millis(700), ..SandboxConfig::default() };
    let impatient = Sandbox::new(config).unwrap();
    let error = impatient.start(&function).await.expect_err("it never asks");
    assert_eq!(error.to_string(), "the function's code was not loaded within 700 ms");
}

#[tokio::test]
async fn answers_to_other_ids_twice_late_and_out_of_turn_are_refused_and_change_nothing() {
    let program = r#"
early = [kind(ask("POST", "invocation/none/response", "1")), ask("GET", "nowhere")[0], ask("POST", "invocation/next")[0]]
first, _, _ = next()
seen = [kind(ask("POST", "invocation/other/response", "666")), kind(ask("POST", "invocation/../response", "666")),
        kind(ask("GET", "invocation/next")), kind(ask("POST", "init/error", "{}"))]
respond(first, early + seen)
twice = kind(ask("POST", f"invocation/{first}/response", "666"))
second, _, _ = next()
late = kind(ask("POST", f"invocation/{first}/response", "666"))
late_error = kind(ask("POST", f"invocation/{first}/error", "{}"))
respond(second, [twice[0] in (403, 410), late, late_error])
next()
"#;
    let Some((mut worker, _folder)) = started(program).await else { return };
    let outcome = worker.invoke(&call("{}")).await;
    let unknown = r#"[400,"InvalidRequestID"]"#;
    let out_of_turn = r#"[403,"InvalidStateTransition"]"#;
    let expected = format!("[{unknown}, 404, 405, {unknown}, {unknown}, {out_of_turn}, {out_of_turn}]");
    assert_eq!(summary(&outcome).1.replace(' ', ""), expected.replace(' ', ""), "{outcome:?}");
    let outcome = worker.invoke(&call("{}")).await;
    let late = r#"[410,"InvocationExpired"]"#;
    assert_eq!(summary(&outcome).1.replace(' ', ""), format!("[true,{late},{late}]"), "{outcome:?}");
}

#[tokio::test]
async fn a_result_that_is_too_large_or_no_json_is_a_failure_of_its_own() {
    let program = r#"
while True:
    id, _, event = next()
    chunked = event == "chunked"
    body = (b"x" * 65536 for _ in range(200)) if chunked else event["body"] * event["times"]
    try: ask("POST", f"invocation/{id}/response", body)
    except OSError: pass  # the connection was closed on what is too large
"#;
    for (event, error) in [
        (r#"{"body": "xxxxxxxx", "times": 1000000}"#, "the result is 8000000 bytes; the limit is 6291456"),
        (r#""chunked""#, "the result is larger than the limit of 6291456 bytes"),
    ] {
        let Some((mut worker, _folder)) = started(program).await else { return };
        let outcome = worker.invoke(&call(event)).await;
        assert_eq!(summary(&outcome), ("failed", error));
        assert!(!outcome.worker_reusable, "AWS's clients end after that");
    }
    let Some((mut worker, _folder)) = started(program).await else { return };
    let outcome = worker.invoke(&call(r#"{"body": "not JSON", "times": 1}"#)).await;
    assert_eq!(summary(&outcome), ("failed", "the result is not JSON"));
    let outcome = worker.invoke(&call(r#"{"body": "", "times": 1}"#)).await;
    assert_eq!(summary(&outcome), ("success", "null"));
    let outcome = worker.invoke(&call(r#"{"body": " [1, 2.50] ", "times": 1}"#)).await;
    assert_eq!(summary(&outcome).0, "success", "{outcome:?}");
    assert!(outcome.worker_reusable);
}

#[tokio::test]
async fn an_answer_that_trickles_is_ended_by_the_calls_deadline() {
    let program = r#"
id, _, _ = next()
s = socket.create_connection((HOST, int(PORT)))
s.sendall(f"POST {BASE}invocation/{id}/response HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n1".encode())
while True:
    time.sleep(0.05); s.sendall(b"1")
"#;
    let Some((mut worker, _folder)) = started(program).await else { return };
    let outcome = worker.invoke(&call_within("{}", Duration::from_millis(800))).await;
    assert_eq!(summary(&outcome), ("timeout", "the function did not answer within 800 ms"));
    assert!(!outcome.worker_reusable);
}

#[tokio::test]
async fn an_answer_that_broke_off_may_be_given_again() {
    let program = r#"
id, _, _ = next()
s = socket.create_connection((HOST, int(PORT)))
s.sendall(f"POST {BASE}invocation/{id}/response HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n1".encode())
s.close()
status = 403
while status == 403: status = respond(id, "whole")
next()
"#;
    let Some((mut worker, _folder)) = started(program).await else { return };
    assert_eq!(summary(&worker.invoke(&call("{}")).await), ("success", r#""whole""#));
}

#[tokio::test]
async fn hostile_a_thousand_connections_and_a_flood_of_requests_cost_the_function_itself_only() {
    let connections = r#"
held = []
id, _, _ = next()
for _ in range(4):
    if os.fork() == 0: break
for _ in range(240):
    s = socket.socket()
    s.setblocking(False)
    try: s.connect((HOST, int(PORT)))
    except BlockingIOError: pass
    held.append(s)
time.sleep(600)
"#;
    let flood = r#"
id, _, _ = next()
c = http.client.HTTPConnection(HOST, int(PORT))
while True: ask("GET", "invocation/next", connection=c)
"#;
    let garbage = r#"
id, _, _ = next()
while True:
    try:
        s = socket.create_connection((HOST, int(PORT)), 1)
        s.sendall(b"\x16\x03\x01" * 100 + b"GET / HTTP/9\r\n" + b"a: b\r\n" * 100000)
        s.close()
    except OSError: pass
"#;
    for program in [connections, flood, garbage] {
        let Some((mut worker, _folder)) = started(program).await else { return };
        let before = own_cpu();
        let outcome = worker.invoke(&call_within("{}", Duration::from_secs(2))).await;
        assert_eq!(summary(&outcome), ("timeout", "the function did not answer within 2 s"));
        let spent = own_cpu() - before;
        assert!(spent < Duration::from_millis(700), "the host spent {spent:?} on it");
    }
    assert_healthy().await;
}

/// CPU time of this process so far.
fn own_cpu() -> Duration {
    use nix::sys::{resource::UsageWho, time::TimeValLike};
    let usage = nix::sys::resource::getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let used = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(used).unwrap())
}

#[tokio::test]
async fn the_api_is_the_sandboxs_own_and_not_a_neighbours() {
    let program = "while True:\n    id, _, _ = next()\n    respond(id, id)\n";
    let Some((mut one, _one)) = started(program).await else { return };
    let Some((mut other, _other)) = started(program).await else { return };
    let (first, second) = (call("1"), call("2"));
    let (a, b) = tokio::join!(one.invoke(&first), other.invoke(&second));
    assert_eq!(summary(&a).1, format!("{:?}", first.execution_id));
    assert_eq!(summary(&b).1, format!("{:?}", second.execution_id));
    drop(one);
    assert_eq!(summary(&other.invoke(&call("3")).await).0, "success", "a neighbour's end is nothing to it");
}

#[tokio::test]
async fn a_secret_of_the_environment_is_on_no_command_line() {
    let folder = package("next()\ntime.sleep(600)\n");
    let Some(mut function) = provided(folder.path()) else { return };
    function.environment.insert("SECRET".to_owned(), "hush-hush-on-the-host".to_owned());
    let worker = start(&function).await;
    let read = |path: &Path| fs::read(path).unwrap_or_default();
    let needle = b"hush-hush-on-the-host";
    let seen = fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = read(&entry.path().join("cmdline"));
        line.windows(needle.len()).any(|window| window == needle)
    });
    assert!(!seen);
    worker.kill().await;
}
