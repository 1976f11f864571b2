//! What a decision is sticky to.

use std::{borrow::Cow, net::IpAddr};

use http::{HeaderMap, HeaderName};

use super::template::Template;
use crate::request_path::RequestPath;

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
}

/// What a key may be taken from.
#[derive(Debug, Clone, Copy)]
pub struct KeyInput<'r> {
    /// The path.
    pub path: &'r RequestPath<'r>,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// The client's address, behind trusted proxies.
    pub client: Option<IpAddr>,
}

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
}

impl KeySource {
    /// Reads `request`, `path:NAME` or `header:NAME` for a route with this template.
    ///
    /// # Errors
    /// When the text has another form, or names what does not exist.
    pub fn parse(text: &str, template: &Template) -> Result<Self, KeyProblem> {
        if text == "request" {
            return Ok(Self::Request);
        }
        if let Some(name) = text.strip_prefix("path:") {
            let position = template.position(name).ok_or_else(|| KeyProblem::UnknownParameter(name.to_owned()))?;
            return Ok(match position {
                (index, false) => Self::Segment(index),
                (index, true) => Self::Rest(index),
            });
        }
        if let Some(name) = text.strip_prefix("header:") {
            let header = name.parse().map_err(|_| KeyProblem::MalformedHeader(name.to_owned()))?;
            return Ok(Self::Header(header));
        }
        Err(KeyProblem::UnknownForm(text.to_owned()))
    }

    /// The key of a request that this route matched. `None` when the route has no sticky key or the
    /// request does not carry it; the request then counts for itself.
    #[must_use]
    pub fn extract<'r>(&self, request: &KeyInput<'r>) -> Option<Cow<'r, str>> {
        let KeyInput { path, headers, .. } = *request;
        match self {
            Self::Request => None,
            Self::Segment(index) => path.segments().get(*index).map(|segment| Cow::Borrowed(segment.as_ref())),
            Self::Rest(index) => path.segments().get(*index..).map(|rest| Cow::Owned(rest.join("/"))),
            // Bytes that are no UTF-8 make a key like any other, as long as every gateway reads
            // them alike.
            Self::Header(name) => headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes())),
        }
    }
}
