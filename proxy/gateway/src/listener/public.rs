//! The endpoints that the settings ask for.

use std::{net::SocketAddr, sync::Arc};

use super::{Bound, Endpoint};
use crate::{
    config::HttpConfig,
    tls::{self, Certificates, HTTP1, HTTP2},
    upgrade::Role,
};

/// The public endpoints: plain, TLS, or one of each.
///
/// # Errors
/// What `bind` says of the first address that cannot be had.
pub(crate) fn endpoints<E>(
    config: &HttpConfig,
    certificates: Option<&Arc<Certificates>>,
    mut bind: impl FnMut(Role, SocketAddr) -> Result<Bound, E>,
) -> Result<Vec<Endpoint>, E> {
    let mut endpoints = Vec::with_capacity(2);
    let secure = config.tls.as_ref().zip(certificates);
    if secure.is_none_or(|(tls, _)| tls.bind.is_some()) {
        let bound = bind(Role::Http, config.bind)?;
        let handshake_timeout = config.read_timeout.get();
        endpoints.push(Endpoint { bound, tls: None, h2c: config.h2c, handshake_timeout });
    }
    if let Some((tls, certificates)) = secure {
        let bound = bind(Role::Https, tls.bind.unwrap_or(config.bind))?;
        let server = tls::server_config(tls, certificates.clone(), &[HTTP2, HTTP1]);
        let handshake_timeout = tls.handshake_timeout.get();
        endpoints.push(Endpoint { bound, tls: Some(server), h2c: false, handshake_timeout });
    }
    Ok(endpoints)
}
