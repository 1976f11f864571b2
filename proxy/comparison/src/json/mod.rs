//! JSON as it must be read to be compared: numbers as they are written, members that appear twice,
//! and bounds on depth and size. `serde_json` would give numbers as floats and keep the last of two
//! members.

mod number;
mod parser;
mod render;

use std::borrow::Cow;

pub(crate) use number::Decimal;
pub(crate) use parser::{Bounds, ParseError, parse};
pub(crate) use render::render;

/// A JSON value that borrows from its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    /// As it is written (RFC 8259, section 6).
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// In the order of the text, with members that appear twice.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl Node<'_> {
    /// Whether it has no parts.
    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Object(_))
    }

    /// Whether both are of one JSON type.
    pub(crate) fn same_type(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The text that patterns are matched with.
    pub(crate) fn pattern_text(&self) -> Option<&str> {
        match self {
            Self::Number(text) => Some(text),
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}
