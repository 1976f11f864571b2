//! From a request to the event that it is.

use std::{borrow::Cow, collections::BTreeMap};

use axum::http::{HeaderMap, HeaderName, Method, header};
use chrono::{DateTime, Utc};
use domain::{Event, EventId, EventType, contract::WebhookItem};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{
    WebhooksConfig,
    signature::{self, Rejection, Signed},
};
use crate::store::RawEvent;

/// Headers of a received request that stay out of the event, which is stored and shown: they hold credentials.
const CREDENTIALS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// A request to a webhook.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    pub(crate) at: DateTime<Utc>,
}

/// Why a request is not received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It has no signature in this header.
    #[error("the signature is missing: this webhook wants one in the header `{0}`")]
    Unsigned(String),
    /// The webhook has no secret, and such webhooks are closed.
    #[error("this webhook has no secret; create it again with one")]
    NoSecret,
    /// Its signature is wrong.
    #[error("the signature is wrong")]
    Forged,
    /// Its signature is of another time.
    #[error("the signature's time is too far from now")]
    Expired,
}

impl Refused {
    /// The word for metrics.
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::Unsigned(_) | Self::NoSecret => "unsigned",
            Self::Forged => "forged",
            Self::Expired => "expired",
        }
    }
}

/// Receives requests.
#[derive(Debug, Clone)]
pub struct Receipt {
    config: WebhooksConfig,
    max_retries: u32,
}

/// What the function is called with: as the monolith words it.
#[derive(Serialize)]
struct Payload<'a> {
    body: Box<RawValue>,
    headers: BTreeMap<&'a str, Cow<'a, str>>,
    method: &'a str,
    path: &'a str,
    query: &'a str,
}

impl Receipt {
    pub(crate) const fn new(config: WebhooksConfig, max_retries: u32) -> Self {
        Self { config, max_retries }
    }

    pub(crate) const fn body_limit_bytes(&self) -> u64 {
        self.config.body_limit.bytes()
    }

    /// The event of a request, if it is its sender's.
    pub(crate) fn event(&self, webhook: &WebhookItem, request: &Received<'_>) -> Result<RawEvent, Refused> {
        let id = self.id(webhook, request)?;
        let mut event = Event::new(EventType::Webhook, webhook.function_id, payload(request));
        event.id = id;
        event.max_retries = self.max_retries;
        event.metadata.clone_from(&webhook.headers);
        event.metadata.insert("webhook_id".to_owned(), webhook.id.to_string());
        Ok(event)
    }

    /// The id: derived from what was signed, where that says which request it is.
    fn id(&self, webhook: &WebhookItem, request: &Received<'_>) -> Result<EventId, Refused> {
        if webhook.secret.is_empty() {
            let allowed = self.config.allow_without_secret;
            return if allowed { Ok(EventId::generate()) } else { Err(Refused::NoSecret) };
        }
        let name = &webhook.signature_header;
        let (now, tolerance) = (request.at.timestamp(), self.config.tolerance.get());
        let signed = signature::check(&webhook.secret, name, request.headers, request.body, now, tolerance);
        match signed.map_err(|rejection| refused(rejection, name))? {
            Signed::Message(id) => Ok(derived(webhook, &[b"message", id.as_bytes()])),
            Signed::At(time, digest) => Ok(derived(webhook, &[b"signature", &time.to_be_bytes(), &digest])),
            Signed::Body(digest) if self.is_single_use(name) => Ok(derived(webhook, &[b"body", &digest])),
            Signed::Body(_) => Ok(EventId::generate()),
        }
    }

    fn is_single_use(&self, name: &str) -> bool {
        self.config.single_use.iter().any(|listed| listed.eq_ignore_ascii_case(signature::header_of(name)))
    }
}

fn refused(rejection: Rejection, name: &str) -> Refused {
    match rejection {
        Rejection::Missing => Refused::Unsigned(signature::header_of(name).to_owned()),
        Rejection::Wrong => Refused::Forged,
        Rejection::Expired => Refused::Expired,
    }
}

/// The same id for the same parts of the same webhook. The form is that of a UUID of one's own making (RFC 9562,
/// version 8).
fn derived(webhook: &WebhookItem, parts: &[&[u8]]) -> EventId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(webhook.id.as_uuid().as_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    EventId::from(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

fn payload(request: &Received<'_>) -> Box<RawValue> {
    // JSON is passed on as it was written, all else as text.
    let text = String::from_utf8_lossy(request.body);
    let body = serde_json::from_str::<Box<RawValue>>(&text)
        .unwrap_or_else(|_| to_raw_value(&text).expect("a text is plain data"));
    let headers = request
        .headers
        .iter()
        .filter(|(name, _)| !CREDENTIALS.contains(name))
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let (method, path, query) = (request.method.as_str(), request.path, request.query);
    to_raw_value(&Payload { body, headers, method, path, query }).expect("plain data")
}
