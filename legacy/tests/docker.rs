//! Functions in Docker's containers: with the daemon that `TESTKIT_DOCKER_HOST` names (a socket's
//! path), or with one that the test starts for itself where it can.
//!
//! The image is made here, of this machine's own Python, so that no registry is needed.

use std::{path::Path, time::Duration};

use reqwest::Method;
use serde_json::json;
use testkit::{TestDocker, eventually, or_skip};

use crate::system::{DEADLINE, System};

const IMAGE: &str = "mini-lambda-test-python:latest";

/// The containers of a pool.
fn containers(daemon: &TestDocker, pool: &str) -> Vec<String> {
    daemon.containers(&format!("mini-lambda.legacy.pool={pool}"))
}

async fn start(daemon: &TestDocker, python: &Path, pool: &str, name_of_file: &tempfile::NamedTempFile) -> System {
    let settings = format!(
        "[executor]\nkind = \"docker\"\nmemory = \"128 MiB\"\n\n\
         [executor.docker]\nsocket = {:?}\npool = {pool:?}\nwarm = 1\n\n\
         [executor.docker.images.\"python3.11\"]\nimage = {IMAGE:?}\ninterpreter = {:?}\n",
        daemon.socket, python
    );
    std::fs::write(name_of_file.path(), settings).expect("the settings");
    System::start_with(|spawn| spawn.arg("--config").arg(name_of_file.path())).await
}

#[tokio::test]
async fn functions_run_in_containers() {
    let Some(daemon) = or_skip(TestDocker::find().await) else { return };
    let python = daemon.import_python(IMAGE);
    let pool = testkit::unique_name("legacy");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut system = start(&daemon, &python, &pool, &file).await;
    assert_eq!(containers(&daemon, &pool).len(), 1, "one was started ahead");

    let code = "import os\n\ndef handler(event, context):\n    print('hello')\n    return {'n': event['n'], 'mode': os.environ.get('MODE'), 'pids': len([p for p in os.listdir('/proc') if p.isdigit()])}\n";
    let body = json!({"name": "f", "runtime": "python3.11", "code": code, "environment": {"MODE": "docker"}});
    let function = system.function(&body).await;
    for n in 0..3 {
        let answer = system.invoke(&function, &json!({"n": n})).await;
        assert_eq!((answer.status, &answer.body["status"]), (200, &json!("success")), "{answer:?}");
        assert_eq!(answer.body["output"]["n"], json!(n));
        assert_eq!(answer.body["output"]["mode"], "docker");
        assert_eq!(answer.body["output"]["pids"], 2, "the container's first process and the function's");
        assert_eq!(answer.body["logs"], "hello\n");
    }
    let listed = system.get(&format!("/api/v1/functions/{function}/executions")).await.body;
    assert_eq!(listed["executions"][2]["IsWarmStart"], true, "the first found the one that was started ahead");

    let missing = system.function(&json!({"name": "node", "runtime": "nodejs20", "code": "x"})).await;
    let answer = system.invoke(&missing, &json!({})).await;
    assert_eq!((answer.status, &answer.body["error"]), (500, &json!("failed_to_invoke_function")));
    let go = system.function(&json!({"name": "go", "runtime": "go1.21", "code": "x"})).await;
    assert_eq!(system.invoke(&go, &json!({})).await.body["status"], "failed");

    leaves_nothing_behind(&system, &daemon, &pool).await;

    // Killed: what it leaves behind is removed by its next life; ended in order: nothing is left. One that is just
    // being removed is not what a kill leaves, so it has one that has just served a call.
    let answer = system.invoke(&function, &json!({"n": 3})).await;
    assert_eq!(answer.body["status"], "success", "{answer:?}");
    let runs = |container: &String| daemon.docker(&["top", container]).status.success();
    eventually(DEADLINE, || async {
        let containers = containers(&daemon, &pool);
        !containers.is_empty() && containers.iter().all(runs)
    })
    .await;
    let before = containers(&daemon, &pool);
    system.legacy.kill().await;
    assert_eq!(containers(&daemon, &pool).len(), before.len());
    system.legacy.start_again().await;
    let after = containers(&daemon, &pool);
    assert!(after.len() == 1 && !before.contains(&after[0]), "{before:?} {after:?}");
    let ended = system.legacy.terminate(Duration::from_secs(30)).await;
    assert!(ended.success(), "{}", system.legacy.log());
    assert_eq!(containers(&daemon, &pool), Vec::<String>::new());
}

/// A function that forks into the background, and one that does not end: neither outlives its call.
async fn leaves_nothing_behind(system: &System, daemon: &TestDocker, pool: &str) {
    let forks = "import os, time\n\ndef handler(event, context):\n    for _ in range(5):\n        if os.fork() == 0:\n            os.setsid()\n            time.sleep(600)\n    return 'forked'\n";
    let function = system.python("forks", forks).await;
    let answer = system.invoke(&function, &json!({})).await;
    assert_eq!(answer.body["output"], "forked", "{answer:?}");

    let hangs = json!({
        "name": "hangs", "runtime": "python3.11", "timeout": 1,
        "code": "import os, time\n\ndef handler(event, context):\n    os.fork()\n    time.sleep(600)\n"
    });
    let function = system.function(&hangs).await;
    let answer = system.invoke(&function, &json!({})).await;
    assert_eq!(answer.body["status"], "timeout", "{answer:?}");

    eventually(DEADLINE, || async {
        containers(daemon, pool).iter().all(|container| {
            let top = daemon.docker(&["top", container]);
            // A container that is being removed has no list of processes.
            !top.status.success() || String::from_utf8_lossy(&top.stdout).lines().count() == 2
        })
    })
    .await;
    let answer = system.call(Method::GET, "/readyz", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
