//! Refusals of routes that the monolith never had, as problem details (RFC 9457).
//!
//! Handlers serve both families of routes, and answer with the monolith's bodies. Each such answer carries what it
//! says, and around the new routes a layer says the same as a problem.

use axum::{
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use service::Problem;

/// What a refusal says.
#[derive(Debug, Clone)]
pub struct Said {
    /// For programs, such as `function_not_found`.
    pub code: &'static str,
    /// For people.
    pub text: String,
}

/// The code of a refusal that has none in the monolith's contract.
pub const fn usual_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "invalid_request",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::PAYLOAD_TOO_LARGE => "payload_too_large",
        StatusCode::SERVICE_UNAVAILABLE => "service_unavailable",
        _ => "failed",
    }
}

/// The layer.
pub async fn answer(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let Some(Said { code, text }) = answer.extensions_mut().remove::<Said>() else { return answer };
    let words = code.replace('_', " ");
    let title = words[..1].to_uppercase() + &words[1..];
    let problem = Problem::new(answer.status(), code, title, text);
    let mut problem = problem.into_response();
    // Such as the proof of a dry run.
    for (name, value) in answer.headers() {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    problem
}
