//! Requests that are refused, and which error is which refusal.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    control::{ChangeError, StoreError, chain},
    ramp::CommandError,
    shadow::MismatchStoreError,
    slices::{FenceError, FleetError},
};

/// A request that was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// What a program may want to know besides.
    more: serde_json::Map<String, Value>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), more: serde_json::Map::new() }
    }

    /// With more fields, which must be an object.
    pub(crate) fn with(mut self, more: Value) -> Self {
        if let Value::Object(more) = more {
            self.more.extend(more);
        }
        self
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut body = self.more;
        body.insert("error".to_owned(), self.code.into());
        body.insert("message".to_owned(), self.message.into());
        (self.status, Json(body)).into_response()
    }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        let message = chain(&error);
        let refused = |status, code| Self::new(status, code, message);
        match error {
            ChangeError::OneSided(_) => refused(StatusCode::CONFLICT, "route_one_sided"),
            ChangeError::CutOver { slice, .. } => {
                refused(StatusCode::CONFLICT, "slice_cut_over").with(json!({ "slice": slice }))
            }
            ChangeError::NotShadowed(_) => refused(StatusCode::CONFLICT, "route_not_shadowed"),
            ChangeError::BrokenDocument(_) => refused(StatusCode::CONFLICT, "rollout_document_broken"),
            ChangeError::InvalidDocument(problems) => super::rollout::invalid(&problems),
            ChangeError::Conflict { expected, current, since } => refused(StatusCode::CONFLICT, "revision_conflict")
                .with(json!({ "expected_revision": expected, "revision": current, "changed_since": since })),
            ChangeError::NoSuchRevision(_) => refused(StatusCode::NOT_FOUND, "revision_not_found"),
            ChangeError::UndoesRollback { routes } => {
                refused(StatusCode::CONFLICT, "undoes_rollback").with(json!({ "routes": routes }))
            }
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::Conflict => (StatusCode::CONFLICT, "revision_conflict"),
            StoreError::File(_) | StoreError::Log { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "rollout_file_failed"),
            StoreError::BrokenLog { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "change_log_broken"),
            StoreError::Diverged(_) => (StatusCode::SERVICE_UNAVAILABLE, "rollout_store_diverged"),
            StoreError::Away(_) => (StatusCode::SERVICE_UNAVAILABLE, "rollout_store_away"),
            StoreError::Unknown(_) => (StatusCode::SERVICE_UNAVAILABLE, "rollout_change_unknown"),
            StoreError::Refused(_) | StoreError::Migrate(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "rollout_store_failed")
            }
        };
        let message = match &error {
            StoreError::Unknown(_) => chain(&error),
            _ => format!("{}; nothing was changed", chain(&error)),
        };
        Self::new(status, code, message)
    }
}

impl From<CommandError> for Refused {
    fn from(error: CommandError) -> Self {
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, error.to_string());
        match error {
            CommandError::NoPlan(_) => conflict("no_ramp_plan"),
            CommandError::NoRamp(_) => conflict("no_ramp"),
            CommandError::UnderWay => conflict("ramp_under_way"),
            CommandError::NothingLeft => conflict("ramp_has_nothing_left"),
            CommandError::Refused(_) => conflict("ramp_refused"),
            CommandError::Change(error) => error.into(),
            CommandError::Store(error) => error.into(),
        }
    }
}

impl From<FenceError> for Refused {
    fn from(error: FenceError) -> Self {
        let (status, code) = match error {
            FenceError::HeldByAnother => (StatusCode::CONFLICT, "fence_stands"),
            FenceError::NotHeld => (StatusCode::CONFLICT, "fence_not_held"),
            FenceError::BadHold => (StatusCode::BAD_REQUEST, "invalid_hold"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<FleetError> for Refused {
    fn from(error: FleetError) -> Self {
        match error {
            FleetError::Fence(error) => error.into(),
            FleetError::Away(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "rollout_store_away", error.to_string()),
        }
    }
}

impl From<MismatchStoreError> for Refused {
    fn from(error: MismatchStoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_away", error.to_string())
    }
}
