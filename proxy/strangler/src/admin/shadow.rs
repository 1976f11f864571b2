//! Which share of a route is shadowed.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Admin, noted_for};
use crate::arguments::Note;

/// `PUT /api/v1/routes/{name}/shadow`
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ShadowChanged {
    pub(crate) route: String,
    pub(crate) from_percent: f64,
    pub(crate) to_percent: f64,
    pub(crate) revision: u64,
}

impl Admin<'_> {
    pub(crate) async fn set_shadow(
        &self,
        route: &str,
        percent: f64,
        expect: Option<u64>,
        note: &Note,
    ) -> anyhow::Result<ShadowChanged> {
        let mut body = noted_for(expect, note);
        body["percent"] = json!(percent);
        self.call(Method::PUT, &["routes", route, "shadow"], Some(body)).await
    }
}
