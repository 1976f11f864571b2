//! `POST /api/v1/functions`: a function of inline code, by the contract of the monolith, errors included.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{
        State,
        rejection::{BytesRejection, FailedToBufferBody},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::contract::{ContractError, CreateFunction, FunctionCreated};

use super::{Api, functions::idempotency_key};

/// When a refused client may try again, in seconds.
const RETRY_AFTER_S: &str = "1";

/// An error of the contract as an answer.
pub struct Refusal(ContractError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status()).expect("the contract's statuses are HTTP's");
        let answer = (status, Json(self.0.body()));
        match self.0 {
            ContractError::Unavailable => ([(header::RETRY_AFTER, RETRY_AFTER_S)], answer).into_response(),
            _ => answer.into_response(),
        }
    }
}

pub async fn create(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<FunctionCreated>), Refusal> {
    let key = idempotency_key(&headers).map_err(|text| Refusal(ContractError::InvalidRequest(text)))?;
    let body = body.map_err(|rejection| unreadable(&rejection, api.body_limit_bytes))?;
    let wanted = CreateFunction::from_json(&body).map_err(Refusal)?;
    let created = api.creator.create(wanted, key.as_deref()).await.map_err(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "no function was created");
        Refusal(error.into())
    })?;
    Ok((StatusCode::CREATED, Json(created)))
}

fn unreadable(rejection: &BytesRejection, limit_bytes: u64) -> Refusal {
    Refusal(match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            ContractError::TooLarge { limit_bytes }
        }
        _ => ContractError::InvalidRequest("the body could not be read".to_owned()),
    })
}
