//! What the gateway shows: routes, status, metrics.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{AdminState, Refused};
use crate::{
    control::Control,
    decision::Side,
    metrics::SideTotals,
    rollout::{RouteState, Snapshot, Stage, Weight},
    route_table::{Route, RouteId, RouteTable, Sides, UpstreamId},
    upstream::{UpstreamView, Upstreams},
};

/// One route as it is configured and as it stands.
#[derive(Debug, Serialize)]
pub(super) struct RouteView<'a> {
    name: &'a str,
    hosts: Vec<String>,
    methods: Vec<&'a str>,
    path: &'a str,
    /// What it asks of headers and query, for people.
    conditions: String,
    key: &'a str,
    legacy: Option<&'a str>,
    candidate: Option<&'a str>,
    /// The slice that it reads and writes.
    slice: Option<&'a str>,
    fallback: bool,
    percent: Weight,
    stage: Stage,
    epoch: u64,
}

impl<'a> RouteView<'a> {
    fn new(id: RouteId, table: &'a RouteTable, snapshot: &Snapshot, upstreams: &'a Upstreams) -> Self {
        let route = table.get(id);
        let name = |id: UpstreamId| upstreams.get(id).name.as_str();
        let (legacy, candidate, fallback) = match route.sides {
            Sides::Legacy(legacy) => (Some(name(legacy)), None, false),
            Sides::Candidate(candidate) => (None, Some(name(candidate)), false),
            Sides::Both { legacy, candidate, fallback } => (Some(name(legacy)), Some(name(candidate)), fallback),
        };
        let state = snapshot.get(id);
        Self {
            name: &route.name,
            hosts: route.hosts.iter().map(ToString::to_string).collect(),
            methods: route.methods.iter().map(http::Method::as_str).collect(),
            path: route.template.as_str(),
            conditions: route.conditions.to_string(),
            key: &route.key_text,
            legacy,
            candidate: state
                .moved
                .then_some(route.slice.as_ref())
                .flatten()
                .map_or(candidate, |slice| Some(name(slice.own))),
            slice: route.slice.as_ref().map(|slice| table.slice(slice.id).name.as_str()),
            fallback,
            percent: share(state, route.sides),
            stage: share(state, route.sides).stage(route.sides),
            epoch: state.epoch,
        }
    }
}

/// The share of keys on the candidate, also where no weight decides it.
fn share(state: RouteState, sides: Sides) -> Weight {
    match sides {
        _ if state.moved => Weight::ALL,
        Sides::Legacy(_) => Weight::NONE,
        Sides::Candidate(_) => Weight::ALL,
        Sides::Both { .. } => state.weight,
    }
}

/// `GET /api/v1/routes`
pub(super) async fn routes(State(state): State<Arc<AdminState>>) -> Json<Value> {
    let snapshot = state.control.snapshot();
    let table = state.control.table();
    let routes: Vec<_> = table.iter().map(|(id, _)| RouteView::new(id, table, &snapshot, &state.upstreams)).collect();
    Json(json!({ "routes": routes }))
}

/// What a route has done since the gateway started.
#[derive(Debug, Serialize)]
struct RouteStatus<'a> {
    name: &'a str,
    stage: Stage,
    percent: Weight,
    epoch: u64,
    /// Nothing where requests are not counted.
    sides: Option<SidesStatus>,
    fallbacks: u64,
}

#[derive(Debug, Serialize)]
struct SidesStatus {
    legacy: SideTotals,
    candidate: SideTotals,
}

/// Who keeps the rollout, and whether they answer.
#[derive(Debug, Serialize)]
struct RolloutView {
    store: &'static str,
    store_up: bool,
    /// Seconds since the store last answered; `null` when it never has.
    store_age_seconds: Option<f64>,
    /// Routes whose rollback is in force here and not in the store.
    pending_rollbacks: Vec<String>,
}

impl RolloutView {
    fn new(control: &Control) -> Self {
        Self {
            store: control.store().as_str(),
            store_up: control.store_is_up(),
            store_age_seconds: control.store_age_s(),
            pending_rollbacks: control.pending_rollbacks(),
        }
    }
}

/// `GET /api/v1/status`. Counters are cumulative: a rate is the difference of two answers, divided
/// by the difference of their `uptime_seconds`.
pub(super) async fn status(State(state): State<Arc<AdminState>>) -> Json<Value> {
    Json(status_of(&state))
}

pub(super) fn status_of(state: &AdminState) -> Value {
    let snapshot = state.control.snapshot();
    let routes: Vec<_> =
        state.control.table().iter().map(|(id, route)| route_status(state, &snapshot, id, route)).collect();
    let upstreams: Vec<_> = state.upstreams.iter().map(|(_, upstream)| UpstreamView::new(upstream)).collect();
    json!({
        "revision": snapshot.revision(),
        "rollout_file": state.control.path(),
        "reload_error": state.control.problem(),
        "rollout": RolloutView::new(&state.control),
        "started_at": state.started_at,
        "uptime_seconds": state.started.elapsed().as_secs_f64(),
        "routes": routes,
        "upstreams": upstreams,
    })
}

fn route_status<'a>(state: &AdminState, snapshot: &Snapshot, id: RouteId, route: &'a Route) -> RouteStatus<'a> {
    let live = snapshot.get(id);
    let totals = |side| state.metrics.side_totals(id, side);
    let sides = totals(Side::Legacy).zip(totals(Side::Candidate));
    RouteStatus {
        name: &route.name,
        stage: share(live, route.sides).stage(route.sides),
        percent: share(live, route.sides),
        epoch: live.epoch,
        sides: sides.map(|(legacy, candidate)| SidesStatus { legacy, candidate }),
        fallbacks: state.metrics.fallbacks(id),
    }
}

/// `GET /api/v1/routes/{name}/only-candidate`: what legacy could not serve after a rollback, as the candidate said
/// last; `null` where nobody asks it.
pub(super) async fn only_candidate(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refused> {
    let route = state.route(&name)?;
    Ok(Json(json!({ "route": name, "only_candidate": state.only_candidate.view(route) })))
}

/// `GET /metrics`
pub(super) async fn metrics(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let (content_type, text) = telemetry::metrics::render(accept);
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// `GET /livez`, `GET /readyz`
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
