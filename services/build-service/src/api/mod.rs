//! The HTTP side of a master: thin handlers over the intake and the store.

mod builds;
mod creations;
mod cursor;
mod deliveries;
mod functions;
mod problem;

use std::sync::Arc;

use axum::Router;
use service::{DocumentError, Routes};
use tokio::sync::Notify;

use crate::{creation::Creator, intake::Intake, store::Store};

/// What handlers work with.
#[derive(Debug)]
pub struct Api {
    /// Where builds are.
    pub store: Store,
    /// What takes packages.
    pub intake: Intake,
    /// What creates functions of inline code.
    pub creator: Creator,
    /// The most that a body may hold that is read whole.
    pub body_limit_bytes: u64,
    /// Rung when there is a message to send or a job to announce, so that nobody waits for the next look.
    pub bell: Arc<Notify>,
}

/// What they are, for clients; it is held to them.
const DOCUMENT: &str = include_str!("../../openapi.json");

/// The routes.
///
/// # Errors
/// When they are not those of the document.
pub fn router(api: Arc<Api>) -> Result<Router, DocumentError> {
    let routes = Routes::default()
        .post("/api/v1/functions", creations::create)
        .post("/functions", functions::create)
        .get("/builds", builds::list)
        .get("/builds/{job_id}", builds::detail)
        .post("/builds/{job_id}/cancel", builds::cancel)
        .post("/builds/{job_id}/retry", builds::retry)
        .get("/builds/{job_id}/deliveries", deliveries::list)
        .post("/builds/{job_id}/deliveries/{delivery_id}/replay", deliveries::replay);
    Ok(routes.documented_by(DOCUMENT)?.with_state(api))
}
