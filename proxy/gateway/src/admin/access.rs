//! Who may use the admin API.

use std::{net::IpAddr, sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{AdminState, PLAN_PATH, Refused};
use crate::config::AdminRole;

/// Lets a request through whose token may do what it asks for, and notes whose token it is.
pub(super) async fn require_token(State(state): State<Arc<AdminState>>, mut request: Request, next: Next) -> Response {
    let given = bearer(request.headers()).unwrap_or_default();
    let Some(operator) = state.tokens.find(given) else { return wrong_token(&state, !given.is_empty()) };
    let needed = needed_role(request.method(), request.uri().path());
    if operator.role < needed {
        tracing::warn!(operator = %operator.name, path = request.uri().path(), "an admin token that may only look");
        let message = "this token may look and change nothing";
        return Refused::new(StatusCode::FORBIDDEN, "forbidden", message).into_response();
    }
    request.extensions_mut().insert(operator.clone());
    next.run(request).await
}

/// Looking is what changes nothing; a plan is posted for its length only.
fn needed_role(method: &Method, path: &str) -> AdminRole {
    let looks = method == Method::GET || method == Method::HEAD || path == PLAN_PATH;
    if looks { AdminRole::View } else { AdminRole::Operate }
}

fn wrong_token(state: &AdminState, given: bool) -> Response {
    // Who shows nothing has guessed nothing.
    let wait = if given { state.tokens.count_wrong(Instant::now()) } else { None };
    if let Some(wait) = wait {
        let message = "too many wrong tokens; a right one still passes";
        let refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message);
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        return ([(header::RETRY_AFTER, seconds.to_string())], refused).into_response();
    }
    if given {
        tracing::warn!("a wrong token was sent to the admin API");
    }
    let refused = Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", "send Authorization: Bearer TOKEN");
    ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// Refuses a request that a web page may have caused: one whose `Origin` is another, or whose `Host`
/// names this machine by anything but a loopback name. With TLS the certificate takes the place of the
/// second check: no browser takes it for a name of the page's choice.
pub(super) async fn refuse_foreign(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let tls = state.config.tls.is_some();
    if !tls && !host.is_some_and(is_loopback) {
        let message = "Host must be a loopback address or localhost";
        return Refused::new(StatusCode::MISDIRECTED_REQUEST, "foreign_host", message).into_response();
    }
    let scheme = if tls { "https://" } else { "http://" };
    let own = |origin: &str| origin.strip_prefix(scheme).is_some_and(|authority| Some(authority) == host);
    if !origin.is_none_or(own) {
        let message = "this API answers no other origin";
        return Refused::new(StatusCode::FORBIDDEN, "foreign_origin", message).into_response();
    }
    next.run(request).await
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    !host.contains('@')
        && (name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_this_machine() {
        for host in ["localhost", "LocalHost:9901", "127.0.0.1", "127.0.0.1:9901", "127.9.9.9", "[::1]:9901"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.com", "localhost.example.com", "127.0.0.1.nip.io", "10.0.0.1", "a@localhost", "::1:x"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
