//! The dead-letter queue.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use domain::{DeadLetterId, contract::DeadLetterItem};
use serde_json::{Value, json};

use super::{Api, page::PageQuery, reply::TextRefusal};

/// `null` when there are none.
pub(super) async fn list(
    State(api): State<Api>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Option<Vec<DeadLetterItem>>>, TextRefusal> {
    let letters = api
        .store
        .dead_letters(page.into())
        .await
        .map_err(|error| TextRefusal::inside("the dead letters could not be listed", &error))?;
    Ok(Json(Some(letters).filter(|letters| !letters.is_empty())))
}

/// Marks the dead letter and re-runs nothing: the contract's defect.
pub(super) async fn retry(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, TextRefusal> {
    let letter_id: DeadLetterId = id.parse().map_err(|_| unknown(&id))?;
    match api.store.mark_dead_letter_retrying(letter_id).await {
        Ok(true) => Ok(Json(json!({"status": "retry initiated"}))),
        Ok(false) => Err(unknown(&id)),
        Err(error) => Err(TextRefusal::inside("the dead letter could not be retried", &error)),
    }
}

pub(super) async fn delete(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, TextRefusal> {
    let letter_id: DeadLetterId = id.parse().map_err(|_| unknown(&id))?;
    match api.store.delete_dead_letter(letter_id).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(unknown(&id)),
        Err(error) => Err(TextRefusal::inside("the dead letter could not be deleted", &error)),
    }
}

fn unknown(id: &str) -> TextRefusal {
    TextRefusal::failed(format!("no dead letter has the id `{id}`"))
}
