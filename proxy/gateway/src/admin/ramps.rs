//! Ramps: where they stand, and what an operator may ask of them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use judgement::RampState;
use serde_json::{Value, json};

use super::{AdminState, Refused, asked::Asked};
use crate::{
    control::on_blocking_thread,
    ramp::{Command, RouteRamp},
    rollout::Weight,
};

/// `GET /api/v1/ramps`: every route with a guard. Evidence is this gateway's own.
pub(super) async fn list(State(state): State<Arc<AdminState>>) -> Json<Value> {
    Json(json!({ "ramps": all(&state) }))
}

pub(super) fn all(state: &AdminState) -> Vec<Value> {
    state.ramps.iter().map(|ramp| view(state, ramp)).collect()
}

fn view(state: &AdminState, ramp: &RouteRamp) -> Value {
    let snapshot = state.control.snapshot();
    let known = snapshot.ramp(ramp.id);
    let steps = ramp.plan.iter().flat_map(|plan| &plan.plan.steps).map(|step| {
        let percent = Weight::from_points(step.weight);
        json!({
            "percent": percent, "least_ms": step.least_time.as_millis(), "least_requests": step.least_requests,
            "approval": step.approval,
        })
    });
    json!({
        "route": ramp.name,
        "percent": snapshot.get(ramp.id).weight,
        "ramp": known.map(|known| ramp_view(&known.record.state)),
        "steps": steps.collect::<Vec<_>>(),
        "commands": ramp.followed(known.map(AsRef::as_ref), snapshot.get(ramp.id).weight.points()),
        "here": ramp.showing.get(),
        "verdict": ramp.verdict(),
        "evidence": ramp.evidence(),
    })
}

fn ramp_view(state: &RampState) -> Value {
    json!({
        "state": state.phase.as_str(),
        "step": state.step + 1,
        "percent": Weight::from_points(state.weight),
        "proven_percent": Weight::from_points(state.proven),
        "approved": state.approved,
        "reason": state.reason,
    })
}

/// `POST /api/v1/routes/{name}/ramp/{command}`
pub(super) async fn command(
    State(state): State<Arc<AdminState>>,
    Path((name, command)): Path<(String, String)>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let route = state.route(&name)?;
    let no_such = || Refused::new(StatusCode::NOT_FOUND, "not_found", "a ramp cannot be asked for that");
    let command: Command = serde_json::from_value(command.into()).map_err(|_| no_such())?;
    let (by, expect) = asked.signed(&asked.read_or_default()?)?;
    let work = state.clone();
    let stands = on_blocking_thread(move || work.ramps.command(&work.control, route, command, &by, expect)).await?;
    let revision = state.control.snapshot().revision();
    Ok(Json(json!({ "route": name, "ramp": ramp_view(&stands), "revision": revision })))
}
