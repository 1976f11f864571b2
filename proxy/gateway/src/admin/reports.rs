//! What the migration tool says of a slice, for whoever looks.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{AdminState, Refused, asked::Asked};
use crate::slices::{About, Report};

/// The longest report. What is long in one (rows that differ, changes in quarantine) the tool cuts off.
pub(super) const LIMIT_BYTES: usize = 256 * 1024;

/// `PUT /api/v1/slices/{name}/reports/{about}`: a JSON object or list, in place of the last one about the same.
pub(super) async fn put(
    State(state): State<Arc<AdminState>>,
    Path((name, about)): Path<(String, String)>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let (slice, about) = (state.slice(&name)?, about_of(&about)?);
    let said: Value = asked.read()?;
    if !(said.is_object() || said.is_array()) {
        let message = "a report is a JSON object or list";
        return Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_request", message));
    }
    state.reports.put(slice, about, Report::new(asked.operator_name(), said));
    Ok(Json(json!({ "slice": name, "about": about })))
}

/// `GET /api/v1/slices/{name}/reports/{about}`
pub(super) async fn get(
    State(state): State<Arc<AdminState>>,
    Path((name, about)): Path<(String, String)>,
) -> Result<Json<Value>, Refused> {
    let (slice, about) = (state.slice(&name)?, about_of(&about)?);
    let now = Instant::now();
    let missing = || Refused::new(StatusCode::NOT_FOUND, "report_not_found", "nobody has reported it");
    let report = state.reports.get(slice, about, now).ok_or_else(missing)?;
    Ok(Json(json!({
        "slice": name,
        "about": about,
        "by": report.by,
        "at": report.at,
        "age_seconds": report.age(now).as_secs_f64(),
        "report": report.said(),
    })))
}

fn about_of(text: &str) -> Result<About, Refused> {
    serde_json::from_value(Value::from(text)).map_err(|_| {
        let message = format!("reports are about streams, verify, cutover, rollback or retire, not `{text}`");
        Refused::new(StatusCode::NOT_FOUND, "report_not_found", message)
    })
}
