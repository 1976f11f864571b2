//! A function's audit of events.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use domain::contract::AuditItem;

use super::{
    Api,
    page::{self, PageQuery},
    text_refusal::TextRefusal,
};
use crate::executor::Executor;

/// The ends of a function's events, the newest first; none of an unknown function.
pub async fn list<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
    page: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Vec<AuditItem>>, TextRefusal> {
    let Ok(function_id) = id.parse() else { return Ok(Json(Vec::new())) };
    let items = api.invoker.store.audit_of(function_id, page::of(page)).await;
    items.map(Json).map_err(|error| TextRefusal::store(&error, "the events could not be listed"))
}
