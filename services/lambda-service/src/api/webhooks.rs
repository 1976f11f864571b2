//! Webhooks: create, delete, and receive.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, RawQuery, State, rejection::BytesRejection},
    http::{HeaderMap, Method, StatusCode},
};
use chrono::Utc;
use domain::{FunctionId, WebhookId, contract::WebhookItem};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Api,
    text_refusal::{TextRefusal, text_body},
};
use crate::{
    events,
    executor::Executor,
    store::{NewWebhook, StoreError},
    webhooks::{self, Received, Refused},
};

/// `null` counts as missing, and unknown fields are ignored, as on the function routes.
#[derive(Deserialize)]
struct Body {
    name: Option<String>,
    path: Option<String>,
    secret: Option<String>,
    signature_header: Option<String>,
    headers: Option<BTreeMap<String, String>>,
}

pub async fn create<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<WebhookItem>), TextRefusal> {
    let body = text_body(body, api.body_limit_bytes)?;
    let body: Body = serde_json::from_slice(&body)
        .map_err(|error| TextRefusal::bad_request(format!("the body is not a webhook as JSON: {error}")))?;
    let path = body.path.unwrap_or_default();
    if path.trim_matches('/').is_empty() {
        return Err(TextRefusal::bad_request("`path` is required"));
    }
    let unknown_function = || TextRefusal::failed(format!("no function has the id `{id}`"));
    let webhook = NewWebhook {
        function_id: id.parse::<FunctionId>().map_err(|_| unknown_function())?,
        name: body.name.unwrap_or_default(),
        path,
        secret: body.secret.unwrap_or_default(),
        signature_header: body.signature_header.unwrap_or_default(),
        headers: body.headers.unwrap_or_default(),
    };
    match api.invoker.store.insert_webhook(webhook).await {
        Ok(webhook) => Ok((StatusCode::CREATED, Json(webhook))),
        Err(StoreError::NoSuchFunction) => Err(unknown_function()),
        Err(StoreError::Taken) => Err(TextRefusal::failed("another webhook has this path")),
        Err(error) => Err(TextRefusal::store(&error, "the webhook could not be created")),
    }
}

pub async fn delete<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(id): Path<String>,
) -> Result<StatusCode, TextRefusal> {
    let unknown = || TextRefusal::failed(format!("no webhook has the id `{id}`"));
    let webhook_id: WebhookId = id.parse().map_err(|_| unknown())?;
    match api.invoker.store.delete_webhook(webhook_id).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(unknown()),
        Err(error) => Err(TextRefusal::store(&error, "the webhook could not be deleted")),
    }
}

/// Answers `received` only once the event is accepted; without that, the sender tries again.
pub async fn receive<E: Executor>(
    State(api): State<Arc<Api<E>>>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, TextRefusal> {
    let body = text_body(body, api.body_limit_bytes.min(api.receipt.body_limit_bytes()))?;
    let unknown = || {
        webhooks::received("unknown");
        TextRefusal::bad_request(format!("no webhook has the path `{path}`"))
    };
    // A HEAD request comes by the GET route, and is no delivery.
    if method == Method::HEAD || path.contains('\0') {
        return Err(unknown());
    }
    let webhook = api.invoker.store.webhook_at(&path).await;
    let webhook = webhook.map_err(|error| TextRefusal::store(&error, "the webhook could not be read"))?;
    let webhook = webhook.ok_or_else(unknown)?;
    let query = query.unwrap_or_default();
    let request =
        Received { method: &method, path: &path, query: &query, headers: &headers, body: &body, at: Utc::now() };
    let mut event = api.receipt.event(&webhook, &request).map_err(|refused| {
        webhooks::received(refused.outcome());
        let status = match refused {
            Refused::Unsigned(_) | Refused::NoSecret => StatusCode::UNAUTHORIZED,
            Refused::Forged | Refused::Expired => StatusCode::BAD_REQUEST,
        };
        TextRefusal::with(status, refused.to_string())
    })?;
    events::note(&mut event);
    match api.intake.accept(&[event]).await {
        Ok(()) => {
            webhooks::received("received");
            Ok(Json(json!({"status": "received"})))
        }
        Err(error) => {
            webhooks::received("not_accepted");
            Err(TextRefusal::intake(&error, "the webhook could not be taken now; send it again"))
        }
    }
}
