//! Functions that are packages of several files: fetched by digest, kept on the disk, run from there.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use function_package::{Artifact, Limits, pack};
use layered_config::Secret;
use objects::{Objects, ObjectsConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::eventually;
use uuid::Uuid;

use crate::system::{SOON, Setup, System};

const PYTHON: [(&str, &str); 3] = [
    (
        "pkg/mod.py",
        "from vendored.six import SIX\nfrom .names import NAME\ndef handler(e, c):\n  return [NAME, SIX, e['n']]",
    ),
    ("pkg/names.py", "NAME = 'python'"),
    ("vendored/six.py", "SIX = 6"),
];
const NODE: [(&str, &str); 3] = [
    ("index.mjs", "import half from 'half'; export const handler = async (e) => ['node', half(e.n)];"),
    ("node_modules/half/package.json", r#"{"name": "half", "main": "half.js"}"#),
    ("node_modules/half/half.js", "module.exports = (n) => n / 2;"),
];

fn objects(system: &System) -> Objects {
    Objects::connect(&ObjectsConfig {
        endpoint: system.bucket.endpoint.clone(),
        bucket: system.bucket.bucket.clone(),
        access_key: system.bucket.access_key.clone(),
        secret_key: Secret::new(&system.bucket.secret_key),
        ..ObjectsConfig::default()
    })
}

/// An artifact of these files, as the build service makes it, in the object store.
pub(crate) async fn store(system: &System, files: &[(&str, &str)]) -> Artifact {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("files");
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    store_folder(system, &folder).await
}

/// An artifact of this folder.
pub(crate) async fn store_folder(system: &System, folder: &Path) -> Artifact {
    let work = tempfile::tempdir().unwrap();
    let out = work.path().join("artifact.zip");
    let artifact = pack(folder, &out, &Limits::default()).unwrap();
    objects(system).put_file(&artifact.digest.object_key(), &out).await.unwrap();
    artifact
}

/// A function with this artifact, as its registration writes it.
pub(crate) async fn register(system: &System, runtime: &str, handler: &str, artifact: &Artifact) -> String {
    register_code(system, runtime, handler, &artifact.digest.object_key()).await
}

/// A function with this code, as its registration writes it.
pub(crate) async fn register_code(system: &System, runtime: &str, handler: &str, code_key: &str) -> String {
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO functions (id, name, runtime, handler, code_key, timeout_seconds, memory_mb) \
         VALUES ($1, $2, $3, $4, $5, 30, 128)",
    )
    .bind(id)
    .bind(testkit::unique_name("package"))
    .bind(runtime)
    .bind(handler)
    .bind(code_key)
    .execute(&system.database().await)
    .await
    .unwrap();
    id.to_string()
}

async fn packages(system: &System, event: &str) -> f64 {
    system.metric(&format!("lambda_packages_total{{event=\"{event}\"}}")).await
}

/// A folder that workers of any user can pass through.
fn reachable() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let packages = folder.path().join("packages");
    (folder, packages)
}

fn kept(folder: &Path) -> usize {
    fs::read_dir(folder)
        .unwrap()
        .filter(|entry| !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
        .count()
}

#[tokio::test]
async fn packages_run_with_their_files_and_dependencies_and_are_fetched_once() {
    let system = Arc::new(Setup::default().with("DATABASE__ACQUIRE_TIMEOUT", "20s").start().await);
    let python = store(&system, &PYTHON).await;
    let node = store(&system, &NODE).await;
    // Two functions with one artifact.
    let functions = [
        (register(&system, "python3.11", "pkg/mod.handler", &python).await, json!(["python", 6, 4])),
        (register(&system, "python3.11", "pkg.mod.handler", &python).await, json!(["python", 6, 4])),
        (register(&system, "nodejs20", "index.handler", &node).await, json!(["node", 2])),
    ];
    let mut calls = tokio::task::JoinSet::new();
    for (id, output) in functions.iter().cloned().cycle().take(24) {
        let system = Arc::clone(&system);
        calls.spawn(async move { assert_eq!(system.invoke(&id, &json!({"n": 4})).await["output"], output) });
    }
    calls.join_all().await;
    assert_eq!(packages(&system, "fetched").await, 2.0);
    assert!(system.metric("lambda_package_cache_bytes").await > 0.0);
    // Source text goes on as before, beside them.
    let inline = system.create("python3.11", crate::system::ECHO).await;
    assert_eq!(system.invoke(&inline, &json!({"n": 1})).await["output"], json!({"n": 1}));
}

#[tokio::test]
async fn a_package_is_listed_among_what_the_monolith_cannot_run() {
    let system = System::start().await;
    let artifact = store(&system, &PYTHON).await;
    system.create("python3.11", crate::system::ECHO).await;
    let id = register(&system, "python3.11", "pkg/mod.handler", &artifact).await;
    let listed = system.get("/.well-known/strangler/only-here").await;
    assert_eq!(listed.body, json!({"keys": [id], "count": 1}));
}

#[tokio::test]
async fn what_the_object_store_has_under_a_key_must_be_what_the_key_says() {
    let system = System::start().await;
    let (python, node) = (store(&system, &PYTHON).await, store(&system, &NODE).await);
    let other = objects(&system).get(&node.digest.object_key()).await.unwrap().unwrap();
    objects(&system).put(&python.digest.object_key(), other).await.unwrap();
    let id = register(&system, "python3.11", "pkg/mod.handler", &python).await;
    assert_eq!(system.try_invoke(&id, &json!({})).await.status, 500);
    objects(&system).delete(&python.digest.object_key()).await.unwrap();
    assert_eq!(system.try_invoke(&id, &json!({})).await.status, 500);
    assert_eq!(packages(&system, "fetched").await, 0.0);
    // And when it is right again, so is the function.
    store(&system, &PYTHON).await;
    assert_eq!(system.invoke(&id, &json!({"n": 1})).await["output"], json!(["python", 6, 1]));
}

/// Three packages where there is room for two: what was used longest ago goes, and never what is in use.
#[tokio::test]
async fn room_is_made_by_packages_that_nobody_uses() {
    let (_above, folder) = reachable();
    let system = Setup::default()
        .with("CODE__PACKAGES__FOLDER", folder.to_str().unwrap())
        .with("CODE__PACKAGES__SIZE", "1 MiB")
        .with("CODE__PACKAGES__LIMITS__UNPACKED", "1 MiB")
        .with("POOL__IDLE_TTL", "1h")
        .start()
        .await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let filling = name.repeat(400 << 10);
        let files =
            [("index.py", "import os\ndef handler(e, c):\n  return os.path.getsize('filling')"), ("filling", &filling)];
        let artifact = store(&system, &files).await;
        ids.push(register(&system, "python3.11", "index.handler", &artifact).await);
    }
    let works = |answer: Value| assert_eq!(answer["output"], 400 << 10);
    works(system.invoke(&ids[0], &json!({})).await);
    works(system.invoke(&ids[1], &json!({})).await);
    // Both have a worker.
    assert_eq!(system.try_invoke(&ids[2], &json!({})).await.status, 503);
    assert_eq!((kept(&folder), packages(&system, "evicted").await), (2, 0.0));
    works(system.invoke(&ids[0], &json!({})).await);
    // A deleted function's workers are stopped, and its package is free to go.
    system.send(reqwest::Method::DELETE, &format!("/api/v1/functions/{}", ids[1]), "").await;
    eventually(SOON, || async { system.try_invoke(&ids[2], &json!({})).await.status == 200 }).await;
    assert_eq!(packages(&system, "evicted").await, 1.0);
    works(system.invoke(&ids[0], &json!({})).await);
    assert_eq!((kept(&folder), packages(&system, "fetched").await), (2, 3.0));
}

/// SIGKILL while packages are fetched: no half package is ever run, what is whole is used again.
#[tokio::test]
async fn kill_in_the_middle_of_a_fetch_leaves_whole_packages_only() {
    let (_above, folder) = reachable();
    let mut system = Setup::default().with("CODE__PACKAGES__FOLDER", folder.to_str().unwrap()).start().await;
    let whole = store(&system, &PYTHON).await;
    let id = register(&system, "python3.11", "pkg/mod.handler", &whole).await;
    system.invoke(&id, &json!({"n": 1})).await;
    let modules: Vec<(String, String)> = (0..3_000).map(|n| (format!("m/n{n}.py"), format!("N = {n}"))).collect();
    let mut files: Vec<(&str, &str)> = modules.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    files.push(("index.py", "import os\ndef handler(e, c):\n  return len(os.listdir('m'))"));
    let large = store(&system, &files).await;
    let large = register(&system, "python3.11", "index.handler", &large).await;
    for _ in 0..3 {
        let url = system.service.url(&format!("/api/v1/functions/{large}/invoke"));
        let call = tokio::spawn(reqwest::Client::new().post(url).body("{}").send());
        let is_under_way =
            || fs::read_dir(&folder).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().contains(".p"));
        eventually(SOON, || async { is_under_way() || call.is_finished() }).await;
        system.service.kill().await;
        system.service.start_again().await;
        assert_eq!(kept(&folder), fs::read_dir(&folder).unwrap().count() - 1, "only the stamp beside packages");
        let _ = call.await;
    }
    assert_eq!(system.invoke(&large, &json!({})).await["output"], 3_000);
    // No need for the object store.
    objects(&system).delete(&whole.digest.object_key()).await.unwrap();
    assert_eq!(system.invoke(&id, &json!({"n": 2})).await["output"], json!(["python", 6, 2]));
    assert_eq!(packages(&system, "hit").await.min(1.0), 1.0);
}
