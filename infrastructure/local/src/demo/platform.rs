//! A client of Mini-Lambda's REST API, through the gateway.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use domain::{
    FunctionId,
    contract::{FunctionCreated, FunctionDetail, InvokeResponse},
};
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Target, flawed_candidate::SWITCH_PATH, functions::Kind};

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

/// A request that failed, and the side it failed on where the gateway said so.
pub(super) struct Failure {
    pub(super) side: Option<Side>,
    pub(super) why: String,
}

impl Failure {
    pub(super) fn of(side: Option<Side>, why: impl std::fmt::Display) -> Self {
        Self { side, why: format!("{why:#}") }
    }
}

/// A client of the platform and of the gateway's rollback switch.
#[derive(Clone)]
pub(super) struct Platform {
    client: Client,
    target: Target,
}

#[derive(Deserialize)]
struct RolledBack {
    persisted: bool,
}

impl Platform {
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
        Ok(Self { client, target: target.clone() })
    }

    pub(super) async fn create(&self, kind: &Kind, name: &str) -> anyhow::Result<FunctionId> {
        let body = json!({
            "name": name, "runtime": kind.runtime, "code": kind.code, "timeout": kind.timeout_s,
        });
        let url = format!("{}/api/v1/functions", self.target.gateway);
        let created = self.client.post(url).json(&body).send().await.context("cannot create a function")?;
        ensure!(created.status() == StatusCode::CREATED, "creating {name} was answered {}", created.status());
        let created: FunctionCreated = created.json().await.context("no function came back")?;
        Ok(created.function_id)
    }

    pub(super) async fn invoke(&self, id: FunctionId, event: &Value) -> Result<Served<InvokeResponse>, Failure> {
        let url = format!("{}/api/v1/functions/{id}/invoke", self.target.gateway);
        let start = Instant::now();
        served(start, self.client.post(url).json(event).send().await).await
    }

    pub(super) async fn read(&self, id: FunctionId) -> Result<Served<FunctionDetail>, Failure> {
        let url = format!("{}/api/v1/functions/{id}", self.target.gateway);
        let start = Instant::now();
        served(start, self.client.get(url).send().await).await
    }

    /// The rollback switch, for every route.
    pub(super) async fn roll_back(&self) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/rollback", self.target.admin);
        let body = json!({"reason": "demonstration", "actor": "demo"});
        let answer = self.client.post(url).bearer_auth(&self.target.token).json(&body).send().await?;
        ensure!(answer.status().is_success(), "the rollback was answered {}", answer.status());
        let done: RolledBack = answer.json().await?;
        ensure!(done.persisted, "the rollback is in force but was not written to the rollout file");
        Ok(())
    }

    /// Plants the defect, or takes it out.
    pub(super) async fn set_defect(&self, planted: bool) -> anyhow::Result<()> {
        let url = format!("{}{SWITCH_PATH}", self.target.flawed_candidate);
        let answer = self.client.put(url).body(planted.to_string()).send().await?;
        ensure!(answer.status().is_success(), "the defect's switch was answered {}", answer.status());
        Ok(())
    }

    /// How many answers of a route the shadow has compared with this outcome.
    pub(super) async fn compared(&self, route: &str, outcome: &str) -> anyhow::Result<u64> {
        let text = self.client.get(format!("{}/metrics", self.target.admin)).send().await?.text().await?;
        let has = |line: &&str, label: &str, value: &str| line.contains(&format!("{label}=\"{value}\""));
        let lines = text.lines().filter(|line| line.starts_with("gateway_shadow_requests_total{"));
        let lines = lines.filter(|line| has(line, "route", route) && has(line, "outcome", outcome));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// Who made the last change of the rollout, and why.
    pub(super) async fn last_change(&self) -> anyhow::Result<(String, String)> {
        let url = format!("{}/api/v1/history?limit=1", self.target.admin);
        let log: Value = self.client.get(url).bearer_auth(&self.target.token).send().await?.json().await?;
        let text = |key: &str| log["entries"][0][key].as_str().unwrap_or_default().to_owned();
        Ok((text("actor"), text("reason")))
    }

    /// The percentage in force for each route that has two sides.
    pub(super) async fn percentages(&self) -> anyhow::Result<Vec<(String, f64)>> {
        let url = format!("{}/api/v1/status", self.target.admin);
        let status: Value = self.client.get(url).bearer_auth(&self.target.token).send().await?.json().await?;
        let routes = status["routes"].as_array().context("the status names no routes")?;
        let percent = |route: &Value| Some((route["name"].as_str()?.to_owned(), route["percent"].as_f64()?));
        Ok(routes.iter().filter_map(percent).collect())
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
