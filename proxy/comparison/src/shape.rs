//! The shape of a request: what it is like, without what it says.

use std::{collections::BTreeSet, fmt};

use serde::{Serialize, Serializer};

use crate::json::{self, Bounds, Node};

/// The longest text of a shape; what is longer is cut and ends in the digest of the rest.
pub const MAX_SHAPE_BYTES: usize = 512;
const MAX_QUERY_NAMES: usize = 16;
const MAX_MEMBERS: usize = 24;
const MAX_ELEMENTS: usize = 32;
const MAX_DEPTH: usize = 4;
const BOUNDS: Bounds = Bounds { depth: 64, nodes: 16_384 };

/// The shape of a request: method, path template, names of its query parameters, and the names and types
/// in a JSON body. Two requests of one shape take the same way through most code, so it is shapes that
/// have to be covered before the candidate is trusted. A client can make shapes at will: whoever counts
/// them bounds their number.
///
/// As text: `POST /functions/{id}?limit&offset {name:text,tags:[text]}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape(Box<str>);

impl Shape {
    /// The shape of a request with this method, path template of its route, query without its `?`, and
    /// body where there is one; a body that is not known is none.
    #[must_use]
    pub fn new(method: &str, template: &str, query: Option<&str>, body: Option<&[u8]>) -> Self {
        let mut text = format!("{method} {template}");
        let query = query.unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
        let names: BTreeSet<&str> = query.filter(|name| !name.is_empty()).collect();
        for (index, name) in names.iter().take(MAX_QUERY_NAMES).enumerate() {
            text.push(if index == 0 { '?' } else { '&' });
            text.push_str(name);
        }
        if let Some(body) = body.filter(|body| !body.is_empty()) {
            text.push(' ');
            match std::str::from_utf8(body).ok().map(|body| json::parse(body, BOUNDS)) {
                Some(Ok(node)) => skeleton(&node, MAX_DEPTH, &mut text),
                _ => text.push_str("(no JSON)"),
            }
        }
        Self(bounded(&text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Lists are told by the different skeletons among their elements.
fn skeleton(node: &Node<'_>, depth: usize, text: &mut String) {
    match node {
        Node::Null => text.push_str("null"),
        Node::Bool(_) => text.push_str("bool"),
        Node::Number(_) => text.push_str("number"),
        Node::Text(_) => text.push_str("text"),
        Node::List(_) | Node::Object(_) if depth == 0 => text.push('…'),
        Node::List(elements) => {
            let kinds: BTreeSet<String> = elements
                .iter()
                .take(MAX_ELEMENTS)
                .map(|element| {
                    let mut text = String::new();
                    skeleton(element, depth - 1, &mut text);
                    text
                })
                .collect();
            text.push('[');
            text.push_str(&kinds.into_iter().collect::<Vec<_>>().join("|"));
            text.push(']');
        }
        Node::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(one, _), (two, _)| one.cmp(two));
            text.push('{');
            for (index, (name, member)) in members.iter().take(MAX_MEMBERS).enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(name);
                text.push(':');
                skeleton(member, depth - 1, text);
            }
            text.push_str(if members.len() > MAX_MEMBERS { ",…}" } else { "}" });
        }
    }
}

/// With the digest of what is cut off, so that two long shapes stay two.
fn bounded(text: &str) -> Box<str> {
    if text.len() <= MAX_SHAPE_BYTES {
        return text.into();
    }
    let digest = blake3::hash(text.as_bytes()).to_hex();
    let kept = &text[..text.floor_char_boundary(MAX_SHAPE_BYTES - 20)];
    format!("{kept}…{}", &digest[..16]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_names_and_types_and_no_values() {
        let body = br#"{"tags":["a","b",1],"name":"x","deep":{"a":{"b":{"c":{"d":1}}}},"on":true,"off":null}"#;
        let shape = Shape::new("POST", "/functions/{id}", Some("offset=1&limit=2&limit=3&&=x"), Some(body));
        let expected =
            "POST /functions/{id}?limit&offset {deep:{a:{b:{c:…}}},name:text,off:null,on:bool,tags:[number|text]}";
        assert_eq!(shape.as_str(), expected);
        assert_eq!(
            shape,
            Shape::new("POST", "/functions/{id}", Some("limit=9&offset="), Some(&body.to_ascii_lowercase()))
        );
        assert_ne!(shape, Shape::new("POST", "/functions/{id}", None, Some(body)));
        assert_eq!(Shape::new("GET", "/a", None, Some(b"")).as_str(), "GET /a");
        assert_eq!(Shape::new("PUT", "/a", None, Some(b"\xff")).as_str(), "PUT /a (no JSON)");
    }

    #[test]
    fn a_shape_has_a_bound_and_long_ones_stay_apart() {
        let long = |last: &str| Shape::new("GET", "/a", Some(&format!("{}{last}", "ä".repeat(2_000))), None);
        assert!(long("a").as_str().len() <= MAX_SHAPE_BYTES);
        assert_ne!(long("a"), long("b"));
    }
}
