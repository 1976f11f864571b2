//! What a decision is sticky to.
//!
//! Whoever can send one request under two keys, one for the gateway and another for the upstream,
//! gets round pins and limits. So a key that a request gives twice, with different values, makes the
//! request ambiguous, and it is refused.

use std::{borrow::Cow, net::IpAddr};

use http::{HeaderMap, HeaderName, header};

use super::{
    json_pointer::{JsonPointer, PointerProblem},
    template::Template,
};
use crate::{auth::Identity, request_path::RequestPath};

/// Where a route finds the key of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Each request for itself: drawn at random, never sticky.
    Request,
    /// The segment at this index.
    Segment(usize),
    /// Every segment from this index on.
    Rest(usize),
    /// The value of this header.
    Header(HeaderName),
    /// The value of the cookie with this name.
    Cookie(String),
    /// The claim of the caller's identity with this name.
    Claim(String),
    /// The client's address.
    Client,
    /// A value inside a JSON body, which must be read before the upstream is chosen.
    Body(JsonPointer),
}

/// What a key may be taken from, the body aside.
#[derive(Debug, Clone, Copy)]
pub struct KeyInput<'r> {
    /// The path.
    pub path: &'r RequestPath<'r>,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// The client's address, behind trusted proxies.
    pub client: Option<IpAddr>,
    /// Who asks, when that is proven.
    pub identity: Option<&'r Identity>,
}

/// A request gives its key twice, with different values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is given more than once, with different values")]
pub struct RepeatedKey;

/// Why a key setting is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Not one of the known forms.
    #[error("`{0}` is no source of a key")]
    UnknownForm(String),
    /// The template has no such parameter.
    #[error("the path has no parameter `{0}`")]
    UnknownParameter(String),
    /// No header can have this name.
    #[error("`{0}` is no header name")]
    MalformedHeader(String),
    /// No cookie can have this name.
    #[error("`{0}` is no cookie name")]
    MalformedCookie(String),
    /// A claim without a name.
    #[error("the claim has no name")]
    NamelessClaim,
    /// Not a JSON pointer to something inside the body.
    #[error("`{0}` is no JSON pointer into a body: {1}")]
    MalformedPointer(String, PointerProblem),
}

impl KeySource {
    /// Reads the setting of a route with this template: `request`, `path:NAME`, `header:NAME`,
    /// `cookie:NAME`, `claim:NAME`, `client` or `body:/POINTER`.
    ///
    /// # Errors
    /// When the text has another form, or names what does not exist.
    pub fn parse(text: &str, template: &Template) -> Result<Self, KeyProblem> {
        let (form, name) = text.split_once(':').map_or((text, None), |(form, name)| (form, Some(name)));
        match (form, name) {
            ("request", None) => Ok(Self::Request),
            ("client", None) => Ok(Self::Client),
            ("path", Some(name)) => match template.position(name) {
                Some((index, false)) => Ok(Self::Segment(index)),
                Some((index, true)) => Ok(Self::Rest(index)),
                None => Err(KeyProblem::UnknownParameter(name.to_owned())),
            },
            ("header", Some(name)) => {
                name.parse().map(Self::Header).map_err(|_| KeyProblem::MalformedHeader(name.to_owned()))
            }
            // A cookie's name is a token, as a header's is (RFC 6265 section 4.1.1).
            ("cookie", Some(name)) => match name.parse::<HeaderName>() {
                Ok(_) => Ok(Self::Cookie(name.to_owned())),
                Err(_) => Err(KeyProblem::MalformedCookie(name.to_owned())),
            },
            ("claim", Some("")) => Err(KeyProblem::NamelessClaim),
            ("claim", Some(name)) => Ok(Self::Claim(name.to_owned())),
            ("body", Some(pointer)) => JsonPointer::parse(pointer)
                .map(Self::Body)
                .map_err(|problem| KeyProblem::MalformedPointer(pointer.to_owned(), problem)),
            _ => Err(KeyProblem::UnknownForm(text.to_owned())),
        }
    }

    /// The key of a request that this route matched. `None` when the route has no sticky key, the
    /// request does not carry it, or it is in the body; see [`JsonPointer::find`] for that.
    ///
    /// # Errors
    /// When the request carries more than one.
    pub fn extract<'r>(&self, request: &KeyInput<'r>) -> Result<Option<Cow<'r, str>>, RepeatedKey> {
        let KeyInput { path, headers, client, identity } = *request;
        match self {
            Self::Request | Self::Body(_) => Ok(None),
            Self::Segment(index) => Ok(path.segments().get(*index).map(|segment| Cow::Borrowed(segment.as_ref()))),
            Self::Rest(index) => Ok(path.segments().get(*index..).map(|rest| Cow::Owned(rest.join("/")))),
            Self::Header(name) => only(headers.get_all(name).iter().map(http::HeaderValue::as_bytes)),
            Self::Cookie(name) => only(cookies(headers, name)),
            Self::Claim(name) => Ok(identity.and_then(|identity| identity.claim(name))),
            Self::Client => Ok(client.map(|address| Cow::Owned(address.to_string()))),
        }
    }
}

/// The one value there is. Bytes that are no UTF-8 make a key like any other, as long as every
/// gateway reads them alike.
fn only<'r>(mut values: impl Iterator<Item = &'r [u8]>) -> Result<Option<Cow<'r, str>>, RepeatedKey> {
    let Some(first) = values.next() else { return Ok(None) };
    if values.all(|other| other == first) { Ok(Some(String::from_utf8_lossy(first))) } else { Err(RepeatedKey) }
}

/// The values of a cookie, without the quotes that may stand around one (RFC 6265 section 4.1.1).
/// HTTP/2 may send each cookie on a line of its own (RFC 9113 section 8.2.3).
fn cookies<'r>(headers: &'r HeaderMap, name: &str) -> impl Iterator<Item = &'r [u8]> {
    let pairs =
        headers.get_all(header::COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|quoted| quoted.strip_suffix(b"\"")).unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(text: &str, headers: &[(&'static str, &'static str)]) -> Result<Option<String>, RepeatedKey> {
        let template: Template = "/f/{id}/files/{*path}".parse().expect("a good template");
        let path = RequestPath::parse("/f/4%32/files/a/b").expect("a good path");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a good value"));
        }
        let source = KeySource::parse(text, &template).expect("a good key");
        let client = Some(IpAddr::from([10, 0, 0, 1]));
        let claims = serde_json::json!({ "sub": "alice", "org": 7 }).as_object().cloned().expect("an object");
        let identity = Identity::of_token("main", claims);
        let input = KeyInput { path: &path, headers: &map, client, identity: Some(&identity) };
        Ok(source.extract(&input)?.map(Cow::into_owned))
    }

    #[test]
    fn keys_come_from_where_the_route_says() {
        for (text, headers, expected) in [
            ("path:id", &[][..], Some("42")),
            ("path:path", &[], Some("a/b")),
            ("header:X-Tenant", &[("x-tenant", "blue")], Some("blue")),
            ("header:x-tenant", &[("x-tenant", "blue"), ("x-tenant", "blue")], Some("blue")),
            ("header:x-tenant", &[], None),
            ("cookie:sid", &[("cookie", "a=1; sid=42; b=2")], Some("42")),
            ("cookie:sid", &[("cookie", "a=1"), ("cookie", "sid=42")], Some("42")),
            ("cookie:sid", &[("cookie", "sid=\"42\"")], Some("42")),
            ("cookie:sid", &[("cookie", "sid=a=b==;x")], Some("a=b==")),
            ("cookie:sid", &[("cookie", "sid=")], Some("")),
            ("cookie:sid", &[("cookie", "SID=42; xsid=1; sid")], None),
            ("claim:sub", &[], Some("alice")),
            ("claim:org", &[], Some("7")),
            ("claim:nothing", &[], None),
            ("client", &[], Some("10.0.0.1")),
            ("body:/id", &[], None),
            ("request", &[], None),
        ] {
            assert_eq!(extract(text, headers), Ok(expected.map(str::to_owned)), "{text} {headers:?}");
        }
    }

    #[test]
    fn two_keys_are_none() {
        for (text, headers) in [
            ("header:x-tenant", &[("x-tenant", "blue"), ("x-tenant", "green")][..]),
            ("cookie:sid", &[("cookie", "sid=1; sid=2")]),
            ("cookie:sid", &[("cookie", "sid=1"), ("cookie", "sid=2")]),
        ] {
            assert_eq!(extract(text, headers), Err(RepeatedKey), "{text} {headers:?}");
        }
    }

    #[test]
    fn bad_sources_are_refused() {
        let template: Template = "/f/{id}".parse().expect("a good template");
        for bad in [
            "",
            "id",
            "path:",
            "path:nope",
            "path",
            "header:",
            "header:a b",
            "cookie:",
            "cookie:a=b",
            "client:x",
            "claim:",
            "claim",
            "request:",
            "body:",
            "body:id",
            "body:/a~",
            "query:a",
        ] {
            assert!(KeySource::parse(bad, &template).is_err(), "{bad}");
        }
    }
}
