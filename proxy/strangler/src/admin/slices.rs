//! Slices and their fences.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Admin;

/// `GET /api/v1/slices`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Slices {
    pub(crate) revision: u64,
    pub(crate) slices: Vec<Slice>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Slice {
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) stage: String,
    /// The upstream that serves once the rows are the candidate's.
    pub(crate) candidate: String,
    pub(crate) routes: Vec<String>,
    pub(crate) fence: Option<StandingFence>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct StandingFence {
    pub(crate) held_ms: f64,
    pub(crate) left_ms: f64,
    pub(crate) waiting: u64,
    pub(crate) in_flight: u64,
}

/// `/api/v1/slices/{name}/fence`
#[derive(Debug, Deserialize)]
pub(crate) struct FenceView {
    /// Whether no write is under way through any gateway.
    pub(crate) drained: bool,
}

/// `DELETE /api/v1/slices/{name}/fence`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Lifted {
    pub(crate) held_ms: Option<f64>,
    pub(crate) released: u64,
}

impl Admin<'_> {
    pub(crate) async fn slices(&self) -> anyhow::Result<Slices> {
        self.call(Method::GET, &["slices"], None).await
    }

    /// Tells whoever looks at the console; `about` is one of the gateway's words for it.
    pub(crate) async fn report(&self, slice: &str, about: &str, said: Value) -> anyhow::Result<()> {
        self.call(Method::PUT, &["slices", slice, "reports", about], Some(said)).await.map(|_: Value| ())
    }

    pub(crate) async fn place_fence(
        &self,
        slice: &str,
        token: &str,
        hold: Duration,
        lease: Duration,
    ) -> anyhow::Result<FenceView> {
        let body = json!({ "token": token, "hold_ms": ms(hold), "lease_ms": ms(lease) });
        self.call(Method::POST, &["slices", slice, "fence"], Some(body)).await
    }

    pub(crate) async fn renew_fence(&self, slice: &str, token: &str, lease: Duration) -> anyhow::Result<FenceView> {
        let body = json!({ "token": token, "lease_ms": ms(lease) });
        self.call(Method::PUT, &["slices", slice, "fence"], Some(body)).await
    }

    pub(crate) async fn lift_fence(&self, slice: &str, token: &str) -> anyhow::Result<Lifted> {
        self.call(Method::DELETE, &["slices", slice, "fence"], Some(json!({ "token": token }))).await
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
