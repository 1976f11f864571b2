//! Client of the gateway's admin API.

pub(crate) mod limits;
pub(crate) mod ramps;
pub(crate) mod rollout;
pub(crate) mod shadow;
pub(crate) mod slices;

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Certificate, Client, Method, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    arguments::{ChangeTerms, Note},
    connection::Connection,
    output::Refused,
};
use rollout::{Entry, InvalidDocument, Problem};

/// Answers come from memory; a gateway that needs longer is in trouble that should be seen.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An upgrade is answered when the successor serves; the gateway's own deadline is shorter.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(300);

/// `GET /api/v1/routes`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Routes {
    pub(crate) routes: Vec<Route>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) methods: Vec<String>,
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) legacy: Option<String>,
    pub(crate) candidate: Option<String>,
    pub(crate) fallback: bool,
    pub(crate) percent: f64,
    pub(crate) stage: String,
    pub(crate) epoch: u64,
}

/// `GET /api/v1/status`; counters only ever grow while the gateway runs.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Status {
    pub(crate) revision: u64,
    pub(crate) rollout_file: String,
    pub(crate) reload_error: Option<String>,
    #[serde(default)]
    pub(crate) rollout: Option<RolloutStatus>,
    pub(crate) started_at: String,
    pub(crate) uptime_seconds: f64,
    pub(crate) routes: Vec<RouteStatus>,
    pub(crate) upstreams: Vec<UpstreamStatus>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct RouteStatus {
    pub(crate) name: String,
    pub(crate) stage: String,
    pub(crate) percent: f64,
    pub(crate) epoch: u64,
    pub(crate) fallbacks: u64,
    /// Nothing where the gateway does not count requests.
    pub(crate) sides: Option<Sides>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Sides {
    pub(crate) legacy: Side,
    pub(crate) candidate: Side,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Side {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) in_flight: i64,
    pub(crate) latency: Histogram,
}

/// How many answers took at most `le_seconds[i]`, for each `i`; slower ones are in the count of
/// requests alone.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Histogram {
    pub(crate) le_seconds: Vec<f64>,
    pub(crate) counts: Vec<u64>,
    pub(crate) sum_seconds: f64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct UpstreamStatus {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) healthy: bool,
    /// `closed`, `open` or `probation`; nothing without a circuit breaker.
    #[serde(default)]
    pub(crate) breaker: Option<String>,
    #[serde(default)]
    pub(crate) breaker_open_ms: Option<u64>,
    #[serde(default)]
    pub(crate) in_flight: u64,
    #[serde(default)]
    pub(crate) addresses: Vec<AddressStatus>,
}

/// One address of an upstream.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct AddressStatus {
    pub(crate) address: String,
    pub(crate) healthy: bool,
    /// How much longer it is left out because it failed.
    pub(crate) ejected_ms: Option<u64>,
    /// Why it could not be reached.
    pub(crate) problem: Option<String>,
}

/// Who keeps the rollout, and whether they answer.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct RolloutStatus {
    pub(crate) store: String,
    pub(crate) store_up: bool,
    pub(crate) store_age_seconds: Option<f64>,
    /// Routes whose rollback is in force here and not in the store.
    pub(crate) pending_rollbacks: Vec<String>,
}

/// `PUT /api/v1/routes/{name}/weight`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct WeightChanged {
    pub(crate) route: String,
    pub(crate) from_percent: f64,
    pub(crate) to_percent: f64,
    pub(crate) epoch: u64,
    pub(crate) revision: u64,
}

/// `POST /api/v1/rollback` and `POST /api/v1/routes/{name}/rollback`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct RolledBack {
    pub(crate) routes: Vec<RouteRolledBack>,
    pub(crate) revision: u64,
    /// False when the change is in force but could not be written to the rollout file.
    pub(crate) persisted: bool,
    /// Why it could not be written.
    pub(crate) persist_error: Option<String>,
    /// False when the other gateways do not have it yet.
    #[serde(default = "yes")]
    pub(crate) shared: bool,
    /// Why not.
    #[serde(default)]
    pub(crate) share_error: Option<String>,
    /// Where a rollout file that could not be read was put.
    pub(crate) set_aside: Option<String>,
    /// Routes that stay on the candidate, because the rows of their slice are there.
    #[serde(default)]
    pub(crate) staying: Vec<Staying>,
}

/// A route that stays where its rows are.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Staying {
    pub(crate) route: String,
    pub(crate) slice: String,
}

fn yes() -> bool {
    true
}

/// What legacy cannot serve, as the candidate said last.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct OnlyCandidate {
    pub(crate) keys: Vec<String>,
    /// How many there are; nothing when the candidate never said.
    pub(crate) count: Option<u64>,
    pub(crate) age_seconds: Option<f64>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct RouteRolledBack {
    /// Only where the gateway asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) only_candidate: Option<OnlyCandidate>,
    pub(crate) route: String,
    pub(crate) from_percent: f64,
    pub(crate) epoch: u64,
}

/// The admin API of one gateway.
pub(crate) struct Admin<'a> {
    connection: &'a Connection,
    client: Client,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    message: String,
    /// What is wrong with a document that was sent.
    #[serde(default)]
    problems: Vec<Problem>,
    /// What came between the expected revision and the last one.
    #[serde(default)]
    changed_since: Vec<Entry>,
}

impl<'a> Admin<'a> {
    pub(crate) fn new(connection: &'a Connection) -> anyhow::Result<Self> {
        let mut client = Client::builder().no_proxy();
        if let Some(pem) = &connection.ca {
            let certificates = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if certificates.is_empty() {
                return Err(Refused("the file of --ca has no certificates in PEM".to_owned()).into());
            }
            client = client.tls_certs_only(certificates);
        }
        let client = client.build().context("cannot make an HTTP client")?;
        Ok(Self { connection, client })
    }

    pub(crate) async fn routes(&self) -> anyhow::Result<Routes> {
        self.call(Method::GET, &["routes"], None).await
    }

    pub(crate) async fn status(&self) -> anyhow::Result<Status> {
        self.call(Method::GET, &["status"], None).await
    }

    pub(crate) async fn set_weight(
        &self,
        route: &str,
        percent: f64,
        terms: &ChangeTerms,
    ) -> anyhow::Result<WeightChanged> {
        let mut body = noted_for(terms);
        body["percent"] = json!(percent);
        self.call(Method::PUT, &["routes", route, "weight"], Some(body)).await
    }

    pub(crate) async fn roll_back(&self, route: Option<&str>, terms: &ChangeTerms) -> anyhow::Result<RolledBack> {
        let body = Some(noted_for(terms));
        match route {
            Some(route) => self.call(Method::POST, &["routes", route, "rollback"], body).await,
            None => self.call(Method::POST, &["rollback"], body).await,
        }
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &[&str], body: Option<Value>) -> anyhow::Result<T> {
        self.call_within(TIMEOUT, method, path, &[], body).await
    }

    async fn ask<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> anyhow::Result<T> {
        self.call_within(TIMEOUT, Method::GET, path, query, None).await
    }

    async fn call_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<Value>,
    ) -> anyhow::Result<T> {
        let admin = &self.connection.admin;
        let mut url = reqwest::Url::parse(admin)
            .map_err(|error| Refused(format!("`{admin}` is not the address of an admin API: {error}")))?;
        url.path_segments_mut()
            .map_err(|()| Refused(format!("`{admin}` is not the address of an admin API")))?
            .pop_if_empty()
            .extend(["api", "v1"])
            // Escapes each part, so that no route name can reach another path.
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).timeout(limit).bearer_auth(&self.connection.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer =
            request.send().await.with_context(|| format!("the gateway's admin API at {admin} does not answer"))?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("the answer of {admin} broke off"))?;
        if status.is_success() {
            return serde_json::from_str(&text)
                .with_context(|| format!("{admin} answered what is no admin API's answer"));
        }
        let error: ErrorBody = match serde_json::from_str(&text) {
            Ok(error) => error,
            Err(_) => bail!("{admin} answered {status}; is it the gateway's admin API?"),
        };
        if !error.problems.is_empty() {
            return Err(InvalidDocument(error.problems).into());
        }
        let mut said = format!("the gateway refused: {} ({})", error.message, error.error);
        for entry in &error.changed_since {
            said.push_str(&format!("\n  since then: {entry}"));
        }
        match status {
            StatusCode::UNAUTHORIZED => bail!("{said}; is the token of another gateway?"),
            status if status.is_client_error() => Err(Refused(said).into()),
            _ => bail!("{said}"),
        }
    }
}

/// What goes with every change.
fn noted(note: &Note) -> Value {
    let actor = note.actor.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "unknown".to_owned());
    json!({"reason": note.reason, "actor": actor})
}

/// The same for one that may have been thought of for a revision.
fn noted_for(terms: &ChangeTerms) -> Value {
    let mut body = noted(&terms.note);
    if let Some(expect) = terms.expect {
        body["expected_revision"] = json!(expect);
    }
    body
}
