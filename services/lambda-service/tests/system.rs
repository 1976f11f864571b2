//! One service with a database, a bucket and a journal of its own.

use std::{collections::BTreeMap, path::Path, sync::LazyLock, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tempfile::{NamedTempFile, TempDir};
use testkit::{ApiDocument, process::Spawned};

pub const SOON: Duration = Duration::from_secs(30);

/// A Python function that gives back its event.
pub const ECHO: &str = "def handler(event, context):\n    return event\n";
/// A Node function that gives back its event.
pub const ECHO_NODE: &str = "function handler(event, context) { return event; }";

/// What the service says of itself.
pub static DOCUMENT: LazyLock<ApiDocument> = LazyLock::new(|| ApiDocument::new(include_str!("../openapi.json")));

/// Settings that differ from the tests' usual ones.
#[derive(Default)]
pub struct Setup {
    database: Option<testkit::TestDatabase>,
    database_url: Option<String>,
    settings: BTreeMap<String, String>,
    file: String,
}

/// A running service and what it stands on.
pub struct System {
    pub service: Spawned,
    client: reqwest::Client,
    database_url: String,
    journal: TempDir,
    _file: NamedTempFile,
    _database: Option<testkit::TestDatabase>,
    pub bucket: testkit::TestBucket,
}

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub retry_after: Option<String>,
}

impl Setup {
    /// A setting by its environment name without the prefix, such as `POOL__MAX_WORKERS`.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(format!("LAMBDA_SERVICE__{name}"), value.into());
        self
    }

    /// What its file of settings says.
    pub fn file(mut self, text: &str) -> Self {
        self.file = text.to_owned();
        self
    }

    /// Another way to the database, or another database.
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.database_url = Some(url.into());
        self
    }

    /// A database that the test prepared.
    pub fn database(mut self, database: testkit::TestDatabase) -> Self {
        self.database = Some(database);
        self
    }

    /// Another replica: on the same database and bucket.
    pub fn beside(self, other: &System) -> Self {
        self.database_url(&other.database_url)
            .with("OBJECTS__ENDPOINT", &other.bucket.endpoint)
            .with("OBJECTS__BUCKET", &other.bucket.bucket)
            .with("OBJECTS__ACCESS_KEY", &other.bucket.access_key)
            .with("OBJECTS__SECRET_KEY", &other.bucket.secret_key)
    }

    pub async fn start(self) -> System {
        let system = self.spawn().await;
        system.service.ready().await;
        system
    }

    /// Starts it and does not wait until it is ready.
    pub async fn spawn(self) -> System {
        let database = match (self.database, &self.database_url) {
            (Some(database), _) => Some(database),
            (None, Some(_)) => None,
            (None, None) => Some(testkit::postgres().await),
        };
        let database_url = self
            .database_url
            .or_else(|| database.as_ref().map(|database| database.url.clone()))
            .expect("one of the two was given");
        let bucket = testkit::s3().await;
        let journal = tempfile::tempdir().unwrap();
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), &self.file).unwrap();
        let mut spawn = Spawned::of(env!("CARGO_BIN_EXE_lambda-service"))
            .arg("--config")
            .arg(file.path())
            .listen("LAMBDA_SERVICE__HTTP__BIND")
            .env("LAMBDA_SERVICE__DATABASE__URL", &database_url)
            .env("LAMBDA_SERVICE__DATABASE__PROBE_INTERVAL", "200ms")
            .env("LAMBDA_SERVICE__OBJECTS__ENDPOINT", &bucket.endpoint)
            .env("LAMBDA_SERVICE__OBJECTS__BUCKET", &bucket.bucket)
            .env("LAMBDA_SERVICE__OBJECTS__ACCESS_KEY", &bucket.access_key)
            .env("LAMBDA_SERVICE__OBJECTS__SECRET_KEY", &bucket.secret_key)
            .env("LAMBDA_SERVICE__OBJECTS__PATH_STYLE", "true")
            // Two services on one machine need control groups of their own.
            .env("LAMBDA_SERVICE__SANDBOX__CONTROL_GROUP_NAME", testkit::unique_name("lambda"))
            .env("LAMBDA_SERVICE__RECORDER__JOURNAL", journal.path().to_str().unwrap());
        for (name, value) in self.settings {
            spawn = spawn.env(name, value);
        }
        System {
            service: spawn.spawn().await,
            client: reqwest::Client::new(),
            database_url,
            journal,
            _file: file,
            _database: database,
            bucket,
        }
    }
}

/// The code of a refusal, in the monolith's body or as the type of a problem.
pub fn code(body: &Value) -> Option<&str> {
    let of_problem = body["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/"));
    of_problem.or_else(|| body["error"].as_str())
}

impl System {
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// Sends a request whose body is sent as it is.
    pub async fn send(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.try_send(method, path, body).await.unwrap()
    }

    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<Answer, reqwest::Error> {
        Self::read(self.request(method, path).body(body)).await
    }

    /// A request to be completed, and sent with [`System::finish`].
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.service.url(path))
    }

    pub async fn finish(&self, request: reqwest::RequestBuilder) -> Answer {
        Self::read(request).await.unwrap()
    }

    /// Sends a request. Whatever is answered is what the service's OpenAPI document says.
    async fn read(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let (client, request) = request.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let answer = client.execute(request).await?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let content_type = answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        let text = answer.text().await?;
        DOCUMENT.check(method.as_str(), &path, status, content_type.as_deref().unwrap_or_default(), &text);
        let body = serde_json::from_str(&text).unwrap_or(if text.is_empty() { Value::Null } else { text.into() });
        Ok(Answer { status, body, retry_after })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body.to_string()).await
    }

    /// Creates a function; answers its id.
    pub async fn create(&self, runtime: &str, code: &str) -> String {
        self.create_with(json!({"runtime": runtime, "code": code})).await
    }

    /// Creates a function with these fields; a name is added.
    pub async fn create_with(&self, mut fields: Value) -> String {
        fields["name"] = testkit::unique_name("function").into();
        let created = self.post("/api/v1/functions", &fields).await;
        assert_eq!(created.status, 201, "{created:?}");
        created.body["function_id"].as_str().unwrap().to_owned()
    }

    /// Invokes a function that runs; answers the body.
    pub async fn invoke(&self, id: &str, event: &Value) -> Value {
        let answer = self.try_invoke(id, event).await;
        assert_eq!(answer.status, 200, "{answer:?} {}", self.service.log());
        answer.body
    }

    pub async fn try_invoke(&self, id: &str, event: &Value) -> Answer {
        self.post(&format!("/api/v1/functions/{id}/invoke"), event).await
    }

    /// Asks for a call to be made later; the event's id.
    pub async fn invoke_later(&self, id: &str, event: &Value) -> String {
        let answer = self.try_invoke_later(id, event).await.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["event_id"].as_str().unwrap().to_owned()
    }

    pub async fn try_invoke_later(&self, id: &str, event: &Value) -> Result<Answer, reqwest::Error> {
        let request = self.request(Method::POST, &format!("/api/v1/functions/{id}/invoke"));
        Self::read(request.header("x-invocation-type", "Event").body(event.to_string())).await
    }

    /// Waits until so many events of a function have ended; the audit.
    pub async fn audit(&self, id: &str, count: usize) -> Vec<Value> {
        let path = format!("/api/v1/functions/{id}/events?limit=1000");
        let last = std::sync::Mutex::new(Vec::new());
        let has_ended = || async {
            let Ok(answer) = self.try_send(Method::GET, &path, "").await else { return false };
            let Some(items) = answer.body.as_array().filter(|_| answer.status == 200) else { return false };
            let mut last = last.lock().unwrap();
            last.clone_from(items);
            last.len() >= count
        };
        let waiting = tokio::time::timeout(SOON, testkit::eventually(SOON * 2, has_ended)).await;
        let items = last.into_inner().unwrap();
        assert!(waiting.is_ok(), "{} of {count} events have ended\n{}", items.len(), self.service.log());
        items
    }

    /// Invokes and goes away after `patience`.
    pub async fn invoke_and_leave(&self, id: &str, patience: Duration) {
        let path = format!("/api/v1/functions/{id}/invoke");
        let left = tokio::time::timeout(patience, self.try_send(Method::POST, &path, "{}")).await;
        assert!(left.is_err(), "it answered before the client left: {left:?}");
    }

    /// The value of a metric's line, such as `lambda_pool_workers{state="busy"}`.
    pub async fn metric(&self, line: &str) -> f64 {
        let text = self.client.get(self.service.url("/metrics")).send().await.unwrap();
        assert_eq!(text.status(), StatusCode::OK);
        let text = text.text().await.unwrap();
        let value = text.lines().find_map(|each| each.strip_prefix(line));
        value.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// The service's database, past the service.
    pub async fn database(&self) -> PgPool {
        let options: sqlx::postgres::PgConnectOptions = self.database_url.parse().unwrap();
        PgPool::connect_with(options.options([("search_path", "lambda_service")])).await.unwrap()
    }

    pub fn journal(&self) -> &Path {
        self.journal.path()
    }

    /// Files of the journal that hold executions.
    pub fn journal_segments(&self) -> usize {
        let names = std::fs::read_dir(self.journal()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name != "lock").count()
    }
}
