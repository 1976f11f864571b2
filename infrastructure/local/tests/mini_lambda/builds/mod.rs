//! From a package to its first call: the build service takes and builds it, tells the lambda service, and that runs
//! it. The two know each other by a webhook and a bucket only.

mod kills;

use std::{
    fs,
    io::{Cursor, Write as _},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use testkit::{
    TestBucket, TestDatabase, eventually,
    process::{Spawn, Spawned},
};

use crate::mini_lambda::site::{answer, programs};

const SOON: Duration = Duration::from_secs(60);

/// Signs what the build service tells the lambda service.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Runtime, handler and files.
type Package = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const PACKAGES: [Package; 2] = [
    (
        "python3.11",
        "app/main.handler",
        &[
            (
                "app/main.py",
                "from words import greeting\ndef handler(event, context):\n    return greeting(event['name'])\n",
            ),
            ("words/__init__.py", "def greeting(name):\n    return 'hello ' + name\n"),
        ],
    ),
    (
        "nodejs20",
        "index.handler",
        &[
            (
                "index.js",
                "const { greeting } = require('words');\nexports.handler = async (event) => greeting(event.name);\n",
            ),
            ("node_modules/words/package.json", "{\"name\": \"words\", \"main\": \"main.js\"}"),
            ("node_modules/words/main.js", "exports.greeting = (name) => `hello ${name}`;\n"),
        ],
    ),
];

/// A bucket, a database for each service, and a folder that both can use.
struct Ground {
    bucket: TestBucket,
    lambda: TestDatabase,
    build: TestDatabase,
    folder: tempfile::TempDir,
}

impl Ground {
    async fn new() -> Self {
        let folder = passable_folder();
        let (bucket, lambda, build) = (testkit::s3().await, testkit::postgres().await, testkit::postgres().await);
        Self { bucket, lambda, build, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("its name is text").to_owned()
    }

    fn program(&self, name: &str, database: &TestDatabase) -> Spawn {
        let prefix = name.replace('-', "_").to_uppercase();
        let setting = |key: &str| format!("{prefix}__{key}");
        Spawned::of(programs().join(name))
            .listen(setting("HTTP__BIND"))
            .env(setting("DATABASE__URL"), &database.url)
            .env(setting("OBJECTS__ENDPOINT"), &self.bucket.endpoint)
            .env(setting("OBJECTS__BUCKET"), &self.bucket.bucket)
            .env(setting("OBJECTS__ACCESS_KEY"), &self.bucket.access_key)
            .env(setting("OBJECTS__SECRET_KEY"), &self.bucket.secret_key)
            .env(setting("SANDBOX__CONTROL_GROUP_NAME"), testkit::unique_name(name))
    }

    async fn lambda_service(&self) -> Spawned {
        let service = self
            .program("lambda-service", &self.lambda)
            .env("LAMBDA_SERVICE__BUILDS__SECRET", SECRET)
            .env("LAMBDA_SERVICE__CODE__PACKAGES__FOLDER", self.path("packages"))
            .env("LAMBDA_SERVICE__RECORDER__JOURNAL", self.path("journal"));
        service.start().await
    }

    async fn build_service(&self, lambda_service: &Spawned) -> Spawned {
        let receiver = |key: &str| format!("BUILD_SERVICE__WEBHOOKS__RECEIVERS__LAMBDA_SERVICE__{key}");
        let service = self
            .program("build-service", &self.build)
            .env("BUILD_SERVICE__WORK_FOLDER", self.path("work"))
            .env("BUILD_SERVICE__WEBHOOKS__ALLOW", "[\"127.0.0.1\"]")
            .env("BUILD_SERVICE__WEBHOOKS__RETRY_FIRST", "100ms")
            .env(receiver("URL"), lambda_service.url("/webhooks/build-status/{job_id}"))
            .env(receiver("SECRET"), SECRET)
            .env(receiver("REGISTERS"), "true");
        service.start().await
    }
}

/// Functions run as users of their own, which have to pass.
fn passable_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    folder
}

#[tokio::test]
async fn a_package_is_built_registered_and_called() {
    let ground = Ground::new().await;
    let mut lambda_service = ground.lambda_service().await;
    let build_service = ground.build_service(&lambda_service).await;
    let client = Client::new();
    for package in &PACKAGES {
        let id = submit(&client, &build_service, package).await;
        let said = first_answer(|| invocation(&client, &lambda_service, &id)).await;
        assert_eq!((&said["status"], &said["output"]), (&json!("success"), &json!("hello Ada")), "{said}");
    }
    // What was told while nobody listened is told again.
    lambda_service.kill().await;
    let id = submit(&client, &build_service, &PACKAGES[0]).await;
    lambda_service.start_again().await;
    let said = first_answer(|| invocation(&client, &lambda_service, &id)).await;
    assert_eq!(said["output"], "hello Ada", "{said}");
}

/// Asks for a build; answers the function's id.
async fn submit(client: &Client, build_service: &Spawned, (runtime, handler, files): &Package) -> String {
    let body = json!({
        "name": testkit::unique_name("built"),
        "runtime": runtime,
        "handler": handler,
        "package_data": archive(files),
    });
    let (status, body) = answer(client.post(build_service.url("/functions")).json(&body)).await;
    assert_eq!(status, 202, "{body}");
    body["function_id"].as_str().expect("it has an id").to_owned()
}

fn invocation(client: &Client, lambda_service: &Spawned, id: &str) -> RequestBuilder {
    client.post(lambda_service.url(&format!("/api/v1/functions/{id}/invoke"))).json(&json!({"name": "Ada"}))
}

/// The answer of a function, once it is there.
async fn first_answer(request: impl Fn() -> RequestBuilder) -> Value {
    let found = std::sync::Mutex::new(Value::Null);
    eventually(SOON, || async {
        let (status, body) = answer(request()).await;
        *found.lock().expect("nobody panics with it") = body;
        status != 404
    })
    .await;
    found.into_inner().expect("nobody panics with it")
}

/// A ZIP archive of these files, in base64.
fn archive(files: &[(&str, &str)]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).expect("a new name");
        archive.write_all(content.as_bytes()).expect("memory");
    }
    STANDARD.encode(archive.finish().expect("memory").into_inner())
}
