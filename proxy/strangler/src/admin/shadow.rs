//! Shadow comparison.

use comparison::RulesConfig;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Admin, noted, noted_for};
use crate::arguments::{ChangeTerms, Note};

/// `PUT /api/v1/routes/{name}/shadow`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ShadowChanged {
    pub(crate) route: String,
    pub(crate) from_percent: f64,
    pub(crate) to_percent: f64,
    pub(crate) revision: u64,
}

/// `GET /api/v1/shadow`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) routes: Vec<Route>,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) store: Option<String>,
    pub(crate) store_problem: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Route {
    pub(crate) route: String,
    pub(crate) percent: f64,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) mismatch_rate: Option<f64>,
    pub(crate) ignored: Vec<String>,
    pub(crate) noise: Noise,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) outcome: String,
    pub(crate) reason: String,
    pub(crate) requests: u64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Noise {
    pub(crate) pairs: u64,
    pub(crate) masks: Vec<Mask>,
    pub(crate) over_cap: Vec<Mask>,
    pub(crate) crowded: u64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Mask {
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) since: String,
    pub(crate) until: String,
    pub(crate) seen: u32,
    pub(crate) noisy: u32,
    pub(crate) rate_at_least: f64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Cluster {
    pub(crate) route: String,
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) count: u64,
    pub(crate) first_at: String,
    pub(crate) last_at: String,
    pub(crate) example: String,
}

/// `GET /api/v1/shadow/mismatches`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Mismatches {
    pub(crate) mismatches: Vec<Summary>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Summary {
    pub(crate) id: String,
    pub(crate) at: String,
    pub(crate) route: String,
    pub(crate) shape: String,
    pub(crate) clusters: Vec<SummaryCluster>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct SummaryCluster {
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) count: u64,
}

/// `GET /api/v1/shadow/mismatches/{id}`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Shown {
    pub(crate) mismatch: Mismatch,
    /// What its route is compared by now; `None` when there is no such route any more.
    pub(crate) rules: Option<RulesConfig>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Mismatch {
    pub(crate) id: String,
    pub(crate) at: String,
    pub(crate) route: String,
    pub(crate) shape: String,
    pub(crate) served_by: String,
    pub(crate) trace_id: String,
    pub(crate) served_span_id: String,
    pub(crate) copied_span_id: String,
    pub(crate) request: Request,
    pub(crate) legacy: Answer,
    pub(crate) candidate: Answer,
    pub(crate) differences: Vec<Difference>,
    pub(crate) masked: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Body {
    pub(crate) text: String,
    pub(crate) whole: bool,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Difference {
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) legacy: Option<String>,
    pub(crate) candidate: Option<String>,
}

/// `POST /api/v1/shadow/ignore`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Ignored {
    pub(crate) route: String,
    pub(crate) path: String,
    pub(crate) changed: bool,
    pub(crate) ignored: Vec<String>,
    pub(crate) revision: u64,
}

impl Admin<'_> {
    pub(crate) async fn set_shadow(
        &self,
        route: &str,
        percent: f64,
        terms: &ChangeTerms,
    ) -> anyhow::Result<ShadowChanged> {
        let mut body = noted_for(terms);
        body["percent"] = json!(percent);
        self.call(Method::PUT, &["routes", route, "shadow"], Some(body)).await
    }

    pub(crate) async fn shadow(&self) -> anyhow::Result<Report> {
        self.call(Method::GET, &["shadow"], None).await
    }

    pub(crate) async fn mismatches(&self, route: Option<&str>, limit: usize) -> anyhow::Result<Mismatches> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(route.map(|route| ("route", route.to_owned())));
        self.ask(&["shadow", "mismatches"], &query).await
    }

    pub(crate) async fn mismatch(&self, id: &str) -> anyhow::Result<Shown> {
        self.call(Method::GET, &["shadow", "mismatches", id], None).await
    }

    pub(crate) async fn ignore(&self, route: &str, path: &str, note: &Note) -> anyhow::Result<Ignored> {
        let mut body = noted(note);
        body["route"] = json!(route);
        body["path"] = json!(path);
        self.call(Method::POST, &["shadow", "ignore"], Some(body)).await
    }
}
