//! Webhooks: create, delete, and receive.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, RawQuery, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
};
use bytes::Bytes;
use domain::{Event, EventType, FunctionId, WebhookId, contract::WebhookItem};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Api,
    reply::{TextRefusal, text_body},
};
use crate::{
    signature::{self, Verdict},
    store::{NewWebhook, StoreError},
};

/// Headers of a received request that stay out of the event, which is stored and shown: they hold
/// credentials.
const CREDENTIALS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// `null` counts as missing, and unknown fields are ignored, as on the function routes.
#[derive(Deserialize)]
struct Body {
    name: Option<String>,
    path: Option<String>,
    secret: Option<String>,
    signature_header: Option<String>,
    headers: Option<BTreeMap<String, String>>,
}

pub(super) async fn create(
    State(api): State<Api>,
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
    match api.store.insert_webhook(webhook).await {
        Ok(webhook) => Ok((StatusCode::CREATED, Json(webhook))),
        Err(StoreError::NoSuchFunction { .. }) => Err(unknown_function()),
        Err(StoreError::Taken { .. }) => Err(TextRefusal::failed("another webhook has this path")),
        Err(error) => Err(TextRefusal::inside("the webhook could not be created", &error)),
    }
}

pub(super) async fn delete(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, TextRefusal> {
    let unknown = || TextRefusal::failed(format!("no webhook has the id `{id}`"));
    let webhook_id: WebhookId = id.parse().map_err(|_| unknown())?;
    match api.store.delete_webhook(webhook_id).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(unknown()),
        Err(error) => Err(TextRefusal::inside("the webhook could not be deleted", &error)),
    }
}

/// Answers `received` only once the bus has accepted the event; without that, the sender tries again.
pub(super) async fn receive(
    State(api): State<Api>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, TextRefusal> {
    let body = text_body(body, api.body_limit_bytes)?;
    let unknown = || TextRefusal::bad_request(format!("no webhook has the path `{path}`"));
    // A HEAD request comes by the GET route, and is no delivery.
    if method == Method::HEAD || path.contains('\0') {
        return Err(unknown());
    }
    let webhook = api
        .store
        .webhook_at(&path)
        .await
        .map_err(|error| TextRefusal::inside("the webhook could not be read", &error))?
        .ok_or_else(unknown)?;
    // A header that is named by no name at all is in no request.
    let signature = headers.get(&webhook.signature_header).map(|value| value.as_bytes());
    if signature::check(&webhook.secret, signature, &body) == Verdict::Forged {
        return Err(TextRefusal::bad_request("the signature is wrong"));
    }
    let event = received(&webhook, &method, &path, query.as_deref(), &headers, &body);
    match api.bus.publish(&event).await {
        Ok(()) => Ok(Json(json!({"status": "received"}))),
        Err(error) => Err(TextRefusal::inside("the webhook could not be taken now; send it again", &error)),
    }
}

fn received(
    webhook: &WebhookItem,
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Event {
    // JSON is passed on as JSON, all else as text.
    let body = serde_json::from_slice(body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body)));
    let headers: BTreeMap<&str, std::borrow::Cow<'_, str>> = headers
        .iter()
        .filter(|(name, _)| !CREDENTIALS.contains(name))
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let payload = json!({
        "method": method.as_str(),
        "path": path,
        "query": query.unwrap_or_default(),
        "headers": headers,
        "body": body,
    });
    let mut event = Event::new(EventType::Webhook, webhook.function_id, payload);
    event.metadata.clone_from(&webhook.headers);
    event.metadata.insert("webhook_id".to_owned(), webhook.id.to_string());
    event
}
