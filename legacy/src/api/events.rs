//! A function's audit of events.

use axum::{
    Json,
    extract::{Path, Query, State},
};

use domain::contract::AuditItem;

use super::{Api, page::PageQuery, reply::TextRefusal};

pub(super) async fn list(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Vec<AuditItem>>, TextRefusal> {
    let Ok(function_id) = id.parse() else { return Ok(Json(Vec::new())) };
    let items = api
        .store
        .audit_of(function_id, page.into())
        .await
        .map_err(|error| TextRefusal::inside("the events could not be listed", &error))?;
    Ok(Json(items))
}
