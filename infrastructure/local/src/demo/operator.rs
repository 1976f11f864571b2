//! A client of the gateway's admin API: what a person does with `strangler`, and what they look at.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use reqwest::{Client, Method};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Target, flawed_candidate::SWITCH_PATH};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks at something that is about to change.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How many entries of the history are searched for what the guard did.
const HISTORY: usize = 20;

/// Whoever operates the gateway.
pub(super) struct Operator {
    client: Client,
    target: Target,
}

/// What the shadow has made of the requests of a route.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Compared {
    pub(super) equal: u64,
    /// Alike but for what a rule explains, such as ids and times.
    pub(super) explained: u64,
    pub(super) different: u64,
    /// Requests that were not copied or not compared, by reason.
    pub(super) dropped: BTreeMap<String, u64>,
}

/// How often answers differed in one way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Difference {
    pub(super) route: String,
    /// Where: a path of JSON, `status`, or a header field.
    pub(super) path: String,
    pub(super) kind: String,
    pub(super) count: u64,
}

/// A ramp as it stands.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Ramp {
    route: String,
    /// The percentage in force.
    pub(super) percent: f64,
    ramp: Option<Stand>,
}

#[derive(Debug, Clone, Deserialize)]
struct Stand {
    state: String,
    reason: String,
}

/// A change of the rollout, from the gateway's own history.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Change {
    pub(super) at: chrono::DateTime<chrono::Utc>,
    actor: String,
    pub(super) reason: String,
}

#[derive(Deserialize)]
struct RolledBack {
    persisted: bool,
    routes: Vec<Value>,
}

impl Ramp {
    /// `running`, `completed`, `rolled_back` and so on.
    pub(super) fn state(&self) -> &str {
        self.ramp.as_ref().map_or("none", |stand| &stand.state)
    }

    /// Why it is in this state, as the gateway says it.
    pub(super) fn reason(&self) -> &str {
        self.ramp.as_ref().map_or("", |stand| &stand.reason)
    }
}

impl Compared {
    pub(super) fn in_all(&self) -> u64 {
        self.equal + self.explained + self.different
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// What came since an earlier look.
    pub(super) fn since(&self, before: &Self) -> Self {
        let added = self.dropped.iter().map(|(why, count)| (why, count - before.dropped.get(why).unwrap_or(&0)));
        Self {
            equal: self.equal - before.equal,
            explained: self.explained - before.explained,
            different: self.different - before.different,
            dropped: added.filter(|(_, count)| *count > 0).map(|(why, count)| (why.clone(), count)).collect(),
        }
    }
}

impl Operator {
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
        Ok(Self { client, target: target.clone() })
    }

    /// Plants the defect, or takes it out.
    pub(super) async fn set_defect(&self, planted: bool) -> anyhow::Result<()> {
        let url = format!("{}{SWITCH_PATH}", self.target.flawed_candidate);
        let answer = self.client.put(url).body(planted.to_string()).send().await?;
        ensure!(answer.status().is_success(), "the defect's switch was answered {}", answer.status());
        Ok(())
    }

    /// The percentage in force for each route that has two sides.
    pub(super) async fn percentages(&self) -> anyhow::Result<Vec<(String, f64)>> {
        let status: Value = self.get("/api/v1/status").await?;
        let routes = status["routes"].as_array().context("the status names no routes")?;
        let percent = |route: &Value| Some((route["name"].as_str()?.to_owned(), route["percent"].as_f64()?));
        Ok(routes.iter().filter_map(percent).collect())
    }

    /// Sets the percentage of a route: `strangler weight`.
    pub(super) async fn set_weight(&self, route: &str, percent: f64) -> anyhow::Result<()> {
        let body = json!({"percent": percent, "reason": "it goes with invoke", "actor": "demo"});
        self.ask::<Value>(Method::PUT, &format!("/api/v1/routes/{route}/weight"), body).await?;
        Ok(())
    }

    /// Sets the share of a route's keys whose requests are copied: `strangler shadow set`.
    pub(super) async fn set_shadow(&self, route: &str, percent: f64) -> anyhow::Result<()> {
        let body = json!({"percent": percent, "reason": "demonstration", "actor": "demo"});
        self.ask::<Value>(Method::PUT, &format!("/api/v1/routes/{route}/shadow"), body).await?;
        Ok(())
    }

    /// `strangler ramp start`
    pub(super) async fn start_ramp(&self, route: &str) -> anyhow::Result<()> {
        let body = json!({"reason": "demonstration", "actor": "demo"});
        self.ask::<Value>(Method::POST, &format!("/api/v1/routes/{route}/ramp/start"), body).await?;
        Ok(())
    }

    /// Where the ramp of a route stands.
    pub(super) async fn ramp(&self, route: &str) -> anyhow::Result<Ramp> {
        #[derive(Deserialize)]
        struct Ramps {
            ramps: Vec<Ramp>,
        }
        let Ramps { ramps } = self.get("/api/v1/ramps").await?;
        ramps.into_iter().find(|ramp| ramp.route == route).with_context(|| format!("{route} has no guard"))
    }

    /// Whose the rows of a slice are.
    pub(super) async fn owner_of(&self, slice: &str) -> anyhow::Result<String> {
        let slices: Value = self.get("/api/v1/slices").await?;
        let all = slices["slices"].as_array().context("the gateway names no slices")?;
        let found = all.iter().find(|found| found["name"] == slice);
        found
            .and_then(|slice| slice["owner"].as_str())
            .map(str::to_owned)
            .with_context(|| format!("there is no slice {slice}"))
    }

    /// `strangler rollback --all`; returns how many routes it took back.
    pub(super) async fn roll_back(&self) -> anyhow::Result<usize> {
        let body = json!({"reason": "demonstration", "actor": "demo"});
        let done: RolledBack = self.ask(Method::POST, "/api/v1/rollback", body).await?;
        ensure!(done.persisted, "the rollback is in force but was not written to the rollout file");
        Ok(done.routes.len())
    }

    /// When and why the guard took a route back after `since`. It is in force before it is in the history.
    pub(super) async fn taken_back_by_guard(
        &self,
        route: &str,
        since: chrono::DateTime<chrono::Utc>,
        patience: Duration,
    ) -> anyhow::Result<Change> {
        #[derive(Deserialize)]
        struct History {
            entries: Vec<Change>,
        }
        let until = Instant::now() + patience;
        loop {
            let history: History = self.get(&format!("/api/v1/history?route={route}&limit={HISTORY}")).await?;
            if let Some(found) = history.entries.iter().find(|change| change.actor == "guard" && change.at > since) {
                return Ok(found.clone());
            }
            ensure!(Instant::now() < until, "it was not the guard: {:?}", history.entries.first());
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Waits until an upstream has agreed to dry runs.
    pub(super) async fn wait_for_agreement(&self, upstream: &str, patience: Duration) -> anyhow::Result<()> {
        let line = format!("gateway_shadow_dry_run_agreed{{upstream=\"{upstream}\"}} 1");
        let until = Instant::now() + patience;
        while !self.metrics().await?.lines().any(|found| found == line) {
            ensure!(Instant::now() < until, "`{upstream}` has not agreed to dry runs within {patience:?}");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// What the shadow has made of a route's requests since the gateway was started.
    pub(super) async fn compared(&self, route: &str) -> anyhow::Result<Compared> {
        let metrics = self.metrics().await?;
        let mut compared = Compared::default();
        for (labels, count) in samples(&metrics, "gateway_shadow_requests_total", route) {
            match label(labels, "outcome") {
                "equal" => compared.equal += count,
                "ignored" if label(labels, "reason") == "differences" => compared.explained += count,
                "different" => compared.different += count,
                "dropped" => *compared.dropped.entry(label(labels, "reason").to_owned()).or_default() += count,
                _ => {}
            }
        }
        Ok(compared)
    }

    /// Waits until no copy of these routes' requests is on its way.
    pub(super) async fn wait_for_copies(&self, routes: &[&str], patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        loop {
            let metrics = self.metrics().await?;
            let of = |route: &&str| {
                samples(&metrics, "gateway_shadow_in_flight", route).map(|(_, count)| count).sum::<u64>()
            };
            let out: u64 = routes.iter().map(of).sum();
            if out == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{out} copies are still on their way after {patience:?}");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// In which ways answers have differed, the most frequent first: `strangler shadow report`.
    pub(super) async fn differences(&self) -> anyhow::Result<Vec<Difference>> {
        #[derive(Deserialize)]
        struct Report {
            clusters: Vec<Difference>,
            store_problem: Option<String>,
        }
        let report: Report = self.get("/api/v1/shadow").await?;
        ensure!(report.store_problem.is_none(), "mismatches cannot be read: {:?}", report.store_problem);
        Ok(report.clusters)
    }

    async fn metrics(&self) -> anyhow::Result<String> {
        let answer = self.client.get(format!("{}/metrics", self.target.admin)).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, Value::Null).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Value) -> anyhow::Result<T> {
        let request = self.client.request(method, format!("{}{path}", self.target.admin));
        let mut request = request.bearer_auth(&self.target.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.with_context(|| format!("no answer to {path}"))?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path} was answered {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path} was answered with what nobody expects: {text}"))
    }
}

/// A metric's samples of a route: their labels, and the value.
fn samples<'a>(metrics: &'a str, name: &str, route: &str) -> impl Iterator<Item = (&'a str, u64)> {
    let all = metrics.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "));
    let of_route = all.filter(move |(labels, _)| label(labels, "route") == route);
    of_route.filter_map(|(labels, value)| Some((labels, value.parse().ok()?)))
}

/// The value of a label; none of those that are looked at here has a quote or a comma in it.
fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    let value = |pair: &'a str| pair.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"');
    labels.split(',').find_map(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_those_of_a_route() {
        let metrics = "# HELP n x\nn{outcome=\"dropped\",reason=\"a\",route=\"r\"} 2\n\
                       n{outcome=\"equal\",reason=\"\",route=\"r\"} 7\n\
                       n_more{outcome=\"dropped\",route=\"r\"} 90\n\
                       n{outcome=\"dropped\",reason=\"a\",route=\"other\"} 40\n";
        let found: Vec<_> =
            samples(metrics, "n", "r").map(|(labels, count)| (label(labels, "reason"), count)).collect();
        assert_eq!(found, [("a", 2), ("", 7)]);
    }
}
