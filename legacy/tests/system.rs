//! The monolith under test: its binary, with a database and a bucket of its own.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{
    TestBucket, TestDatabase, eventually,
    process::{Spawn, Spawned},
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running monolith.
pub(crate) struct System {
    pub(crate) legacy: Spawned,
    pub(crate) database: TestDatabase,
    pub(crate) bucket: TestBucket,
    client: reqwest::Client,
}

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `null` when there is none; text when it is not JSON.
    pub(crate) body: Value,
}

impl System {
    pub(crate) async fn start() -> Self {
        Self::start_with(|spawn| spawn).await
    }

    /// Starts it with more settings and waits until it is ready.
    pub(crate) async fn start_with(settings: impl FnOnce(Spawn) -> Spawn) -> Self {
        let (database, bucket) = (testkit::postgres().await, testkit::s3().await);
        let legacy = settings(spawn(&database.url, &bucket)).start().await;
        Self { legacy, database, bucket, client: reqwest::Client::new() }
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.call_with_headers(method, path, &[], body).await
    }

    pub(crate) async fn call_with_headers(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.client.request(method, self.legacy.url(path)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await.expect("the monolith answers")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, "").await
    }

    /// Creates a Python function and gives its id.
    pub(crate) async fn python(&self, name: &str, code: &str) -> String {
        self.function(&json!({"name": name, "runtime": "python3.11", "code": code})).await
    }

    pub(crate) async fn function(&self, body: &Value) -> String {
        let created = self.post("/api/v1/functions", body).await;
        assert_eq!(created.status, 201, "{created:?}");
        created.body["function_id"].as_str().expect("an id").to_owned()
    }

    pub(crate) async fn invoke(&self, id: &str, event: &Value) -> Answer {
        self.post(&format!("/api/v1/functions/{id}/invoke"), event).await
    }

    /// The function's audit, once it has at least `count` entries.
    pub(crate) async fn audit(&self, id: &str, count: usize) -> Vec<Value> {
        let path = format!("/api/v1/functions/{id}/events?limit=1000");
        eventually(DEADLINE, || async {
            self.get(&path).await.body.as_array().is_some_and(|entries| entries.len() >= count)
        })
        .await;
        self.get(&path).await.body.as_array().cloned().unwrap_or_default()
    }

    /// How often the function was called.
    pub(crate) async fn executions(&self, id: &str) -> i64 {
        let (count,): (i64,) = sqlx::query_as("select count(*) from executions where function_id = $1")
            .bind(id)
            .fetch_one(&self.database.pool().await)
            .await
            .expect("the monolith's table");
        count
    }
}

/// The settings that every test shares.
pub(crate) fn spawn(database_url: &str, bucket: &TestBucket) -> Spawn {
    Spawned::of(env!("CARGO_BIN_EXE_legacy"))
        .listen("LEGACY__HTTP__BIND")
        .env("LEGACY__TELEMETRY__LOG_FILTER", "info,legacy=debug")
        .env("LEGACY__DATABASE__URL", database_url)
        .env("LEGACY__DATABASE__MAX_CONNECTIONS", "8")
        .env("LEGACY__DATABASE__ACQUIRE_TIMEOUT", "20s")
        .env("LEGACY__OBJECTS__ENDPOINT", &bucket.endpoint)
        .env("LEGACY__OBJECTS__BUCKET", &bucket.bucket)
        .env("LEGACY__OBJECTS__ACCESS_KEY", &bucket.access_key)
        .env("LEGACY__OBJECTS__SECRET_KEY", &bucket.secret_key)
        .env("LEGACY__EXECUTOR__SANDBOX__CONTROL_GROUP_NAME", testkit::unique_name("legacy"))
        .env("LEGACY__BUS__REDELIVERY_DELAY", "50ms")
        .env("LEGACY__BUS__IN_PROCESS__POLL_INTERVAL", "50ms")
        .env("LEGACY__BUS__IN_PROCESS__LEASE", "10s")
        .env("LEGACY__SCHEDULER__POLL_INTERVAL", "50ms")
}

/// Sends a request; `None` when nothing answers.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Option<Answer> {
    let response = request.timeout(DEADLINE).send().await.ok()?;
    let status = response.status().as_u16();
    let text = response.text().await.ok()?;
    let body = match text.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
    };
    Some(Answer { status, body })
}
