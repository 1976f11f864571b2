//! The door of dry runs. Every request with the header of one is either verified and carried out dry, or
//! refused: none gets past here to act as a live one.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::{FromRequest as _, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use dry_run::{HANDSHAKE_PATH, PROOF_HEADER, Proof, REQUEST_HEADER, Refusal, SignedRequest, Verified, Verifier};
use serde_json::json;

use super::{Api, problems::Said, refusal};
use crate::{executor::Executor, metrics};

/// The routes that can run dry; all of them invoke a function. What only reads has no effect to leave out.
const DRY_ROUTES: [&str; 3] = ["/api/v1/functions/{id}/invoke", "/functions/{id}/invoke", "/invoke"];

/// A request carries this once it has been verified: its handler must leave no trace.
#[derive(Debug, Clone, Copy)]
pub struct IsDryRun;

/// Lets requests without the header through, and lets no other act.
pub async fn guard<E: Executor>(State(api): State<Arc<Api<E>>>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(REQUEST_HEADER) {
        return next.run(request).await;
    }
    let Some(dry_runs) = &api.dry_runs else {
        return refused(StatusCode::FORBIDDEN, "dry_run_unavailable", "this service takes no dry runs");
    };
    let (mut parts, body) = request.into_parts();
    let read = Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await;
    let body = match refusal::body(read, api.body_limit_bytes) {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let signed = SignedRequest { method: parts.method.as_str(), target: &target, body: &body };
    let verified = match verify(&dry_runs.verifier, &parts.headers, signed) {
        Ok(verified) => verified,
        Err(refusal) => return refused_unverified(refusal),
    };
    if parts.uri.path() == HANDSHAKE_PATH {
        return with_proof(StatusCode::NO_CONTENT.into_response(), &dry_runs.verifier.agree(&verified));
    }
    let route = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    if !(parts.method.is_safe() || route.is_some_and(|route| DRY_ROUTES.contains(&route))) {
        return not_supported();
    }
    parts.extensions.insert(IsDryRun);
    let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
    with_proof(answer, &dry_runs.verifier.prove(&verified))
}

/// What would leave a trace is not done.
pub fn not_supported() -> Response {
    let message = "this request cannot be carried out without effect, and was not carried out";
    refused(StatusCode::UNPROCESSABLE_ENTITY, "dry_run_not_supported", message)
}

/// A handshake that carries no header asks for nothing.
pub async fn handshake() -> Response {
    refused(StatusCode::BAD_REQUEST, "dry_run_malformed", "the header strangler-dry-run is missing")
}

fn verify(verifier: &Verifier, headers: &HeaderMap, request: SignedRequest<'_>) -> Result<Verified, Refusal> {
    let mut values = headers.get_all(REQUEST_HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Refusal::Malformed) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    verifier.verify(value.as_bytes(), request, now)
}

fn refused_unverified(refusal: Refusal) -> Response {
    let (status, code) = match refusal {
        Refusal::Malformed => (StatusCode::BAD_REQUEST, "dry_run_malformed"),
        Refusal::Forged => (StatusCode::FORBIDDEN, "dry_run_forged"),
        Refusal::Expired => (StatusCode::FORBIDDEN, "dry_run_expired"),
        Refusal::Replayed => (StatusCode::CONFLICT, "dry_run_replayed"),
        Refusal::Crowded => (StatusCode::TOO_MANY_REQUESTS, "dry_run_crowded"),
    };
    refused(status, code, &refusal.to_string())
}

fn refused(status: StatusCode, code: &'static str, message: &str) -> Response {
    metrics::dry_run(code);
    let said = Said { code, text: message.to_owned() };
    (status, Extension(said), Json(json!({ "error": code, "message": message }))).into_response()
}

fn with_proof(mut answer: Response, proof: &Proof) -> Response {
    let value = HeaderValue::try_from(proof.to_string()).expect("a proof is visible ASCII");
    answer.headers_mut().insert(HeaderName::from_static(PROOF_HEADER), value);
    answer
}
