//! Functions in Docker's containers, on a daemon of the test's own.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{TestDocker, eventually, or_skip};

use crate::{
    packages::{register, register_code, store, store_folder},
    system::{ECHO, SOON, Setup},
};

const IMAGE: &str = "lambda-test-python:latest";
const NODE_IMAGE: &str = "lambda-test-node:latest";
const LABEL: &str = "mini-lambda.home";

/// A daemon with an image of Python, and a folder for a service's workers.
struct Docker {
    daemon: TestDocker,
    settings: String,
    home: TempDir,
}

impl Docker {
    async fn find() -> Result<Self, String> {
        let daemon = TestDocker::find().await?;
        let python = daemon.import_python(IMAGE);
        let home = tempfile::tempdir().unwrap();
        let python = python.display();
        let runtime = |name: &str, rest: &str| format!("[[runtimes]]\nname = {name:?}\nimage = {IMAGE:?}\n{rest}\n");
        let settings = [
            "executor = \"docker\"\n".to_owned(),
            runtime("python3.11", &format!("kind = \"python\"\ninterpreter = \"{python}\"")),
            runtime("provided", "kind = \"provided\""),
            "[[runtimes]]\nname = \"nodejs20\"\nkind = \"node\"\nimage = \"nowhere/node:20\"\n".to_owned(),
            "[[runtimes]]\nname = \"bare\"\nkind = \"python\"\n".to_owned(),
            "[[prewarmed]]\nruntime = \"python3.11\"\ncount = 1\n".to_owned(),
            format!("[docker]\nsocket = {:?}\nfolder = \"{}\"\n", daemon.socket, home.path().display()),
        ];
        Ok(Self { daemon, settings: settings.concat(), home })
    }

    /// Has an image of this machine's Node, too.
    fn with_node(mut self) -> Self {
        let (node, files) = TestDocker::node();
        self.daemon.import(NODE_IMAGE, files);
        let node = node.display();
        let runtime = "[[runtimes]]\nname = \"nodejs18\"\nkind = \"node\"";
        self.settings += &format!("{runtime}\nimage = {NODE_IMAGE:?}\ninterpreter = \"{node}\"\n");
        self
    }

    fn setup(&self) -> Setup {
        Setup::default().file(&self.settings).with("DATABASE__ACQUIRE_TIMEOUT", "20s")
    }

    /// An image of Python with these files where functions have their code; its digest.
    fn image_with(&self, files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let task = folder.path().join("var/task");
        fs::create_dir_all(&task).unwrap();
        for (name, content) in files {
            fs::write(task.join(name), content).unwrap();
        }
        let docker = |arguments: &[&str]| {
            let output = self.daemon.docker(arguments);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let container = docker(&["create", IMAGE, "/bin/sh"]);
        docker(&["cp", folder.path().join("var").to_str().unwrap(), &format!("{container}:/")]);
        let image = docker(&["commit", &container]);
        docker(&["rm", &container]);
        image.strip_prefix("sha256:").unwrap().to_owned()
    }

    fn containers(&self) -> Vec<String> {
        self.daemon.containers(&format!("{LABEL}={}", fs::canonicalize(self.home.path()).unwrap().display()))
    }
}

#[tokio::test]
async fn calls_are_answered_by_warm_containers() {
    let Some(docker) = or_skip(Docker::find().await) else { return };
    let system = docker.setup().with("POOL__IDLE_TTL", "1h").start().await;
    let hits = async || system.metric("lambda_prewarmed_total{outcome=\"hit\"}").await;
    eventually(SOON, || async { docker.containers().len() == 1 }).await;

    // Sources: state is kept, prints are in the log of their call, memory and CPU are counted.
    let code = "import os\ncalls = 0\ndef handler(e, c):\n    global calls\n    calls += 1\n    print('call', calls)\n    \
                sum(range(500000))\n    return [calls, e['n'], os.environ['MODE'], os.getuid(), c.memory_limit_mb]\n";
    let fields = json!({"runtime": "python3.11", "code": code, "environment": {"MODE": "docker"}});
    let id = system.create_with(fields).await;
    for n in 1..=20 {
        let answer = system.invoke(&id, &json!({"n": n})).await;
        assert_eq!(answer["output"], json!([n, n, "docker", 65534, 128]), "{answer}");
        assert_eq!(answer["logs"], format!("call {n}\n"));
        assert!(answer["memory_used_bytes"].as_u64().unwrap() > 1 << 20, "{answer}");
    }
    let cpu = system.metric("lambda_invocation_cpu_seconds_sum").await;
    assert!(cpu > 0.01, "{cpu} s of CPU for 20 calls");
    assert_eq!(system.metric("lambda_pool_workers{state=\"idle\"}").await, 1.0);

    // Packages, also into an interpreter that waits; a program of its own over AWS's Runtime API.
    let files = [
        ("pkg/mod.py", "from .names import NAME\nimport os\ndef handler(e, c):\n  return [NAME, os.getcwd()]"),
        ("pkg/names.py", "NAME = 'n'"),
    ];
    let artifact = store(&system, &files).await;
    let before = hits().await;
    eventually(SOON, || async {
        let id = register(&system, "python3.11", "pkg/mod.handler", &artifact).await;
        assert_eq!(system.invoke(&id, &json!({})).await["output"], json!(["n", "/var/task"]));
        hits().await > before
    })
    .await;
    let work = tempfile::tempdir().unwrap();
    let python =
        docker.settings.lines().find_map(|line| line.strip_prefix("interpreter = ")).unwrap().trim_matches('"');
    let bootstrap = crate::runtimes::BOOTSTRAP.replace("/usr/bin/python3", python);
    fs::write(work.path().join("bootstrap"), bootstrap).unwrap();
    fs::set_permissions(work.path().join("bootstrap"), PermissionsExt::from_mode(0o755)).unwrap();
    let artifact = store_folder(&system, work.path()).await;
    let id = register(&system, "provided", "app.main", &artifact).await;
    for calls in 1..=3 {
        let answer = system.invoke(&id, &json!({"n": calls})).await;
        assert_eq!(answer["output"], json!([{"n": calls}, calls, "app.main"]), "{answer}");
        assert_eq!(answer["logs"], format!("call {calls}\n"));
    }

    // An image with its code in it.
    let image =
        docker.image_with(&[("index.py", "import os\ndef handler(e, c):\n    return [e, os.getcwd(), os.getuid()]\n")]);
    let id = register_code(&system, "python3.11", "index.handler", &domain::image_key(&image)).await;
    assert_eq!(system.invoke(&id, &json!({"n": 1})).await["output"], json!([{"n": 1}, "/var/task", 65534]));
    let listed = system.get("/.well-known/strangler/only-here").await.body;
    assert!(listed["keys"].as_array().unwrap().contains(&json!(id)), "{listed}");

    // What cannot run says why.
    let id = system.create("nodejs20", "function handler() {}").await;
    assert_eq!(system.try_invoke(&id, &json!({})).await.status, 500);
    assert!(
        system.service.log().contains("the image nowhere/node:20 is not on this machine"),
        "{}",
        system.service.log()
    );
    let id = register(&system, "bare", "index.handler", &artifact).await;
    let answer = system.invoke(&id, &json!({})).await;
    assert_eq!(answer["error"], "functions of the runtime bare have no image to run in");

    // Drained, nothing is left.
    let status = system.service.terminate(SOON * 2).await;
    assert!(status.success(), "{status} {}", system.service.log());
    assert_eq!(docker.containers(), Vec::<String>::new(), "{}", system.service.log());
}

#[tokio::test]
async fn javascript_runs_in_containers_as_well() {
    let Some(docker) = or_skip(Docker::find().await) else { return };
    let docker = docker.with_node();
    let system = docker.setup().start().await;
    let code = "let calls = 0;\nasync function handler(event, context) {\n  console.log('call', ++calls);\n  \
                return [calls, event.n, process.getuid()];\n}\n";
    let id = system.create("nodejs18", code).await;
    for n in 1..=3 {
        let answer = system.invoke(&id, &json!({"n": n})).await;
        assert_eq!(answer["output"], json!([n, n, 65534]), "{answer}");
        assert_eq!(answer["logs"], format!("call {n}\n"));
    }
    let files = [
        (
            "index.js",
            "const { name } = require('./lib/names');\nexports.handler = async () => [name, process.cwd()];\n",
        ),
        ("lib/names.js", "exports.name = 'n';\n"),
    ];
    let artifact = store(&system, &files).await;
    let id = register(&system, "nodejs18", "index.handler", &artifact).await;
    let answer = system.invoke(&id, &json!({})).await;
    assert_eq!(answer["output"], json!(["n", "/var/task"]), "{answer}");
}

#[tokio::test]
async fn idle_containers_go_and_those_whose_client_has_left() {
    let Some(docker) = or_skip(Docker::find().await) else { return };
    let system = docker.setup().with("POOL__IDLE_TTL", "500ms").start().await;
    eventually(SOON, || async { docker.containers().len() == 1 }).await;
    let id = system.create("python3.11", ECHO).await;
    system.invoke(&id, &json!({})).await;
    let one_waits = || async {
        docker.containers().len() == 1 && system.metric("lambda_pool_workers{state=\"idle\"}").await == 0.0
    };
    eventually(SOON, one_waits).await;
    // A client that leaves takes its container along.
    let id = system.create("python3.11", "import time\ndef handler(e, c):\n    time.sleep(e.get('s', 600))\n").await;
    system.invoke(&id, &json!({"s": 0})).await;
    system.invoke_and_leave(&id, Duration::from_millis(500)).await;
    eventually(SOON, one_waits).await;
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let home = tempfile::tempdir().unwrap();
    let settings = format!(
        "executor = \"docker\"\n[docker]\nsocket = \"/nowhere/docker.sock\"\nfolder = \"{}\"\n",
        home.path().display()
    );
    let system = Setup::default().file(&settings).with("POOL__SANDBOX_WAIT", "100ms").spawn().await;
    let missing = async || {
        let answer = system.try_send(reqwest::Method::GET, "/readyz", "").await;
        answer.map_or(String::new(), |answer| answer.body.to_string())
    };
    eventually(SOON, || async {
        missing().await.contains("Docker cannot be reached at /nowhere/docker.sock; start dockerd")
    })
    .await;
}

struct Hostile {
    name: &'static str,
    code: &'static str,
    status: &'static str,
    /// Part of the error's text, or the output.
    says: &'static str,
}

const HOSTILE: &[Hostile] = &[
    Hostile {
        name: "timeout",
        code: "import os\ndef handler(e, c):\n    os.fork()\n    while True: pass",
        status: "timeout",
        says: "did not answer within 2 s",
    },
    Hostile {
        name: "fork bomb",
        code: "import os\ndef handler(e, c):\n    while True:\n        try: os.fork()\n        except OSError: pass",
        status: "timeout",
        says: "did not answer within 2 s",
    },
    Hostile {
        name: "memory",
        code: "def handler(e, c):\n    return len(b'x' * (1 << 30))",
        status: "failed",
        says: "the function used more memory than its limit of 128 MB",
    },
    Hostile {
        name: "memory of many",
        code: "import os, time\ndef handler(e, c):\n    for _ in range(16):\n        if os.fork() == 0:\n            \
               x = bytearray(100 << 20)\n            time.sleep(60)\n    time.sleep(60)",
        status: "",
        says: "",
    },
    Hostile {
        name: "disk",
        code: "def handler(e, c):\n    errors = []\n    for place in ['/tmp', '/dev/shm']:\n        try:\n            \
               for n in range(100):\n                open(f'{place}/{n}', 'wb').write(b'x' * (4 << 20))\n        \
               except OSError as error: errors.append(error.errno)\n    for place in ['/etc/x', '/usr/x', '/run/doorway/x', '/var/task/x', '/dev/x']:\n        \
               try: open(place, 'w'); errors.append(place)\n        except OSError: pass\n    return str(errors)",
        status: "success",
        says: "[28, 28]",
    },
    Hostile {
        name: "network",
        code: "import os, socket\ndef handler(e, c):\n    found = []\n    for address in [('127.0.0.1', e['port']), ('8.8.8.8', 53)]:\n        \
               try: socket.create_connection(address, 1); found.append(address)\n        except OSError as error: pass\n    \
               return str(found)",
        status: "success",
        says: "[]",
    },
    Hostile {
        name: "others",
        code: "import os\ndef handler(e, c):\n    own = {str(os.getpid()), '1'}\n    pids = [p for p in os.listdir('/proc') if p.isdigit() and p not in own]\n    \
               killed = []\n    for pid in range(2, 5000):\n        if pid == os.getpid(): continue\n        \
               try: os.kill(pid, 9); killed.append(pid)\n        except OSError: pass\n    \
               seen = [k for k in os.environ if 'SERVICE' in k] + os.listdir('/run/doorway')\n    return str([pids, killed, seen])",
        status: "success",
        says: "[[], [], []]",
    },
    Hostile {
        name: "privileges",
        code: "import ctypes, os\ndef handler(e, c):\n    libc = ctypes.CDLL(None, use_errno=True)\n    done = []\n    \
               for name, call in [('root', lambda: os.setuid(0)), ('chroot', lambda: os.chroot('/tmp'))]:\n        \
               try: call(); done.append(name)\n        except OSError: pass\n    \
               if libc.unshare(0x10000000) == 0: done.append('namespace')\n    if libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0: done.append('mount')\n    \
               status = open('/proc/self/status').read()\n    return str([done, 'NoNewPrivs:\\t1' in status, 'CapBnd:\\t0000000000000000' in status, 'Seccomp:\\t2' in status])",
        status: "success",
        says: "[[], True, True, True]",
    },
    Hostile {
        name: "exit",
        code: "import os\ndef handler(e, c):\n    os._exit(3)",
        status: "failed",
        says: "the function exited with status 3 before it answered",
    },
    Hostile {
        name: "crash",
        code: "import os, signal\ndef handler(e, c):\n    print('last words')\n    os.kill(os.getpid(), signal.SIGSEGV)",
        status: "failed",
        says: "the function was killed by signal 11 (SIGSEGV) before it answered",
    },
    Hostile { name: "syntax", code: "def handler(", status: "failed", says: "SyntaxError" },
];

#[tokio::test]
async fn hostile_functions_are_contained_and_their_neighbour_is_unharmed() {
    let Some(docker) = or_skip(Docker::find().await) else { return };
    let system = docker.setup().with("POOL__IDLE_TTL", "1h").start().await;
    let neighbour = system.create("python3.11", ECHO).await;
    system.invoke(&neighbour, &json!({})).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let event = json!({"port": listener.local_addr().unwrap().port()});
    for case in HOSTILE {
        let fields = json!({"runtime": "python3.11", "code": case.code, "timeout": 2, "memory": 128});
        let id = system.create_with(fields).await;
        let answer = system.invoke(&id, &event).await;
        let said = answer["error"].as_str().or_else(|| answer["output"].as_str()).unwrap_or_default();
        assert!(answer["status"] == case.status || case.status.is_empty(), "{}: {answer}", case.name);
        assert!(said.contains(case.says), "{}: {answer}", case.name);
        assert_eq!(system.invoke(&neighbour, &json!({"after": case.name})).await["output"]["after"], case.name);
    }
    let neighbours = system.get(&format!("/api/v1/functions/{neighbour}/executions")).await.body;
    let cold = |execution: &&Value| execution["IsWarmStart"] == false;
    let cold = neighbours["executions"].as_array().unwrap().iter().filter(cold).count();
    assert_eq!(cold, 1, "the neighbour kept its worker");
}

#[tokio::test]
async fn kill_leaves_containers_to_the_next_life_alone() {
    let Some(docker) = or_skip(Docker::find().await) else { return };
    let mut system = docker.setup().with("POOL__IDLE_TTL", "1h").start().await;
    // Another replica with the same folder, whose containers must stay.
    let other = docker.setup().beside(&system).start().await;
    eventually(SOON, || async { docker.containers().len() == 2 }).await;
    let counter = "calls = 0\ndef handler(e, c):\n    global calls\n    calls += 1\n    return calls\n";
    let kept = other.create("python3.11", counter).await;
    assert_eq!(other.invoke(&kept, &json!({})).await["output"], 1);
    let sleeps = system.create("python3.11", "import time\ndef handler(e, c):\n    time.sleep(600)\n").await;
    for _ in 0..3 {
        let before = docker.containers();
        let call = tokio::spawn({
            let url = system.service.url(&format!("/api/v1/functions/{sleeps}/invoke"));
            async move { reqwest::Client::new().post(url).body("{}").send().await }
        });
        eventually(SOON, || async { system.metric("lambda_pool_workers{state=\"busy\"}").await == 1.0 }).await;
        system.service.kill().await;
        let _ = call.await;
        let left = docker.containers();
        assert!(left.len() >= 3, "a kill leaves containers behind: {before:?} {left:?}");
        system.service.start_again().await;
        // Its own that waits, the other's that waits and the other's worker.
        eventually(SOON, || async { docker.containers().len() == 3 }).await;
        let now = docker.containers();
        assert_eq!(left.iter().filter(|container| now.contains(container)).count(), 2, "{left:?} {now:?}");
    }
    assert_eq!(other.invoke(&kept, &json!({})).await["output"], 2, "the other's worker is the same");
}
