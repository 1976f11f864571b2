//! Slices: whose their rows are, and the fences that hold their writes.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{
    AdminState, Refused,
    asked::{Asked, Note},
};
use crate::{
    control::Change,
    rollout::DataStage,
    route_table::SliceId,
    slices::{Fence, FenceError, Hold, Instance},
};

/// Between two looks at what other gateways say of a fence, for who waits until it is drained.
const OTHERS: Duration = Duration::from_millis(2);

/// The longest token.
const MAX_TOKEN_BYTES: usize = 128;

/// A fence that is to be placed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceRequest {
    token: String,
    /// The longest it may stand, in milliseconds.
    hold_ms: u64,
    /// How long it stands without being renewed, in milliseconds.
    lease_ms: u64,
}

/// A fence that is looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LookRequest {
    token: String,
    /// The answer may wait for so long, in milliseconds, until no write is in flight.
    #[serde(default)]
    drained_within_ms: u64,
}

/// A fence that is to stand for longer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewRequest {
    token: String,
    lease_ms: u64,
}

/// The holder of a fence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Holder {
    token: String,
}

/// How far a slice has come.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StageRequest {
    stage: DataStage,
    /// Of the fence, where the slice gets another owner.
    token: Option<String>,
    #[serde(flatten)]
    note: Note,
}

/// A fence as it stands everywhere.
#[derive(Debug, Serialize)]
struct FenceView {
    slice: String,
    /// How long it has stood, in milliseconds.
    held_ms: f64,
    /// How long it stands yet without being renewed.
    left_ms: f64,
    /// Writes that wait here.
    waiting: usize,
    waiting_bytes: u64,
    /// Writes in flight here.
    in_flight: usize,
    /// Whether no write is under way through any gateway.
    drained: bool,
    /// Those that are not gone.
    gateways: Vec<Instance>,
}

/// `GET /api/v1/slices`
pub(super) async fn list(State(state): State<Arc<AdminState>>) -> Json<Value> {
    Json(json!({ "revision": state.control.snapshot().revision(), "slices": all(&state) }))
}

/// Every slice: whose its rows are, the fence that stands, and what there are reports about.
pub(super) fn all(state: &AdminState) -> Vec<Value> {
    let snapshot = state.control.snapshot().clone();
    let table = state.control.table();
    let upstream = |id| state.upstreams.get(id).name.as_str();
    let slices = table.slices().map(|(id, slice)| {
        let stage = snapshot.stage(id);
        let fence = state.slices.gate(id).fence(Instant::now());
        json!({
            "name": slice.name,
            "owner": stage.owner(),
            "stage": stage,
            "candidate": upstream(slice.own),
            "routes": table.routes_of(id).map(|(_, route)| route.name.as_str()).collect::<Vec<_>>(),
            "fence": fence.map(|fence| json!({
                "held_ms": ms(fence.held), "left_ms": ms(fence.left), "waiting": fence.waiting,
                "in_flight": fence.in_flight,
            })),
            "reports": state.reports.known(id, std::time::Instant::now()),
        })
    });
    slices.collect()
}

/// `POST /api/v1/slices/{name}/fence`: writes of the slice's routes wait from now on.
pub(super) async fn place(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let slice = state.slice(&name)?;
    let PlaceRequest { token, hold_ms, lease_ms } = asked.read()?;
    check_token(&token)?;
    let hold = Hold { bound: Duration::from_millis(hold_ms), lease: Duration::from_millis(lease_ms) };
    let gateways = match &state.fleet {
        Some(fleet) => fleet.place(slice, &token, hold).await?,
        None => vec![state.alone(&state.slices.gate(slice).place(&token, hold, Instant::now())?)],
    };
    tracing::warn!(slice = %name, hold_ms, lease_ms, operator = %asked.operator_name(), "writes are held");
    state.fence_view(slice, &token, gateways)
}

/// `PUT /api/v1/slices/{name}/fence`: for another lease, within its bound.
pub(super) async fn renew(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let slice = state.slice(&name)?;
    let RenewRequest { token, lease_ms } = asked.read()?;
    let lease = Duration::from_millis(lease_ms);
    let gateways = match &state.fleet {
        Some(fleet) => fleet.renew(slice, &token, lease).await?,
        None => vec![state.alone(&state.slices.gate(slice).renew(&token, lease, Instant::now())?)],
    };
    state.fence_view(slice, &token, gateways)
}

/// `DELETE /api/v1/slices/{name}/fence`: whoever waits goes on.
pub(super) async fn lift(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let slice = state.slice(&name)?;
    let Holder { token } = asked.read()?;
    let gate = state.slices.gate(slice);
    let before = gate.fence(Instant::now()).filter(|fence| fence.token == token);
    match &state.fleet {
        Some(fleet) => drop(fleet.lift(slice, &token).await?),
        None => drop(gate.lift(&token, Instant::now())?),
    }
    let held_ms = before.as_ref().map(|fence| ms(fence.held));
    let waiting = before.map_or(0, |fence| fence.waiting);
    tracing::info!(slice = %name, held_ms, waiting, "writes are no longer held");
    Ok(Json(json!({ "slice": name, "held_ms": held_ms, "released": waiting })))
}

/// `GET /api/v1/slices/{name}/fence?token=&drained_within_ms=`
pub(super) async fn look(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    Query(LookRequest { token, drained_within_ms }): Query<LookRequest>,
) -> Result<Json<Value>, Refused> {
    let slice = state.slice(&name)?;
    let until = Instant::now() + Duration::from_millis(drained_within_ms);
    loop {
        // Registered before the look, so that what changes in between is not slept through.
        let changed = state.slices.next_change();
        let gateways = state.gateways(slice, &token).await?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || is_drained(&state.standing(slice, &token)?, &gateways) {
            return state.fence_view(slice, &token, gateways);
        }
        // Other gateways announce nothing here.
        let patience = if state.fleet.is_some() { OTHERS.min(left) } else { left };
        let _ = timeout(patience, changed).await;
    }
}

/// `PUT /api/v1/slices/{name}/stage`. Another owner needs a fence that stands and is drained everywhere; by its
/// token the caller says that the rows have moved behind it.
pub(super) async fn set_stage(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Refused> {
    let slice = state.slice(&name)?;
    let StageRequest { stage, token, note } = asked.read()?;
    let before = state.control.snapshot().stage(slice);
    if before.owner() != stage.owner() {
        let token = token.ok_or(FenceError::NotHeld)?;
        let gateways = state.gateways(slice, &token).await?;
        let fence = state.standing(slice, &token)?;
        if !is_drained(&fence, &gateways) {
            let message = "a gateway still has writes in flight, or has not said that it holds them";
            return Err(
                Refused::new(StatusCode::CONFLICT, "fence_not_drained", message).with(json!({ "gateways": gateways }))
            );
        }
    }
    let changed = asked.change(&state, &note, Change::Stage { slice, to: stage }).await?;
    Ok(Json(json!({
        "slice": name,
        "from": before,
        "stage": stage,
        "owner": stage.owner(),
        "revision": changed.revision,
        "hash": changed.hash,
        "changes": changed.differences,
    })))
}

fn check_token(token: &str) -> Result<(), Refused> {
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || token.chars().any(char::is_control) {
        let message = format!("a token has 1 to {MAX_TOKEN_BYTES} bytes");
        return Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_request", message));
    }
    Ok(())
}

fn is_drained(fence: &Fence, gateways: &[Instance]) -> bool {
    fence.drained_after.is_some() && gateways.iter().all(|gateway| gateway.drained_after_ms.is_some())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

impl AdminState {
    /// The slice of this name.
    pub(super) fn slice(&self, name: &str) -> Result<SliceId, Refused> {
        let missing = || Refused::new(StatusCode::NOT_FOUND, "slice_not_found", format!("there is no slice `{name}`"));
        self.control.table().slice_by_name(name).ok_or_else(missing)
    }

    /// The fence of this token, as it stands here.
    fn standing(&self, slice: SliceId, token: &str) -> Result<Fence, FenceError> {
        let fence = self.slices.gate(slice).fence(Instant::now());
        fence.filter(|fence| fence.token == token).ok_or(FenceError::NotHeld)
    }

    async fn gateways(&self, slice: SliceId, token: &str) -> Result<Vec<Instance>, Refused> {
        match &self.fleet {
            Some(fleet) => Ok(fleet.look(slice, token).await?),
            None => Ok(vec![self.alone(&self.standing(slice, token)?)]),
        }
    }

    /// This gateway, which shares its fences with nobody.
    fn alone(&self, fence: &Fence) -> Instance {
        Instance {
            instance: Uuid::nil(),
            name: "this gateway".to_owned(),
            revision: self.control.snapshot().revision(),
            found: Some(fence.found as u64),
            drained_after_ms: fence.drained_after.map(ms),
        }
    }

    fn fence_view(&self, slice: SliceId, token: &str, gateways: Vec<Instance>) -> Result<Json<Value>, Refused> {
        let fence = self.standing(slice, token)?;
        Ok(Json(json!(FenceView {
            slice: self.control.table().slice(slice).name.clone(),
            held_ms: ms(fence.held),
            left_ms: ms(fence.left),
            waiting: fence.waiting,
            waiting_bytes: fence.waiting_bytes,
            in_flight: fence.in_flight,
            drained: is_drained(&fence, &gateways),
            gateways,
        })))
    }
}
