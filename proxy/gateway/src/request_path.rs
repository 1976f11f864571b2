//! The path of a request in the one form that routing looks at.
//!
//! A path that two programs can read in two ways is a way past a route: what the gateway takes for
//! one resource, the upstream takes for another. So a path is either unambiguous or refused. Dot
//! segments, empty segments, backslashes, control characters, encoded separators and double
//! encodings are refused; an escape such as `%69` is decoded before matching, because the upstream
//! will decode it too; one trailing slash is ignored when matching. Unless its route rewrites the
//! path, the upstream receives the bytes the client sent.
//!
//! Parameters of a segment (`/f;v=1/x`, RFC 3986 section 3.3) are part of the segment's text to most
//! programs, and nothing at all to servlet containers, which cut them off. What the upstreams do is
//! for the configuration to say; [`PathParameters`] are refused unless it does.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a `;` in a segment means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PathParameters {
    /// Upstreams may differ, so such a path is refused, with `%3B` too.
    #[default]
    Refuse,
    /// Every upstream cuts a segment at its first `;`, so routing does the same.
    Ignore,
    /// Every upstream takes it for text.
    Keep,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// The request target is no absolute path.
    #[error("the path must start with a slash")]
    NotAbsolute,
    /// `//` somewhere in the path.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`, written plainly, encoded, or with a parameter (`..;x`).
    #[error("the path has a dot segment")]
    DotSegment,
    /// A `%` that two hexadecimal digits do not follow.
    #[error("the path has a malformed escape")]
    MalformedEscape,
    /// `%2F`, `%5C` or a backslash.
    #[error("the path has an encoded or foreign separator")]
    ForeignSeparator,
    /// A `;`, plain or encoded, where parameters are refused.
    #[error("the path has a segment with parameters")]
    Parameter,
    /// An escape that decodes to an escape.
    #[error("the path is encoded twice")]
    DoubleEncoding,
    /// A control or non-ASCII byte, plain or (for control characters) encoded.
    #[error("the path has a character that does not belong in one")]
    ForbiddenCharacter,
    /// Escapes that do not decode to UTF-8.
    #[error("the path does not decode to UTF-8")]
    NotUtf8,
}

/// A path without its query, split and decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath<'a> {
    segments: Vec<Cow<'a, str>>,
    ends_with_slash: bool,
}

impl<'a> RequestPath<'a> {
    /// Reads the path part of a request target, without parameters.
    ///
    /// # Errors
    /// When another program might read the path in another way.
    pub fn parse(path: &'a str) -> Result<Self, PathProblem> {
        Self::parse_with(path, PathParameters::Refuse)
    }

    /// Reads the path part of a request target.
    ///
    /// # Errors
    /// When another program might read the path in another way, parameters aside.
    pub fn parse_with(path: &'a str, parameters: PathParameters) -> Result<Self, PathProblem> {
        let inner = path.strip_prefix('/').ok_or(PathProblem::NotAbsolute)?;
        if inner.is_empty() {
            return Ok(Self { segments: Vec::new(), ends_with_slash: false });
        }
        let (inner, ends_with_slash) = inner.strip_suffix('/').map_or((inner, false), |inner| (inner, true));
        let segments = inner.split('/').map(|raw| decode(raw, parameters)).collect::<Result<_, _>>()?;
        Ok(Self { segments, ends_with_slash })
    }

    /// Whether a slash follows the last segment.
    #[must_use]
    pub fn ends_with_slash(&self) -> bool {
        self.ends_with_slash
    }

    /// The decoded segments, in order. `/` has none.
    #[must_use]
    pub fn segments(&self) -> &[Cow<'a, str>] {
        &self.segments
    }
}

fn decode(raw: &str, parameters: PathParameters) -> Result<Cow<'_, str>, PathProblem> {
    let name = match parameters {
        PathParameters::Ignore => raw.split(';').next().unwrap_or(raw),
        PathParameters::Refuse | PathParameters::Keep => raw,
    };
    if name.is_empty() {
        return Err(PathProblem::EmptySegment);
    }
    for byte in raw.bytes() {
        match byte {
            b'\\' => return Err(PathProblem::ForeignSeparator),
            0x21..=0x7e => {}
            _ => return Err(PathProblem::ForbiddenCharacter),
        }
    }
    let decoded = if name.contains('%') { Cow::Owned(unescape(name)?) } else { Cow::Borrowed(name) };
    // Some servers cut a segment at `;` before they resolve dots.
    let cut = decoded.split(';').next().unwrap_or(&decoded);
    if cut == "." || cut == ".." {
        return Err(PathProblem::DotSegment);
    }
    if parameters == PathParameters::Refuse && cut.len() < decoded.len() {
        return Err(PathProblem::Parameter);
    }
    Ok(decoded)
}

fn unescape(raw: &str) -> Result<String, PathProblem> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = rest.next().and_then(hex_digit).ok_or(PathProblem::MalformedEscape)?;
        let low = rest.next().and_then(hex_digit).ok_or(PathProblem::MalformedEscape)?;
        match high << 4 | low {
            b'/' | b'\\' => return Err(PathProblem::ForeignSeparator),
            control if control.is_ascii_control() => return Err(PathProblem::ForbiddenCharacter),
            plain => bytes.push(plain),
        }
    }
    let decodes_again =
        bytes.windows(3).any(|w| w[0] == b'%' && hex_digit(w[1]).is_some() && hex_digit(w[2]).is_some());
    if decodes_again {
        return Err(PathProblem::DoubleEncoding);
    }
    String::from_utf8(bytes).map_err(|_| PathProblem::NotUtf8)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &str) -> Result<Vec<String>, PathProblem> {
        Ok(RequestPath::parse(path)?.segments().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn plain_paths_split() {
        assert_eq!(segments("/"), Ok(vec![]));
        assert_eq!(segments("/a"), Ok(vec!["a".into()]));
        assert_eq!(segments("/a/b/"), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(segments("/%69nvoke"), Ok(vec!["invoke".into()]));
        assert_eq!(segments("/caf%C3%A9/100%25"), Ok(vec!["café".into(), "100%".into()]));
        assert_eq!(segments("/.hidden/a..b/..."), Ok(vec![".hidden".into(), "a..b".into(), "...".into()]));
    }

    #[test]
    fn parameters_are_what_the_configuration_says() {
        let read = |path, parameters| -> Result<Vec<String>, PathProblem> {
            Ok(RequestPath::parse_with(path, parameters)?.segments().iter().map(ToString::to_string).collect())
        };
        use PathParameters::{Ignore, Keep};
        let texts = |texts: &[&str]| Ok(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(read("/a;x=1/b;y", Keep), texts(&["a;x=1", "b;y"]));
        assert_eq!(read("/a;x=1/b;y/", Ignore), texts(&["a", "b"]));
        assert_eq!(read("/a%3bx", Ignore), texts(&["a;x"]), "an encoded one is text to who cuts before decoding");
        for (path, problem) in [
            ("/;x/b", PathProblem::EmptySegment),
            ("/a/..;x/b", PathProblem::DotSegment),
            ("/a/%2e%2e;x/b", PathProblem::DotSegment),
            ("/a/..%3bx/b", PathProblem::DotSegment),
            ("/a;x\\b", PathProblem::ForeignSeparator),
        ] {
            assert_eq!(read(path, Ignore), Err(problem), "{path}");
        }
        assert_eq!(read("/a/..;x/b", Keep), Err(PathProblem::DotSegment));
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        use PathProblem::*;
        for (path, problem) in [
            ("", NotAbsolute),
            ("*", NotAbsolute),
            ("//", EmptySegment),
            ("/a//b", EmptySegment),
            ("/a//", EmptySegment),
            ("/a/./b", DotSegment),
            ("/a/../b", DotSegment),
            ("/a/..", DotSegment),
            ("/a/%2e%2E/b", DotSegment),
            ("/a/.%2e", DotSegment),
            ("/a/..;x=1/b", DotSegment),
            ("/a;x=1/b", Parameter),
            ("/a/;", Parameter),
            ("/a%3Bx", Parameter),
            ("/a%2Fb", ForeignSeparator),
            ("/a%2fb", ForeignSeparator),
            ("/a%5cb", ForeignSeparator),
            ("/a\\b", ForeignSeparator),
            ("/a%252fb", DoubleEncoding),
            ("/a/%252e%252e/b", DoubleEncoding),
            ("/a%00", ForbiddenCharacter),
            ("/a%0d%0ab", ForbiddenCharacter),
            ("/a b", ForbiddenCharacter),
            ("/caf\u{e9}", ForbiddenCharacter),
            ("/a%", MalformedEscape),
            ("/a%4", MalformedEscape),
            ("/a%zz", MalformedEscape),
            ("/a%+1", MalformedEscape),
            ("/%ff", NotUtf8),
        ] {
            assert_eq!(segments(path), Err(problem), "{path:?}");
        }
    }
}
