//! Pins and limits.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Admin, noted_for};
use crate::arguments::limits::{LimitArguments, PinArguments, UnpinArguments};

/// `PUT` and `DELETE /api/v1/routes/{name}/pins/{key}`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct PinChanged {
    pub(crate) route: String,
    pub(crate) key: String,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) revision: u64,
}

/// `GET /api/v1/limits`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Limits {
    pub(crate) policies: Vec<Policy>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) counts: String,
    pub(crate) configured: Quota,
    #[serde(flatten)]
    pub(crate) quota: Quota,
    pub(crate) overrides: Vec<Override>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Override {
    pub(crate) key: String,
    #[serde(flatten)]
    pub(crate) quota: Quota,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Quota {
    pub(crate) rate: String,
    pub(crate) burst: u32,
}

/// `PUT` and `DELETE /api/v1/limits/{policy}` and what is below it
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct LimitChanged {
    pub(crate) policy: String,
    pub(crate) key: Option<String>,
    pub(crate) from: Option<Quota>,
    pub(crate) to: Option<Quota>,
    pub(crate) revision: u64,
}

impl Admin<'_> {
    pub(crate) async fn pin(&self, pin: &PinArguments) -> anyhow::Result<PinChanged> {
        let mut body = noted_for(&pin.terms);
        body["side"] = json!(pin.side.as_str());
        self.call(Method::PUT, &["routes", &pin.route, "pins", &pin.key], Some(body)).await
    }

    pub(crate) async fn unpin(&self, pin: &UnpinArguments) -> anyhow::Result<PinChanged> {
        let body = noted_for(&pin.terms);
        self.call(Method::DELETE, &["routes", &pin.route, "pins", &pin.key], Some(body)).await
    }

    pub(crate) async fn limits(&self) -> anyhow::Result<Limits> {
        self.call(Method::GET, &["limits"], None).await
    }

    /// Sets a limit, or without a rate takes it away.
    pub(crate) async fn set_limit(&self, limit: &LimitArguments) -> anyhow::Result<LimitChanged> {
        let mut path = vec!["limits", limit.policy.as_str()];
        path.extend(limit.key.iter().flat_map(|key| ["overrides", key.as_str()]));
        let mut body = noted_for(&limit.terms);
        let Some(rate) = &limit.rate else { return self.call(Method::DELETE, &path, Some(body)).await };
        body["rate"] = json!(rate);
        if let Some(burst) = limit.burst {
            body["burst"] = json!(burst);
        }
        self.call(Method::PUT, &path, Some(body)).await
    }
}
