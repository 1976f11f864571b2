//! The dead-letter queue.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use domain::{DeadLetterId, Event, contract::DeadLetterItem};
use serde_json::{Value, json};

use super::{
    Api,
    page::{self, PageQuery},
    text_refusal::TextRefusal,
};
use crate::{
    executor::Executor,
    store::{BuriedEvent, RawEvent, Retried, StoreError},
};

/// `null` when there are none.
pub async fn list<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    page: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Option<Vec<DeadLetterItem>>>, TextRefusal> {
    let letters = api.invoker.store.dead_letters(page::of(page)).await;
    let letters = letters.map_err(|error| TextRefusal::store(&error, "the dead letters could not be listed"))?;
    Ok(Json(Some(letters).filter(|letters| !letters.is_empty())))
}

/// Accepts the event again, as a new one with retries of its own. The dead letter stays until that has succeeded;
/// while one retry is under way, another changes nothing.
pub async fn retry<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, TextRefusal> {
    let letter_id: DeadLetterId = id.parse().map_err(|_| unknown(&id))?;
    match api.intake.retry(letter_id, |buried| again(buried, letter_id)).await {
        Ok(Retried::Now | Retried::Already) => Ok(Json(json!({"status": "retry initiated"}))),
        Ok(Retried::Unknown) => Err(unknown(&id)),
        Err(error) => Err(TextRefusal::intake(&error, "the dead letter could not be retried")),
    }
}

/// A new event: the id of the old one has had its end.
fn again(buried: BuriedEvent, letter: DeadLetterId) -> Result<RawEvent, StoreError> {
    let event_type = buried.event_type.parse().map_err(|error| StoreError::Unreadable(Box::new(error)))?;
    let mut event = Event::new(event_type, buried.function_id, buried.payload);
    event.max_retries = u32::try_from(buried.max_retries).unwrap_or(0);
    event.metadata.insert("retry_of".to_owned(), buried.event_id.to_string());
    event.metadata.insert("dead_letter_id".to_owned(), letter.to_string());
    Ok(event)
}

pub async fn delete<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
) -> Result<StatusCode, TextRefusal> {
    let letter_id: DeadLetterId = id.parse().map_err(|_| unknown(&id))?;
    match api.invoker.store.delete_dead_letter(letter_id).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(unknown(&id)),
        Err(error) => Err(TextRefusal::store(&error, "the dead letter could not be deleted")),
    }
}

fn unknown(id: &str) -> TextRefusal {
    TextRefusal::failed(format!("no dead letter has the id `{id}`"))
}
