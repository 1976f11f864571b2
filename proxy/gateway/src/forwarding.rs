//! Headers that the gateway adds, replaces and takes away.
//!
//! What the gateway says about a request must come from the gateway: whatever a client sends under
//! these names is removed before ours are set. Removal happens after pingora has dealt with
//! `Connection`, so a client cannot nominate ours away either. What a trusted proxy says about the
//! client stays, and this gateway's word about the proxy is added. `X-Forwarded-Host` is only ever such
//! a proxy's: the gateway leaves `Host` as it is, so there is nothing to say beside it.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue};
use pingora::{
    ErrorType, OrErr as _, Result,
    http::{RequestHeader, ResponseHeader},
};
use telemetry::{TRACEPARENT, TraceContext};

use crate::{
    client_address::{FORWARDED_FOR, Peer},
    decision::Side,
    request_host::canonical_host,
};

/// The request's id, to upstream and client.
pub(crate) const REQUEST_ID: &str = "x-request-id";
/// Marks a copy, so that the side that gets it can tell: its answer is compared and thrown away.
pub(crate) const SHADOW: &str = "x-shadow";
/// The side that an answer comes from.
pub(crate) const SERVED_BY: &str = "x-served-by";

const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// What only the gateway may say.
const OURS: [&str; 10] = [
    "forwarded",
    FORWARDED_FOR,
    FORWARDED_HOST,
    "x-forwarded-port",
    FORWARDED_PROTO,
    "x-real-ip",
    SERVED_BY,
    REQUEST_ID,
    SHADOW,
    dry_run::REQUEST_HEADER,
];

/// The longest request id taken from a client.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Whether only the gateway may say what is under this name.
pub(crate) fn is_ours(name: &HeaderName) -> bool {
    is_our_name(name.as_str())
}

/// The same for a name in small letters.
pub(crate) fn is_our_name(name: &str) -> bool {
    OURS.contains(&name) || name == TRACEPARENT
}

/// The request's id: the client's if it is sane, else a new one of 128 random bits.
pub(crate) fn request_id(request: &RequestHeader) -> String {
    let mut given = request.headers.get_all(REQUEST_ID).iter();
    let only = given.next().filter(|_| given.next().is_none()).and_then(|value| value.to_str().ok());
    let sane = |id: &&str| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte))
    };
    only.filter(sane).map_or_else(new_request_id, ToOwned::to_owned)
}

/// By hand: formatting a number of this size takes some ten times as long.
fn new_request_id() -> String {
    let mut digits = vec![0; 32];
    hex::encode_to_slice(rand::random::<[u8; 16]>(), &mut digits).expect("two digits for each byte");
    String::from_utf8(digits).expect("digits are ASCII")
}

/// Makes the request ready for its upstream.
pub(crate) fn to_upstream(
    request: &mut RequestHeader,
    peer: Option<Peer>,
    over_tls: bool,
    request_id: &str,
    trace: TraceContext,
) -> Result<()> {
    let said = peer.filter(|peer| peer.trusted).map(|_| said_by_proxy(request)).unwrap_or_default();
    // Most requests have none of them, and a look at each header costs less than one for each name.
    if request.headers.keys().any(|name| OURS.contains(&name.as_str())) {
        for name in OURS {
            request.remove_header(name);
        }
    }
    if let Some(peer) = peer {
        match said.chain {
            Some(before) => request.insert_header(FORWARDED_FOR, format!("{before}, {}", peer.address))?,
            None => request.insert_header(FORWARDED_FOR, address_value(peer.address)?)?,
        }
    }
    // Without a proxy in front, `Host` is what the client asked for, and it goes on as it is.
    if let Some(host) = said.host {
        request.insert_header(FORWARDED_HOST, host)?;
    }
    let proto = HeaderValue::from_static(if over_tls { "https" } else { "http" });
    request.insert_header(FORWARDED_PROTO, said.proto.unwrap_or(proto))?;
    request.insert_header(REQUEST_ID, request_id)?;
    request.insert_header(TRACEPARENT, &trace.to_header()[..])?;
    Ok(())
}

/// As `Display` writes it, in a tenth of the time for the common kind.
fn address_value(address: IpAddr) -> Result<HeaderValue> {
    let IpAddr::V4(address) = address else {
        return HeaderValue::try_from(address.to_string()).or_err(ErrorType::InternalError, "an address is ASCII");
    };
    let mut text = [0_u8; "255.255.255.255".len()];
    let mut length = 0;
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            text[length] = b'.';
            length += 1;
        }
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(octet).as_bytes();
        text[length..length + digits.len()].copy_from_slice(digits);
        length += digits.len();
    }
    HeaderValue::from_bytes(&text[..length]).or_err(ErrorType::InternalError, "an address is ASCII")
}

/// What a trusted proxy says about the request that it passed on.
#[derive(Default)]
struct SaidByProxy {
    /// Whom it went through before, first the client.
    chain: Option<String>,
    host: Option<HeaderValue>,
    proto: Option<HeaderValue>,
}

fn said_by_proxy(request: &RequestHeader) -> SaidByProxy {
    let only = |name: &str| {
        let mut values = request.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let lines = request.headers.get_all(FORWARDED_FOR).iter();
    let chain: Vec<_> = lines.filter_map(|line| line.to_str().ok()).filter(|line| !line.is_empty()).collect();
    let is_host = |value: &&HeaderValue| value.to_str().is_ok_and(|host| canonical_host(host).is_ok());
    SaidByProxy {
        chain: (!chain.is_empty()).then(|| chain.join(", ")),
        host: only(FORWARDED_HOST).filter(is_host).cloned(),
        proto: only(FORWARDED_PROTO)
            .filter(|proto| [b"http".as_slice(), b"https"].contains(&proto.as_bytes()))
            .cloned(),
    }
}

/// Makes the answer ready for the client.
pub(crate) fn to_client(answer: &mut ResponseHeader, request_id: &str, served_by: Option<Side>) -> Result<()> {
    if served_by.is_none() {
        answer.remove_header(SERVED_BY);
    }
    answer.insert_header(REQUEST_ID, request_id)?;
    if let Some(side) = served_by {
        answer.insert_header(SERVED_BY, HeaderValue::from_static(side.as_str()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_everywhere() {
        for text in ["0.0.0.0", "127.0.0.1", "10.20.30.40", "255.255.255.255", "::1", "2001:db8::ff00:42:8329"] {
            assert_eq!(address_value(text.parse().expect("an address")).expect("ASCII"), text);
        }
    }

    fn with_ids(ids: &[&str]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a good request");
        for id in ids {
            request.append_header(REQUEST_ID, *id).expect("a good header");
        }
        request
    }

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        assert_eq!(request_id(&with_ids(&["abc-1.2:3/4+5=_"])), "abc-1.2:3/4+5=_");
        for ids in [&[][..], &[""], &["a b"], &["a\"b"], &["a", "b"], &[&"x".repeat(129)]] {
            let id = request_id(&with_ids(ids));
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{ids:?} gave {id}");
        }
    }
}
