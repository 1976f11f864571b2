//! Who was told of a build, and telling them again.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Serialize;

use service::Problem;

use super::{Api, builds::job_id, problem};
use crate::store::DeliveryItem;

#[derive(Serialize)]
pub struct Deliveries {
    deliveries: Vec<DeliveryItem>,
}

pub async fn list(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Deliveries>, Problem> {
    let job_id = job_id(&id)?;
    let deliveries = api.store.deliveries(job_id).await?;
    if deliveries.is_empty() && api.store.job(job_id).await?.is_none() {
        return Err(problem::no_such_build(&id));
    }
    Ok(Json(Deliveries { deliveries }))
}

pub async fn replay(
    State(api): State<Arc<Api>>,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let unknown = || {
        let detail = "the build has no delivery of this id".to_owned();
        Problem::new(StatusCode::NOT_FOUND, "delivery-not-found", "No such delivery", detail)
    };
    let delivery_id = delivery.parse().map_err(|_| unknown())?;
    if !api.store.replay(job_id(&id)?, delivery_id).await? {
        return Err(unknown());
    }
    api.bell.notify_waiters();
    Ok(StatusCode::ACCEPTED)
}
