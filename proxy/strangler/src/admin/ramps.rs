//! Ramps.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Admin, noted_for};
use crate::arguments::ChangeTerms;

/// `GET /api/v1/ramps`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Ramps {
    pub(crate) ramps: Vec<Ramp>,
}

/// A route with a guard.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Ramp {
    pub(crate) route: String,
    pub(crate) percent: f64,
    pub(crate) ramp: Option<Stand>,
    pub(crate) steps: Vec<Step>,
    pub(crate) here: Here,
    pub(crate) verdict: String,
    pub(crate) evidence: Evidence,
}

/// Where a ramp stands.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Stand {
    pub(crate) state: String,
    pub(crate) step: usize,
    pub(crate) percent: f64,
    pub(crate) proven_percent: f64,
    pub(crate) approved: bool,
    pub(crate) reason: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Step {
    pub(crate) percent: f64,
    pub(crate) least_ms: u64,
    pub(crate) least_requests: u64,
    pub(crate) approval: bool,
}

/// What the gateway that was asked knows by itself.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Here {
    pub(crate) conducts: bool,
    pub(crate) lease_held: bool,
    pub(crate) lease_age_ms: Option<u64>,
    pub(crate) step_ms: Option<u64>,
    pub(crate) holding: Option<Holding>,
    pub(crate) coverage: Option<f64>,
    pub(crate) problem: Option<String>,
}

/// What a step waits for; which fields there are depends on what.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Holding {
    #[serde(rename = "for")]
    pub(crate) what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pairs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) said: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Evidence {
    pub(crate) legacy: Counts,
    pub(crate) candidate: Counts,
    pub(crate) pairs: u64,
    pub(crate) comparisons: u64,
    pub(crate) mismatches: u64,
    pub(crate) bound: f64,
    pub(crate) metrics: Vec<Metric>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Metric {
    pub(crate) metric: String,
    pub(crate) e_value: f64,
    pub(crate) looks: u64,
}

/// `POST /api/v1/routes/{name}/ramp/{command}`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Moved {
    pub(crate) route: String,
    pub(crate) ramp: Stand,
    pub(crate) revision: u64,
}

impl Admin<'_> {
    pub(crate) async fn ramps(&self) -> anyhow::Result<Ramps> {
        self.call(Method::GET, &["ramps"], None).await
    }

    pub(crate) async fn ramp(&self, route: &str, command: &str, terms: &ChangeTerms) -> anyhow::Result<Moved> {
        self.call(Method::POST, &["routes", route, "ramp", command], Some(noted_for(terms))).await
    }
}
