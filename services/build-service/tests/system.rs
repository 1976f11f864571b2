//! Masters and workers with a database, a bucket and a work folder of their own.

use std::{
    collections::BTreeMap,
    io::{Cursor, Write as _},
    os::unix::fs::PermissionsExt,
    sync::LazyLock,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use tempfile::{NamedTempFile, TempDir};
use testkit::{
    ApiDocument, eventually,
    process::{Spawn, Spawned},
};
use zip::{ZipWriter, write::SimpleFileOptions};

pub const SOON: Duration = Duration::from_secs(30);

/// A secret as Standard Webhooks writes them.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A Python function that gives back its event.
pub const ECHO: &str = "def handler(event, context):\n    return event\n";

/// What the service says of itself.
static DOCUMENT: LazyLock<ApiDocument> = LazyLock::new(|| ApiDocument::new(include_str!("../openapi.json")));

/// What all processes of a test stand on.
pub struct Ground {
    pub database: testkit::TestDatabase,
    pub bucket: testkit::TestBucket,
    pub work: TempDir,
    settings: BTreeMap<String, String>,
    file: NamedTempFile,
}

/// Such processes, the first of which serves clients.
pub struct System {
    pub service: Spawned,
    pub ground: Ground,
    client: reqwest::Client,
}

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub body: Value,
}

impl Ground {
    pub async fn new() -> Self {
        Self {
            database: testkit::postgres().await,
            bucket: testkit::s3().await,
            work: work_folder(),
            settings: BTreeMap::new(),
            file: tempfile::Builder::new().suffix(".toml").tempfile().unwrap(),
        }
    }

    /// What the file of settings says: lists have no other place.
    pub fn file(self, text: &str) -> Self {
        std::fs::write(self.file.path(), text).unwrap();
        self
    }

    /// A setting of every process by its environment name without the prefix, such as `WORKER__LEASE`.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(format!("BUILD_SERVICE__{name}"), value.into());
        self
    }

    /// How to start a process of this role.
    pub fn process(&self, role: &str) -> Spawn {
        let mut spawn = Spawned::of(env!("CARGO_BIN_EXE_build-service"))
            .arg("--config")
            .arg(self.file.path())
            .listen("BUILD_SERVICE__HTTP__BIND")
            .env("BUILD_SERVICE__ROLE", role)
            .env("BUILD_SERVICE__WORK_FOLDER", self.work.path().to_str().unwrap())
            .env("BUILD_SERVICE__DATABASE__URL", &self.database.url)
            .env("BUILD_SERVICE__DATABASE__PROBE_INTERVAL", "200ms")
            .env("BUILD_SERVICE__OBJECTS__ENDPOINT", &self.bucket.endpoint)
            .env("BUILD_SERVICE__OBJECTS__BUCKET", &self.bucket.bucket)
            .env("BUILD_SERVICE__OBJECTS__ACCESS_KEY", &self.bucket.access_key)
            .env("BUILD_SERVICE__OBJECTS__SECRET_KEY", &self.bucket.secret_key)
            .env("BUILD_SERVICE__WORKER__POLL_INTERVAL", "200ms")
            .env("BUILD_SERVICE__WEBHOOKS__POLL_INTERVAL", "100ms");
        for (name, value) in &self.settings {
            spawn = spawn.env(name, value);
        }
        spawn
    }

    pub async fn start(self, role: &str) -> System {
        let service = self.process(role).start().await;
        System { service, ground: self, client: reqwest::Client::new() }
    }
}

impl System {
    pub async fn start() -> Self {
        Ground::new().await.start("both").await
    }

    /// Sends a request. Whatever is answered is what the service's OpenAPI document says.
    pub async fn try_send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let (client, request) = request.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let answer = client.execute(request).await?;
        let status = answer.status().as_u16();
        let content_type = answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        let text = answer.text().await?;
        DOCUMENT.check(method.as_str(), &path, status, content_type.as_deref().unwrap_or_default(), &text);
        let body = serde_json::from_str(&text).unwrap_or(if text.is_empty() { Value::Null } else { text.into() });
        Ok(Answer { status, content_type: content_type.unwrap_or_default(), body })
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.service.url(path))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.try_send(self.request(Method::GET, path)).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_send(self.request(Method::POST, path).json(body)).await.unwrap()
    }

    /// Asks for a build of a good package with these further fields, again as long as the service is not able to
    /// answer; answers the job's id.
    pub async fn submit(&self, fields: Value) -> String {
        let (function, last) = (function(fields), std::sync::Mutex::new(None));
        eventually(SOON, || async {
            let answer = self.post("/functions", &function).await;
            let is_clear = answer.status != 503;
            *last.lock().unwrap() = Some(answer);
            is_clear
        })
        .await;
        let answer = last.into_inner().unwrap().unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["job_id"].as_str().unwrap().to_owned()
    }

    /// The build, once it has ended.
    pub async fn ended(&self, job_id: &str) -> Value {
        self.in_state(job_id, &["completed", "failed", "cancelled"]).await
    }

    pub async fn in_state(&self, job_id: &str, states: &[&str]) -> Value {
        let path = format!("/builds/{job_id}");
        let found = std::sync::Mutex::new(Value::Null);
        eventually(SOON, || async {
            let Ok(answer) = self.try_send(self.request(Method::GET, &path)).await else { return false };
            let is_there = states.iter().any(|state| answer.body["status"] == *state);
            *found.lock().unwrap() = answer.body;
            is_there
        })
        .await;
        found.into_inner().unwrap()
    }

    /// The value of a metric's line.
    pub async fn metric(&self, line: &str) -> f64 {
        let text = self.get("/metrics").await.body;
        let value = text.as_str().unwrap().lines().find_map(|each| each.strip_prefix(line).map(str::to_owned));
        value.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// The service's database, past the service.
    pub async fn database(&self) -> PgPool {
        let options: sqlx::postgres::PgConnectOptions = self.ground.database.url.parse().unwrap();
        PgPool::connect_with(options.options([("search_path", "build_service")])).await.unwrap()
    }
}

/// One that the users of the sandbox can pass through.
fn work_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// The fields of a function with a good package, a name of its own, and these.
pub fn function(fields: Value) -> Value {
    let mut function = json!({
        "name": testkit::unique_name("function"),
        "runtime": "python3.11",
        "handler": "index.handler",
        "package_data": STANDARD.encode(package(&[("index.py", ECHO.as_bytes())])),
    });
    let Value::Object(fields) = fields else { panic!("fields are an object: {fields}") };
    for (name, value) in fields {
        function[name] = value;
    }
    function
}

/// A ZIP archive of these files, stored as they are.
pub fn package(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        archive.start_file(*name, options).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// `multipart/form-data` of these text parts and a package: the content type and the body.
pub fn form(fields: &[(&str, &str)], package: &[u8]) -> (String, Vec<u8>) {
    let boundary = testkit::unique_name("boundary");
    let mut body = Vec::new();
    for (name, text) in fields {
        let head = format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
        body.extend(head.bytes());
    }
    let head = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"package\"; filename=\"p.zip\"\r\n\
         content-type: application/zip\r\n\r\n"
    );
    body.extend(head.bytes());
    body.extend(package);
    body.extend(format!("\r\n--{boundary}--\r\n").bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}
