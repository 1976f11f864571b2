//! Runtimes of the settings, programs that packages bring, interpreters that wait, workers that are kept.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;
use testkit::eventually;

use crate::{
    packages::{register, store, store_folder},
    system::{ECHO, ECHO_NODE, SOON, Setup, System},
};

/// A program of its own that answers with its event and the number of the call.
pub(crate) const BOOTSTRAP: &str = r#"#!/usr/bin/python3 -I
import http.client, json, os
host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
c = http.client.HTTPConnection(host, int(port))
calls = 0
while True:
    c.request("GET", "/2018-06-01/runtime/invocation/next")
    r = c.getresponse(); event = json.loads(r.read()); calls += 1
    print("call", calls, flush=True)
    body = json.dumps([event, calls, os.environ["_HANDLER"]])
    c.request("POST", f"/2018-06-01/runtime/invocation/{r.getheader('Lambda-Runtime-Aws-Request-Id')}/response", body)
    c.getresponse().read()
"#;

#[tokio::test]
async fn a_package_with_a_program_of_its_own_runs_warm() {
    if !nix_is_root() {
        eprintln!("skipped: only root can open the Runtime API inside a sandbox");
        return;
    }
    let system = System::start().await;
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("files");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("bootstrap"), BOOTSTRAP).unwrap();
    fs::set_permissions(folder.join("bootstrap"), PermissionsExt::from_mode(0o755)).unwrap();
    let artifact = store_folder(&system, &folder).await;
    let id = register(&system, "provided.al2023", "app.main", &artifact).await;
    for calls in 1..=3 {
        let answer = system.invoke(&id, &json!({"n": calls})).await;
        assert_eq!(answer["output"], json!([{"n": calls}, calls, "app.main"]), "{answer}");
        assert_eq!(answer["logs"], format!("call {calls}\n"));
        assert!(answer["memory_used_bytes"].as_u64().unwrap() > 0);
    }
}

fn nix_is_root() -> bool {
    fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"))
}

#[tokio::test]
async fn the_settings_say_which_runtimes_there_are_and_the_contracts_names_stay() {
    let settings = "[[runtimes]]\nname = \"python3.11\"\nkind = \"python\"\n\
                    [[runtimes]]\nname = \"snake*\"\nkind = \"python\"\ninterpreter = \"/usr/bin/python3\"\n\
                    [[runtimes]]\nname = \"lost\"\nkind = \"python\"\ninterpreter = \"/nowhere/python3\"\n\
                    [[prewarmed]]\nruntime = \"python3.11\"\ncount = 0\n";
    let system = Setup::default().file(settings).start().await;
    let files = [("index.py", "import sys\ndef handler(e, c): return sys.executable")];
    let artifact = store(&system, &files).await;
    let run = async |runtime: &str| {
        let id = register(&system, runtime, "index.handler", &artifact).await;
        system.try_invoke(&id, &json!({})).await
    };
    assert_eq!(run("python3.11").await.body["status"], "success");
    assert_eq!(run("snake7").await.body["output"], "/usr/bin/python3");
    let unknown = run("nodejs20").await.body;
    let error = "runtime `nodejs20` is not supported; use one of python3.11, snake*, lost";
    assert_eq!((&unknown["status"], &unknown["error"]), (&json!("failed"), &json!(error)));
    let lost = run("lost").await;
    assert_eq!(lost.status, 500, "an interpreter that is not there is the machine's fault: {lost:?}");
    for (runtime, status) in [("python3.11", 201), ("snake7", 400), ("provided", 400)] {
        let body = json!({"name": testkit::unique_name("f"), "runtime": runtime, "code": ECHO});
        assert_eq!(system.post("/api/v1/functions", &body).await.status, status, "{runtime}");
    }
}

#[tokio::test]
async fn a_first_call_finds_an_interpreter_that_waits_and_another_takes_its_place() {
    let system = System::start().await;
    let hits = async || system.metric("lambda_prewarmed_total{outcome=\"hit\"}").await;
    for (found, (runtime, code)) in
        [("python3.11", ECHO), ("nodejs20", ECHO_NODE), ("python3.9", ECHO)].iter().enumerate()
    {
        // The one that waits may be on its way: a call that does not find it is a cold start and no less right.
        eventually(SOON, || async {
            let id = system.create(runtime, code).await;
            assert_eq!(system.invoke(&id, &json!({"n": 1})).await["output"], json!({"n": 1}));
            hits().await > found as f64
        })
        .await;
    }
    let other_size = system.create_with(json!({"runtime": "python3.11", "code": ECHO, "memory": 256})).await;
    let before = hits().await;
    assert_eq!(system.invoke(&other_size, &json!(1)).await["output"], 1);
    assert_eq!(hits().await, before, "limits are set when an interpreter starts");
}

#[tokio::test]
async fn a_function_has_the_workers_that_it_was_promised_before_its_first_call() {
    let settings = "[pool.functions.\"promised\"]\nleast = 2\n[pool.functions.\"fresh\"]\nmax_calls = 1\n";
    let system = Setup::default().file(settings).start().await;
    let body = json!({"name": "promised", "runtime": "python3.11", "code": ECHO});
    let created = system.post("/api/v1/functions", &body).await;
    eventually(SOON, || async { system.metric("lambda_pool_workers{state=\"idle\"}").await >= 2.0 }).await;
    let id = created.body["function_id"].as_str().unwrap().to_owned();
    system.invoke(&id, &json!(1)).await;
    let history = system.get(&format!("/api/v1/functions/{id}/executions")).await.body;
    assert_eq!(history["executions"][0]["IsWarmStart"], true);

    let counter = "calls = 0\ndef handler(e, c):\n    global calls\n    calls += 1\n    return calls";
    let body = json!({"name": "fresh", "runtime": "python3.11", "code": counter});
    let fresh = system.post("/api/v1/functions", &body).await.body["function_id"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        assert_eq!(system.invoke(&fresh, &json!({})).await["output"], 1, "every call in a worker of its own");
    }
}
