//! Signatures of requests: pure.

use std::time::Duration;

use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header of a webhook that names none.
const USUAL_HEADER: &str = "x-hub-signature-256";

/// What stands in front of the hex in the header of one sender or another. `sha1=` is only a prefix here: the digest
/// behind it is SHA-256 all the same (a quirk of the monolith).
const PREFIXES: [&str; 3] = ["sha256=", "sha1=", "v0="];

/// The most signatures that are tried in one header: senders send two while they change their key.
const MAX_SIGNATURES: usize = 8;

/// How long an id of a message may be.
const MAX_ID_BYTES: usize = 256;

/// How a sender signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Hex of the HMAC-SHA256 of the body.
    Plain,
    /// `t=TIME,v1=HEX[,v1=HEX…]` over `TIME.BODY`.
    Stripe,
    /// Standard Webhooks: `v1,BASE64[ v1,BASE64…]` over `ID.TIME.BODY`, with both in headers of their own.
    Standard,
}

/// What a genuine signature covers besides the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signed {
    /// Nothing: the same request cannot be told from another one. The digest.
    Body(Vec<u8>),
    /// When it was sent. The time and the digest.
    At(i64, Vec<u8>),
    /// Which message it is; its sender may send it again, at another time.
    Message(String),
}

/// Why a request is not its sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    /// It has no signature.
    #[error("the signature is missing")]
    Missing,
    /// It is none, or that of something else.
    #[error("the signature is wrong")]
    Wrong,
    /// It was made too long ago, or in the future.
    #[error("the signature's time is too far from now")]
    Expired,
}

impl Style {
    /// The style that goes with a header.
    #[must_use]
    pub fn of_header(name: &str) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("stripe-signature") {
            Self::Stripe
        } else if is("webhook-signature") || is("svix-signature") {
            Self::Standard
        } else {
            Self::Plain
        }
    }
}

/// The header in which a webhook's signature is.
pub(crate) fn header_of(signature_header: &str) -> &str {
    if signature_header.is_empty() { USUAL_HEADER } else { signature_header }
}

/// Checks a request; `now` in seconds since the epoch.
pub(crate) fn check(
    secret: &str,
    signature_header: &str,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
    tolerance: Duration,
) -> Result<Signed, Rejection> {
    let name = header_of(signature_header);
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Rejection::Missing)?;
    // Of two, one might be what is checked and the other what somebody else reads.
    if values.next().is_some() {
        return Err(Rejection::Wrong);
    }
    let value = value.to_str().map_err(|_| Rejection::Wrong)?;
    match Style::of_header(name) {
        Style::Plain => plain(secret, value, body),
        Style::Stripe => stripe(secret, value, body, now, tolerance),
        Style::Standard => {
            let family = if name.eq_ignore_ascii_case("svix-signature") { "svix" } else { "webhook" };
            standard(secret, family, value, headers, body, now, tolerance)
        }
    }
}

fn plain(secret: &str, value: &str, body: &[u8]) -> Result<Signed, Rejection> {
    let text = PREFIXES.iter().find_map(|prefix| value.strip_prefix(prefix)).unwrap_or(value);
    let digest = hex::decode(text).map_err(|_| Rejection::Wrong)?;
    if is_genuine(secret.as_bytes(), &[body], &digest) { Ok(Signed::Body(digest)) } else { Err(Rejection::Wrong) }
}

fn stripe(secret: &str, value: &str, body: &[u8], now: i64, tolerance: Duration) -> Result<Signed, Rejection> {
    let mut time = None;
    let mut digests = Vec::new();
    for part in value.split(',') {
        match part.split_once('=').ok_or(Rejection::Wrong)? {
            // Twice a time: which of them was signed?
            ("t", _) if time.is_some() => return Err(Rejection::Wrong),
            ("t", text) => time = Some(text),
            ("v1", _) if digests.len() == MAX_SIGNATURES => return Err(Rejection::Wrong),
            ("v1", text) => digests.push(hex::decode(text).map_err(|_| Rejection::Wrong)?),
            // Schemes of other versions, such as the v0 of Stripe's test mode, are worth nothing.
            _ => {}
        }
    }
    let text = time.ok_or(Rejection::Wrong)?;
    let genuine =
        digests.into_iter().find(|digest| is_genuine(secret.as_bytes(), &[text.as_bytes(), b".", body], digest));
    let digest = genuine.ok_or(Rejection::Wrong)?;
    let time = time_of(text)?;
    is_of_now(time, now, tolerance)?;
    Ok(Signed::At(time, digest))
}

fn standard(
    secret: &str,
    family: &str,
    value: &str,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
    tolerance: Duration,
) -> Result<Signed, Rejection> {
    let of = |what: &str| {
        let mut values = headers.get_all(format!("{family}-{what}")).iter();
        let value = values.next().ok_or(Rejection::Missing)?.to_str().map_err(|_| Rejection::Wrong)?;
        if values.next().is_some() { Err(Rejection::Wrong) } else { Ok(value) }
    };
    let (id, text) = (of("id")?, of("timestamp")?);
    // A full stop in the id would let the time begin inside of it.
    if id.is_empty() || id.len() > MAX_ID_BYTES || id.contains('.') {
        return Err(Rejection::Wrong);
    }
    let time = time_of(text)?;
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).unwrap_or_else(|_| secret.into());
    let digests = value.split(' ').take(MAX_SIGNATURES).filter_map(|part| part.strip_prefix("v1,"));
    let is_signed = digests
        .filter_map(|text| STANDARD.decode(text).ok())
        .any(|digest| is_genuine(&key, &[id.as_bytes(), b".", text.as_bytes(), b".", body], &digest));
    if !is_signed {
        return Err(Rejection::Wrong);
    }
    is_of_now(time, now, tolerance)?;
    Ok(Signed::Message(id.to_owned()))
}

/// A time in seconds: digits alone, and as many as a clock may show.
fn time_of(text: &str) -> Result<i64, Rejection> {
    let is_plain = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().map_err(|_| Rejection::Wrong) } else { Err(Rejection::Wrong) }
}

/// Looked at only once the signature is known to be genuine, so that nobody else learns how our clock stands.
fn is_of_now(time: i64, now: i64, tolerance: Duration) -> Result<(), Rejection> {
    if now.abs_diff(time) <= tolerance.as_secs() { Ok(()) } else { Err(Rejection::Expired) }
}

/// Compares in constant time, and the length first.
fn is_genuine(key: &[u8], parts: &[&[u8]], digest: &[u8]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(digest).is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const NOW: i64 = 1_750_000_000;
    const TOLERANCE: Duration = Duration::from_secs(300);
    const BODY: &[u8] = br#"{"n": 1}"#;

    fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
        mac.update(text);
        mac.finalize().into_bytes().to_vec()
    }

    fn signed_hex(secret: &str, prefix: &str) -> String {
        hex::encode(hmac(secret.as_bytes(), &[prefix.as_bytes(), BODY].concat()))
    }

    fn verdict(header: &str, headers: &[(&str, &str)]) -> Result<Signed, Rejection> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).expect("a name"), HeaderValue::try_from(*value).expect("a value"));
        }
        check("s3cret", header, &map, BODY, NOW, TOLERANCE)
    }

    #[test]
    fn plain_signatures() {
        let genuine = signed_hex("s3cret", "");
        let spellings = [
            genuine.clone(),
            genuine.to_uppercase(),
            format!("sha256={genuine}"),
            format!("sha1={genuine}"),
            format!("v0={genuine}"),
        ];
        for value in &spellings {
            for header in ["X-Signature", "x-hub-signature-256", "X-Hub-Signature-256", ""] {
                let sent = [(header_of(header), value.as_str())];
                let expected = Signed::Body(hex::decode(&genuine).expect("hex"));
                assert_eq!(verdict(header, &sent), Ok(expected), "{header}: {value}");
            }
        }
        let forged = [
            String::new(),
            "sha256=".to_owned(),
            "nonsense".to_owned(),
            genuine[..62].to_owned(),
            genuine[..63].to_owned(),
            format!("{genuine}{genuine}"),
            format!("sha512={genuine}"),
            format!("sha256=sha256={genuine}"),
            format!("{genuine},{genuine}"),
            format!("t={NOW},v1={genuine}"),
            signed_hex("s3cre", ""),
            signed_hex("", ""),
            signed_hex("s3cret", &format!("{NOW}.")),
            "0".repeat(64),
        ];
        for value in &forged {
            assert_eq!(verdict("X-Signature", &[("x-signature", value)]), Err(Rejection::Wrong), "{value}");
        }
        assert_eq!(verdict("X-Signature", &[]), Err(Rejection::Missing));
        assert_eq!(verdict("X-Signature", &[("x-hub-signature-256", &genuine)]), Err(Rejection::Missing));
        let twice = [("x-signature", genuine.as_str()), ("x-signature", "nonsense")];
        assert_eq!(verdict("X-Signature", &twice), Err(Rejection::Wrong));
        assert_eq!(verdict("", &[]), Err(Rejection::Missing), "no name is the usual one, and no way in");
    }

    #[test]
    fn stripes_signatures() {
        let sign = |secret: &str, time: &str| signed_hex(secret, &format!("{time}."));
        let now = NOW.to_string();
        let genuine = sign("s3cret", &now);
        let other = sign("old", &now);
        let verdict = |value: &str| verdict("Stripe-Signature", &[("stripe-signature", value)]);
        let expected = Ok(Signed::At(NOW, hex::decode(&genuine).expect("hex")));
        for value in [
            format!("t={now},v1={genuine}"),
            format!("v1={genuine},t={now}"),
            format!("t={now},v1={other},v1={genuine}"),
            format!("t={now},v1={genuine},v0={other}"),
        ] {
            assert_eq!(verdict(&value), expected, "{value}");
        }
        for distance in [300, -300] {
            let time = (NOW + distance).to_string();
            assert!(verdict(&format!("t={time},v1={}", sign("s3cret", &time))).is_ok(), "{distance}");
        }
        for distance in [301, -301, 86_400, -NOW] {
            let time = (NOW + distance).to_string();
            let value = format!("t={time},v1={}", sign("s3cret", &time));
            assert_eq!(verdict(&value), Err(Rejection::Expired), "{distance}");
        }
        let moved = (NOW + 1).to_string();
        let forged = [
            format!("t={moved},v1={genuine}"),
            format!("t={now},v1={other}"),
            format!("t={now},v0={genuine}"),
            format!("t={now}"),
            format!("v1={genuine}"),
            format!("t={now},t={now},v1={genuine}"),
            format!("t=,v1={}", sign("s3cret", "")),
            format!("t=-1,v1={}", sign("s3cret", "-1")),
            format!("t=+{now},v1={}", sign("s3cret", &format!("+{now}"))),
            format!("t=9999999999999999999,v1={}", sign("s3cret", "9999999999999999999")),
            format!("t={now}, v1={genuine}"),
            format!("t={now},v1={}", "zz".repeat(32)),
            format!("t={now}{}", ",v1=00".repeat(9)),
            genuine,
            signed_hex("s3cret", ""),
            String::new(),
        ];
        for value in &forged {
            assert_eq!(verdict(value), Err(Rejection::Wrong), "{value}");
        }
    }

    #[test]
    fn standard_webhooks() {
        let sign = |key: &[u8], id: &str, time: &str| {
            let text = [id.as_bytes(), b".", time.as_bytes(), b".", BODY].concat();
            format!("v1,{}", STANDARD.encode(hmac(key, &text)))
        };
        let now = NOW.to_string();
        let verdict_of = |secret: &str, family: &str, id: &str, time: &str, signature: &str| {
            let mut map = HeaderMap::new();
            for (what, value) in [("id", id), ("timestamp", time), ("signature", signature)] {
                let name = HeaderName::try_from(format!("{family}-{what}")).expect("a name");
                map.append(name, HeaderValue::try_from(value).expect("a value"));
            }
            check(secret, &format!("{family}-signature"), &map, BODY, NOW, TOLERANCE)
        };
        let secret = format!("whsec_{}", STANDARD.encode(b"a key of the sender's"));
        let key = b"a key of the sender's";
        let genuine = sign(key, "msg_1", &now);
        for family in ["webhook", "svix"] {
            let expected = Ok(Signed::Message("msg_1".to_owned()));
            assert_eq!(verdict_of(&secret, family, "msg_1", &now, &genuine), expected);
            let two = format!("{} v1a,xxxx {genuine}", sign(b"old", "msg_1", &now));
            assert_eq!(verdict_of(&secret, family, "msg_1", &now, &two), expected, "while a key is changed");
            let later = (NOW - 200).to_string();
            assert_eq!(verdict_of(&secret, family, "msg_1", &later, &sign(key, "msg_1", &later)), expected);
            for (id, time, signature, rejection) in [
                ("msg_2", now.as_str(), genuine.as_str(), Rejection::Wrong),
                ("msg_1", "1750000001", genuine.as_str(), Rejection::Wrong),
                ("msg_1", "1749999000", &sign(key, "msg_1", "1749999000"), Rejection::Expired),
                ("msg_1", "1750001000", &sign(key, "msg_1", "1750001000"), Rejection::Expired),
                ("msg_1", now.as_str(), genuine.strip_prefix("v1,").expect("a version"), Rejection::Wrong),
                ("msg_1", now.as_str(), &genuine.replace("v1,", "v2,"), Rejection::Wrong),
                ("msg_1", now.as_str(), "v1,", Rejection::Wrong),
                ("msg_1", now.as_str(), "", Rejection::Wrong),
                ("", now.as_str(), &sign(key, "", &now), Rejection::Wrong),
                ("msg.1", now.as_str(), &sign(key, "msg.1", &now), Rejection::Wrong),
                ("msg_1", "", &sign(key, "msg_1", ""), Rejection::Wrong),
                ("msg_1", "-5", &sign(key, "msg_1", "-5"), Rejection::Wrong),
            ] {
                assert_eq!(verdict_of(&secret, family, id, time, signature), Err(rejection), "{id} {time} {signature}");
            }
        }
        let only = [("webhook-signature", genuine.as_str()), ("webhook-timestamp", now.as_str())];
        assert_eq!(verdict("webhook-signature", &only), Err(Rejection::Missing), "without its id it is not signed");
        let plain = sign(b"s3cret", "msg_1", &now);
        assert!(verdict_of("s3cret", "webhook", "msg_1", &now, &plain).is_ok(), "a secret that is no base64");
    }
}
