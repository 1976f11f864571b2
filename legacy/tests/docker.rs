//! Functions in Docker's containers: with the daemon that `TESTKIT_DOCKER_HOST` names (a socket's
//! path), or with one that the test starts for itself where it can.
//!
//! The image is made here, of this machine's own Python, so that no registry is needed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use nix::unistd::Uid;
use reqwest::Method;
use serde_json::json;
use testkit::eventually;

use crate::system::{DEADLINE, System};

const IMAGE: &str = "mini-lambda-test-python:latest";

/// A daemon: somebody else's, or our own, which ends with this value.
struct Daemon {
    socket: String,
    own: Option<(std::process::Child, tempfile::TempDir)>,
}

impl Daemon {
    /// `Err` says why there is none.
    async fn find() -> Result<Self, String> {
        if let Ok(host) = std::env::var("TESTKIT_DOCKER_HOST") {
            let socket = host.strip_prefix("unix://").unwrap_or(&host).to_owned();
            return Ok(Self { socket, own: None });
        }
        if !Uid::effective().is_root() {
            return Err("TESTKIT_DOCKER_HOST is not set, and dockerd needs root".to_owned());
        }
        Self::start().await
    }

    async fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let at = |name: &str| folder.path().join(name);
        let socket = at("docker.sock").display().to_string();
        let log = std::fs::File::create(at("log")).map_err(|error| error.to_string())?;
        let child = Command::new("dockerd")
            .args(["--host", &format!("unix://{socket}")])
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"])
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("dockerd cannot be started: {error}"))?;
        let mut daemon = Self { socket, own: Some((child, folder)) };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            if daemon.docker(&["version"]).is_ok_and(|output| output.status.success()) {
                return Ok(daemon);
            }
            let (child, folder) = daemon.own.as_mut().expect("just started");
            let ended = child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || tokio::time::Instant::now() > deadline {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                return Err(format!("dockerd does not run here: {}", log.lines().last().unwrap_or_default()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn docker(&self, arguments: &[&str]) -> std::io::Result<Output> {
        Command::new("docker").args(["--host", &format!("unix://{}", self.socket)]).args(arguments).output()
    }

    fn containers(&self, pool: &str) -> Vec<String> {
        let label = format!("label=mini-lambda.legacy.pool={pool}");
        let output = self.docker(&["ps", "-aq", "--no-trunc", "--filter", &label]).expect("docker ps");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Imports an image of this machine's Python.
    fn import_python(&self) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tar = folder.path().join("root.tar");
        python_root(&tar);
        let imported = self.docker(&["import", &tar.display().to_string(), IMAGE]).expect("docker import");
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some((child, _folder)) = &mut self.own {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
            // In order, so that it takes its containerd along.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

/// A tar of the files that Python and `/bin/sh` need: themselves, the standard library, and the
/// shared libraries that `ldd` names.
fn python_root(tar: &Path) {
    let asked = Command::new("/usr/bin/python3")
        .args([
            "-I",
            "-S",
            "-c",
            "import os, sys; print(os.path.realpath(sys.executable)); print(os.path.dirname(os.__file__))",
        ])
        .output()
        .expect("python3");
    let asked = String::from_utf8(asked.stdout).expect("paths");
    let [python, library] = asked.lines().collect::<Vec<_>>()[..] else { panic!("two paths: {asked}") };
    let modules = std::fs::read_dir(Path::new(library).join("lib-dynload")).expect("Python's compiled modules");
    let mut programs: Vec<PathBuf> = vec![python.into(), "/bin/sh".into()];
    programs.extend(modules.filter_map(|module| Some(module.ok()?.path())));
    let linked = Command::new("ldd").args(&programs).output().expect("ldd");
    let mut files: Vec<String> = String::from_utf8_lossy(&linked.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(str::to_owned)
        .collect();
    files.extend([python.to_owned(), "/bin/sh".to_owned(), library.to_owned()]);
    files.sort();
    files.dedup();
    // By way of a folder, because an import makes what the tar does not name closed to all but root;
    // and dereferenced, because links such as /lib and /bin/sh would lead nowhere in the image.
    let root = tempfile::tempdir().expect("a temporary folder");
    run(Command::new("cp").args(["--recursive", "--dereference", "--parents"]).args(files).arg(root.path()));
    run(Command::new("chmod").arg("0755").arg(root.path()));
    run(Command::new("tar")
        .args(["--create", "--exclude=__pycache__", "--exclude=*/python3*/test", "--exclude=*/config-*"])
        .arg("--file")
        .arg(tar)
        .arg("--directory")
        .arg(root.path())
        .arg("."));
}

fn run(command: &mut Command) {
    let output = command.output().expect("coreutils");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Skipping is said aloud, so that a test run that proves less than it could is seen to.
macro_rules! daemon_or_skip {
    () => {
        match Daemon::find().await {
            Ok(daemon) => daemon,
            Err(why) => {
                eprintln!("skipped: {why}");
                return;
            }
        }
    };
}

async fn start(daemon: &Daemon, pool: &str, name_of_file: &tempfile::NamedTempFile) -> System {
    let settings = format!(
        "[executor]\nkind = \"docker\"\nmemory = \"128 MiB\"\n\n\
         [executor.docker]\nsocket = {:?}\npool = {pool:?}\nwarm = 1\n\n\
         [executor.docker.images.\"python3.11\"]\nimage = {IMAGE:?}\ninterpreter = {:?}\n",
        daemon.socket, "/usr/bin/python3.11"
    );
    std::fs::write(name_of_file.path(), settings).expect("the settings");
    System::start_with(|spawn| spawn.arg("--config").arg(name_of_file.path())).await
}

#[tokio::test]
async fn functions_run_in_containers() {
    let daemon = daemon_or_skip!();
    daemon.import_python();
    let pool = testkit::unique_name("legacy");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut system = start(&daemon, &pool, &file).await;
    assert_eq!(daemon.containers(&pool).len(), 1, "one was started ahead");

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
    let runs = |container: &String| daemon.docker(&["top", container]).is_ok_and(|top| top.status.success());
    eventually(DEADLINE, || async {
        let containers = daemon.containers(&pool);
        !containers.is_empty() && containers.iter().all(runs)
    })
    .await;
    let before = daemon.containers(&pool);
    system.legacy.kill().await;
    assert_eq!(daemon.containers(&pool).len(), before.len());
    system.legacy.start_again().await;
    let after = daemon.containers(&pool);
    assert!(after.len() == 1 && !before.contains(&after[0]), "{before:?} {after:?}");
    let ended = system.legacy.terminate(Duration::from_secs(30)).await;
    assert!(ended.success(), "{}", system.legacy.log());
    assert_eq!(daemon.containers(&pool), Vec::<String>::new());
}

/// A function that forks into the background, and one that does not end: neither outlives its call.
async fn leaves_nothing_behind(system: &System, daemon: &Daemon, pool: &str) {
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
        daemon.containers(pool).iter().all(|container| {
            let top = daemon.docker(&["top", container]).expect("docker top");
            // A container that is being removed has no list of processes.
            !top.status.success() || String::from_utf8_lossy(&top.stdout).lines().count() == 2
        })
    })
    .await;
    let answer = system.call(Method::GET, "/readyz", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
