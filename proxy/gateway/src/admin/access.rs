//! Who may use the admin API.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;

use super::{AdminState, Refused};

/// Lets a request through that carries the token. The comparison takes as long whatever is wrong.
pub(super) async fn require_token(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    let given = bearer(request.headers()).unwrap_or_default();
    if bool::from(given.as_bytes().ct_eq(state.config.token.expose().as_bytes())) {
        return next.run(request).await;
    }
    let refused = Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", "send Authorization: Bearer TOKEN");
    ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// Refuses a request that a web page may have caused: its `Host` names this machine by anything but
/// a loopback name, or its `Origin` is another one.
pub(super) async fn refuse_foreign(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    if !host.is_some_and(is_loopback) {
        let message = "Host must be a loopback address or localhost";
        return Refused::new(StatusCode::MISDIRECTED_REQUEST, "foreign_host", message).into_response();
    }
    let own = |origin: &str| origin.strip_prefix("http://").is_some_and(|authority| Some(authority) == host);
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
