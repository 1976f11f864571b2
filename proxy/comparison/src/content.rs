//! What a body is: its media type, and its bytes without their encoding.

use std::{
    borrow::Cow,
    io::{self, Read},
};

use http::{HeaderMap, header};

use crate::rules::LimitsConfig;

/// A body without its content encoding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Empty,
    /// Said to be JSON, or looks like it where nothing is said. It may still be none.
    Json(Cow<'a, str>),
    Text(Cow<'a, str>),
    Binary(Cow<'a, [u8]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentProblem {
    /// It is encoded in a way that is not known here.
    Encoding,
    /// It would unpack to more than is allowed.
    TooLarge,
}

impl<'a> Content<'a> {
    pub(crate) fn of(headers: &HeaderMap, body: &'a [u8], limits: &LimitsConfig) -> Result<Self, ContentProblem> {
        let body = unpacked(headers, body, limits.unpacked_bytes)?;
        if body.is_empty() {
            return Ok(Self::Empty);
        }
        let text = match body {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Cow::Borrowed(bytes)),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|error| error.into_bytes().into()),
        };
        Ok(match text {
            Err(bytes) => Self::Binary(bytes),
            Ok(text) if is_json(headers, &text) => Self::Json(text),
            Ok(text) => Self::Text(text),
        })
    }
}

/// RFC 8259 and the suffix of RFC 6839.
fn is_json(headers: &HeaderMap, text: &str) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return text.trim_start().starts_with(['{', '[']);
    };
    let media_type = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json")
}

fn unpacked<'a>(headers: &HeaderMap, body: &'a [u8], most: usize) -> Result<Cow<'a, [u8]>, ContentProblem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = encodings.next().map_or("", |value| value.to_str().unwrap_or("?").trim()).to_ascii_lowercase();
    if encodings.next().is_some() {
        return Err(ContentProblem::Encoding);
    }
    match encoding.as_str() {
        // A body that says it is packed may still be empty: the answer to HEAD, a 304.
        _ if body.is_empty() => Ok(Cow::Borrowed(body)),
        "" | "identity" => Ok(Cow::Borrowed(body)),
        "gzip" | "x-gzip" => read(flate2::read::MultiGzDecoder::new(body), body, most),
        "deflate" => read(flate2::read::ZlibDecoder::new(body), body, most),
        "br" => read(brotli::Decompressor::new(body, 4_096), body, most),
        _ => Err(ContentProblem::Encoding),
    }
}

/// What is broken stays as it is: then it differs from what is not.
fn read<'a>(unpack: impl Read, packed: &'a [u8], most: usize) -> Result<Cow<'a, [u8]>, ContentProblem> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let unpacked: io::Result<usize> = unpack.take(bound).read_to_end(&mut bytes);
    match unpacked {
        Ok(_) if bytes.len() > most => Err(ContentProblem::TooLarge),
        Ok(_) => Ok(Cow::Owned(bytes)),
        Err(_) => Ok(Cow::Borrowed(packed)),
    }
}

/// What is told of bytes that cannot be shown.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("{} bytes, blake3 {}", bytes.len(), blake3::hash(bytes).to_hex())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn a_body_is_what_its_type_says_and_json_where_nothing_is_said() {
        let limits = LimitsConfig::default();
        let sort = |fields: &[_], body: &'static [u8]| match Content::of(&headers(fields), body, &limits) {
            Ok(Content::Empty) => "empty",
            Ok(Content::Json(_)) => "json",
            Ok(Content::Text(_)) => "text",
            Ok(Content::Binary(_)) => "binary",
            Err(_) => "problem",
        };
        assert_eq!(sort(&[("content-type", "application/problem+JSON; charset=utf-8")], b"x"), "json");
        assert_eq!(sort(&[("content-type", "text/plain")], b"{}"), "text");
        assert_eq!(
            (sort(&[], b" {}"), sort(&[], b"hello"), sort(&[], b"\xff"), sort(&[], b"")),
            ("json", "text", "binary", "empty")
        );
        assert_eq!(sort(&[("content-encoding", "gzip")], b""), "empty");
        assert_eq!(sort(&[("content-encoding", "gzip")], b"\xff no gzip"), "binary");
        assert_eq!(sort(&[("content-encoding", "zstd")], b"x"), "problem");
        assert_eq!(sort(&[("content-encoding", "gzip, br")], b"x"), "problem");
    }

    #[test]
    fn unpacking_has_a_bound() {
        let limits = LimitsConfig { unpacked_bytes: 1_000, ..LimitsConfig::default() };
        let packed = headers(&[("content-encoding", "gzip")]);
        let small = gzip(b"hello");
        assert_eq!(Content::of(&packed, &small, &limits), Ok(Content::Text("hello".into())));
        let bomb = gzip(&vec![b'a'; 10_000_000]);
        assert_eq!(Content::of(&packed, &bomb, &limits), Err(ContentProblem::TooLarge));
    }
}
