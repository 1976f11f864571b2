//! A client of Mini-Lambda's REST API, through the gateway.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use domain::{
    BuildFailure, FunctionId, JobId,
    contract::{FunctionCreated, FunctionDetail, InvokeResponse},
};
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Target, functions::Kind, told::Told};

/// The header by which the gateway says which side served a request.
const SERVED_BY: &str = "x-served-by";

/// Longer than any function of the demonstration may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The side of a route that served a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Legacy,
    Candidate,
}

/// What came back for one request.
pub(super) struct Served<T> {
    pub(super) side: Side,
    pub(super) latency: Duration,
    pub(super) answer: T,
}

/// Why a request failed, and the side it failed on where the gateway said so.
#[derive(Clone)]
pub(super) struct Failure {
    pub(super) side: Option<Side>,
    pub(super) why: String,
}

impl Failure {
    pub(super) fn of(side: Option<Side>, why: impl std::fmt::Display) -> Self {
        Self { side, why: format!("{why:#}") }
    }
}

/// What the build service says to a package.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Submitted {
    Accepted { job_id: JobId, function_id: FunctionId },
    Refused { detail: String },
}

/// What is shown of a build.
#[derive(Deserialize)]
struct Build {
    error: Option<BuildFailure>,
}

/// A client of the platform.
#[derive(Clone)]
pub(super) struct Platform {
    client: Client,
    target: Target,
    /// By all clones together.
    pub(super) told: Arc<Told>,
}

impl Platform {
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
        Ok(Self { client, target: target.clone(), told: Arc::default() })
    }

    /// The system it is in front of.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) async fn create(&self, kind: &Kind, name: &str) -> anyhow::Result<FunctionId> {
        let body = json!({
            "name": name, "runtime": kind.runtime, "code": kind.code, "timeout": kind.timeout_s,
        });
        let url = format!("{}/api/v1/functions", self.target.gateway);
        let created = self.client.post(url).json(&body).send().await.context("cannot create a function")?;
        ensure!(created.status() == StatusCode::CREATED, "creating {name} was answered {}", created.status());
        let created: FunctionCreated = created.json().await.context("no function came back")?;
        self.told.function(created.function_id);
        Ok(created.function_id)
    }

    pub(super) async fn invoke(&self, id: FunctionId, event: &Value) -> Result<Served<InvokeResponse>, Failure> {
        let url = format!("{}/api/v1/functions/{id}/invoke", self.target.gateway);
        self.called(&url, event).await
    }

    async fn called(&self, url: &str, event: &Value) -> Result<Served<InvokeResponse>, Failure> {
        let start = Instant::now();
        let served: Served<InvokeResponse> = served(start, self.client.post(url).json(event).send().await).await?;
        self.told.execution(served.answer.execution_id);
        Ok(served)
    }

    pub(super) async fn read(&self, id: FunctionId) -> Result<Served<FunctionDetail>, Failure> {
        let url = format!("{}/api/v1/functions/{id}", self.target.gateway);
        let start = Instant::now();
        served(start, self.client.get(url).send().await).await
    }

    /// Sends a package.
    pub(super) async fn submit(&self, body: &Value) -> anyhow::Result<Submitted> {
        let answer = self.client.post(format!("{}/functions", self.target.gateway)).json(body).send().await?;
        let status = answer.status();
        answer.json().await.with_context(|| format!("a package was answered {status} and no sentence"))
    }

    /// Why a build failed, if it has.
    pub(super) async fn build_failure(&self, job: JobId) -> anyhow::Result<Option<String>> {
        let answer = self.client.get(format!("{}/builds/{job}", self.target.gateway)).send().await?;
        let build: Build = answer.error_for_status()?.json().await.context("no build came back")?;
        Ok(build.error.map(|failure| failure.message))
    }

    /// Whether the lambda service knows a function.
    pub(super) async fn exists(&self, id: FunctionId) -> anyhow::Result<bool> {
        let answer = self.client.get(format!("{}/functions/{id}", self.target.gateway)).send().await?;
        ensure!(
            matches!(answer.status(), StatusCode::OK | StatusCode::NOT_FOUND),
            "it was answered {}",
            answer.status()
        );
        Ok(answer.status() == StatusCode::OK)
    }

    /// Calls a function as only the new services offer it.
    pub(super) async fn invoke_new(&self, id: FunctionId, event: &Value) -> Result<Served<InvokeResponse>, Failure> {
        let url = format!("{}/functions/{id}/invoke", self.target.gateway);
        self.called(&url, event).await
    }
}

async fn served<T: DeserializeOwned>(start: Instant, sent: reqwest::Result<Response>) -> Result<Served<T>, Failure> {
    let response = sent.map_err(|error| Failure::of(None, anyhow::Error::new(error).context("no answer")))?;
    let status = response.status();
    let side = match response.headers().get(SERVED_BY).and_then(|side| side.to_str().ok()) {
        Some("legacy") => Side::Legacy,
        Some("candidate") => Side::Candidate,
        other => return Err(Failure::of(None, format!("status {status}, served by {other:?}"))),
    };
    let failed = |why: anyhow::Error| Failure::of(Some(side), why);
    let body = response.bytes().await.context("the answer broke off").map_err(failed)?;
    let latency = start.elapsed();
    if status != StatusCode::OK {
        return Err(Failure::of(Some(side), format!("status {status}: {}", String::from_utf8_lossy(&body))));
    }
    let answer = serde_json::from_slice(&body).context("the answer is not what the contract says").map_err(failed)?;
    Ok(Served { side, latency, answer })
}
