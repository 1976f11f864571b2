//! Packages with a Dockerfile, on a daemon of the test's own.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use objects::{Objects, ObjectsConfig};
use serde_json::{Value, json};
use testkit::{TestDocker, eventually, or_skip};

use crate::system::{ECHO, Ground, SOON, System, function, package};

const BASE: &str = "build-test-python:latest";

fn fields(dockerfile: &str) -> Value {
    let zip = package(&[("Dockerfile", dockerfile.as_bytes()), ("index.py", ECHO.as_bytes())]);
    json!({"package_type": "docker", "package_data": STANDARD.encode(zip)})
}

fn images(daemon: &TestDocker) -> Vec<String> {
    let output = daemon.docker(&["images", "--quiet", "--no-trunc", "mini-lambda-build"]);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

async fn log(system: &System, job_id: &str) -> String {
    let bucket = &system.ground.bucket;
    let objects = Objects::connect(&ObjectsConfig {
        endpoint: bucket.endpoint.clone(),
        bucket: bucket.bucket.clone(),
        access_key: bucket.access_key.clone(),
        secret_key: layered_config::Secret::new(&bucket.secret_key),
        ..ObjectsConfig::default()
    });
    let log = objects.get(&format!("build-logs/{job_id}.txt")).await.unwrap();
    String::from_utf8(log.expect("the log is kept").to_vec()).unwrap()
}

#[tokio::test]
async fn images_are_built_without_a_network_and_kept_by_their_digest() {
    let Some(daemon) = or_skip(TestDocker::find().await) else { return };
    let python = daemon.import_python(BASE).display().to_string();
    let settings = format!("[images]\nsocket = {:?}\nmax_size = \"64 MiB\"\n", daemon.socket);
    let system = Ground::new().await.file(&settings).with("WORKER__BUILD_TIMEOUT", "60s").start("both").await;

    let dockerfile = format!("FROM {BASE}\nRUN echo said while building\nCOPY index.py /var/task/index.py\n");
    let job_id = system.submit(fields(&dockerfile)).await;
    let build = system.ended(&job_id).await;
    assert_eq!(build["status"], "completed", "{build:#} {}", system.service.log());
    let digest = build["artifact_digest"].as_str().unwrap();
    assert_eq!(images(&daemon), [format!("sha256:{digest}")], "{build:#}");
    assert!(log(&system, &job_id).await.contains("said while building"));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connects = format!("import socket; socket.create_connection(('127.0.0.1', {port}), 5)");
    for (dockerfile, reason) in [
        (format!("FROM {BASE}\nRUN echo last words; exit 3\n"), "last words"),
        (format!("FROM {BASE}\nRUN {python} -c \"{connects}\"\n"), "returned a non-zero code: 1"),
        (format!("FROM {BASE}\nRUN {python} -c \"open('/filling', 'wb').write(b'x' * (80 << 20))\"\n"), "the limit is"),
        (format!("FROM {BASE}\nRUN {python} -c \"len(b'x' * (2 << 30))\"\n"), "returned a non-zero code"),
        ("FROM nowhere/base:1\n".to_owned(), "the image nowhere/base:1 is not on the machine that builds"),
        (format!("FROM {BASE}\nADD https://example.org/x /x\n"), "may need a network"),
        (format!("FROM {BASE}\nDANCE\n"), "DANCE"),
    ] {
        let build = system.ended(&system.submit(fields(&dockerfile)).await).await;
        let error = &build["error"];
        assert_eq!((&build["status"], &error["code"]), (&json!("failed"), &json!("image_not_built")), "{build:#}");
        assert!(error["message"].as_str().unwrap().contains(reason), "{dockerfile}: {build:#}");
    }
    assert_eq!(images(&daemon).len(), 1, "nothing is kept of builds that failed");

    // Without a Dockerfile.
    let zip = package(&[("index.py", ECHO.as_bytes())]);
    let wrong = function(json!({"package_type": "docker", "package_data": STANDARD.encode(zip)}));
    let answer = system.post("/functions", &wrong).await;
    assert_eq!((answer.status, &answer.body["subject"]), (422, &json!("package_type")), "{answer:?}");
}

#[tokio::test]
async fn a_build_that_takes_too_long_or_is_cancelled_leaves_no_container() {
    let Some(daemon) = or_skip(TestDocker::find().await) else { return };
    let _ = daemon.import_python(BASE);
    let settings = format!("[images]\nsocket = {:?}\n", daemon.socket);
    let system = Ground::new().await.file(&settings).with("WORKER__BUILD_TIMEOUT", "10s").start("both").await;
    let job_id = system.submit(fields(&format!("FROM {BASE}\nRUN while :; do :; done\n"))).await;
    let build = system.ended(&job_id).await;
    assert_eq!(build["error"]["code"], "build_timeout", "{build:#}");
    eventually(SOON, || async { daemon.docker(&["ps", "-aq"]).stdout.is_empty() }).await;
}

#[tokio::test]
async fn where_no_docker_is_configured_it_is_said_at_once() {
    let system = System::start().await;
    let answer = system.post("/functions", &function(fields("FROM scratch\n"))).await;
    assert_eq!((answer.status, &answer.body["subject"]), (422, &json!("package_type")), "{answer:?}");
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains("this service builds no images, because its settings have no `images`"), "{detail}");
}
