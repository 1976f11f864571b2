//! What a route asks of a request's headers and query.
//!
//! A name that a request gives twice satisfies a condition only when every occurrence does: whichever
//! of them the upstream reads, it reads what was matched. Header values are compared byte for byte
//! and never split at commas. A query is split at `&`, a name or value decoded once (`+` is a space,
//! `%2B` a plus; an escape without two hexadecimal digits stands for itself).

use std::fmt;

use http::{HeaderMap, HeaderName};

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// There, whatever it is.
    Present,
    /// Beginning with this text.
    Prefix(String),
    /// Exactly this text.
    Exact(String),
}

/// What a header must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderCondition {
    /// The header.
    pub name: HeaderName,
    /// Its value.
    pub value: Expected,
}

/// What a query parameter must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryCondition {
    /// The parameter, decoded.
    pub name: String,
    /// Its value, decoded.
    pub value: Expected,
}

/// All conditions of a route; a request satisfies every one of them, or the route does not take it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// About headers, no header twice.
    pub headers: Vec<HeaderCondition>,
    /// About the query, no parameter twice.
    pub query: Vec<QueryCondition>,
}

/// How much conditions ask: more conditions first, then more exact ones, then longer prefixes.
type Strength = (usize, usize, usize);

impl Conditions {
    /// Whether a request with these headers and this query (without its `?`) satisfies all.
    pub(super) fn hold(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        self.headers.iter().all(|condition| condition.holds(headers))
            && self.query.iter().all(|condition| condition.holds(query.unwrap_or_default()))
    }

    /// What compares greater asks more. Headers go before the query, as in the Gateway API's
    /// `HTTPRouteRule`.
    pub(super) fn strength(&self) -> (Strength, Strength) {
        (
            strength(self.headers.iter().map(|condition| &condition.value)),
            strength(self.query.iter().map(|condition| &condition.value)),
        )
    }

    /// Whether no request can satisfy both.
    pub(super) fn contradict(&self, other: &Self) -> bool {
        let headers = self.headers.iter().any(|ours| {
            other.headers.iter().any(|theirs| ours.name == theirs.name && ours.value.contradicts(&theirs.value))
        });
        headers
            || self.query.iter().any(|ours| {
                other.query.iter().any(|theirs| ours.name == theirs.name && ours.value.contradicts(&theirs.value))
            })
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.headers.iter().map(|one| ("header", one.name.as_str(), &one.value));
        let query = self.query.iter().map(|one| ("query", one.name.as_str(), &one.value));
        for (index, (place, name, value)) in headers.chain(query).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match value {
                Expected::Present => write!(f, "{comma}{place} `{name}`")?,
                Expected::Prefix(text) => write!(f, "{comma}{place} `{name}: {text}…`")?,
                Expected::Exact(text) => write!(f, "{comma}{place} `{name}: {text}`")?,
            }
        }
        Ok(())
    }
}

fn strength<'a>(values: impl Iterator<Item = &'a Expected>) -> Strength {
    values.fold((0, 0, 0), |(count, exact, prefix), value| match value {
        Expected::Present => (count + 1, exact, prefix),
        Expected::Prefix(text) => (count + 1, exact, prefix + text.len()),
        Expected::Exact(_) => (count + 1, exact + 1, prefix),
    })
}

impl Expected {
    fn matches(&self, mut value: impl Iterator<Item = u8>) -> bool {
        match self {
            Self::Present => true,
            Self::Prefix(text) => text.bytes().all(|byte| value.next() == Some(byte)),
            Self::Exact(text) => text.bytes().all(|byte| value.next() == Some(byte)) && value.next().is_none(),
        }
    }

    fn contradicts(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present, _) | (_, Self::Present) => false,
            (Self::Exact(one), Self::Exact(other)) => one != other,
            (Self::Exact(whole), Self::Prefix(start)) | (Self::Prefix(start), Self::Exact(whole)) => {
                !whole.starts_with(start.as_str())
            }
            (Self::Prefix(one), Self::Prefix(other)) => {
                !one.starts_with(other.as_str()) && !other.starts_with(one.as_str())
            }
        }
    }
}

impl HeaderCondition {
    fn holds(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter().peekable();
        values.peek().is_some() && values.all(|value| self.value.matches(value.as_bytes().iter().copied()))
    }
}

impl QueryCondition {
    fn holds(&self, query: &str) -> bool {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut values = pairs.filter(|(name, _)| decoded(name).eq(self.name.bytes())).peekable();
        values.peek().is_some() && values.all(|(_, value)| self.value.matches(decoded(value)))
    }
}

/// The bytes of a name or value in a query.
fn decoded(raw: &str) -> impl Iterator<Item = u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut rest = raw.as_bytes();
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        let escape = if first == b'%' { digit(after.first()).zip(digit(after.get(1))) } else { None };
        let byte = match escape {
            Some((high, low)) => {
                rest = &after[2..];
                u8::try_from(high << 4 | low).expect("two hexadecimal digits make a byte")
            }
            None => {
                rest = after;
                if first == b'+' { b' ' } else { first }
            }
        };
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, value: Expected) -> QueryCondition {
        QueryCondition { name: name.to_owned(), value }
    }

    #[test]
    fn a_query_is_decoded_once_and_every_occurrence_counts() {
        let exact = |text: &str| Expected::Exact(text.to_owned());
        for (name, value, text, holds) in [
            ("a", exact("1"), "a=1", true),
            ("a", exact("1"), "b=2&a=1&c", true),
            ("a", exact("1"), "a=1&a=1", true),
            ("a", exact("1"), "a=1&a=2", false),
            ("a", exact("1"), "a=2&a=1", false),
            ("a", exact("1"), "%61=%31", true),
            ("a", exact("1"), "%2561=1", false),
            ("a", exact("%31"), "a=%2531", true),
            ("a", exact("1"), "A=1", false),
            ("a", exact("1"), "a=1;b=2", false),
            ("a", exact("1"), "a=11", false),
            ("a", exact("1"), "a=", false),
            ("a", exact(""), "a", true),
            ("a", exact(""), "", false),
            ("a b", exact("c d"), "a+b=c%20d", true),
            ("a", exact("+"), "a=%2B", true),
            ("a", exact("%zz%"), "a=%zz%", true),
            ("a", exact("b=c"), "a=b=c", true),
            ("a", exact("é"), "a=%C3%A9", true),
            ("a", Expected::Present, "a=&b", true),
            ("a", Expected::Present, "aa=1&b", false),
            ("a", Expected::Prefix("v1".to_owned()), "a=v10", true),
            ("a", Expected::Prefix("v1".to_owned()), "a=v10&a=v2", false),
        ] {
            let condition = query(name, value);
            assert_eq!(condition.holds(text), holds, "{condition:?} and {text:?}");
        }
    }

    #[test]
    fn a_header_holds_when_every_line_does() {
        let condition =
            HeaderCondition { name: HeaderName::from_static("x-tenant"), value: Expected::Exact("blue".to_owned()) };
        for (lines, holds) in [
            (&["blue"][..], true),
            (&["blue", "blue"], true),
            (&["blue", "green"], false),
            (&["blue, blue"], false),
            (&["Blue"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-tenant", line.parse().expect("a good value"));
            }
            assert_eq!(condition.holds(&headers), holds, "{lines:?}");
        }
    }
}
