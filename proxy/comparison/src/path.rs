//! Where in an answer a difference is.

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};

/// The longest text of a path; what is longer ends in `…`. Names come from answers, so they have no
/// bound of their own.
pub const MAX_PATH_BYTES: usize = 512;

/// One step down into a JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

/// Where in an answer something is: `status`, `headers['content-type']`, or a path into the body in
/// the notation of RFC 9535, `$.items[3].name`, `$['two words']`. A body that is not JSON is `$`.
///
/// Two paths are equal when their texts are; texts of over [`MAX_PATH_BYTES`] are cut.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    text: Box<str>,
    general: Box<str>,
}

impl Path {
    /// The status code.
    pub(crate) fn status() -> Self {
        Self { text: "status".into(), general: "status".into() }
    }

    /// A header field.
    pub(crate) fn header(name: &str) -> Self {
        let mut text = Bounded::default();
        let _ = write!(text, "headers[{}]", Quoted(name));
        let text = text.finish();
        Self { general: text.clone(), text }
    }

    /// A place in the body.
    pub(crate) fn body(steps: &[Step<'_>]) -> Self {
        Self { text: rendered(steps, true), general: general(steps) }
    }

    /// The path itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path with `[*]` for every index: what all elements of a list have in common.
    #[must_use]
    pub fn general(&self) -> &str {
        &self.general
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// A place in the body with `[*]` for every index.
pub(crate) fn general(steps: &[Step<'_>]) -> Box<str> {
    rendered(steps, false)
}

fn rendered(steps: &[Step<'_>], indices: bool) -> Box<str> {
    let mut text = Bounded::default();
    // A failed write is a full text.
    let _ = write_steps(&mut text, steps, indices);
    text.finish()
}

fn write_steps(text: &mut Bounded, steps: &[Step<'_>], indices: bool) -> fmt::Result {
    text.write_char('$')?;
    for step in steps {
        match step {
            Step::Index(index) if indices => write!(text, "[{index}]")?,
            Step::Index(_) => text.write_str("[*]")?,
            Step::Name(name) if is_plain(name) => write!(text, ".{name}")?,
            Step::Name(name) => write!(text, "[{}]", Quoted(name))?,
        }
    }
    Ok(())
}

/// Whether a name may follow a dot: RFC 9535, member-name-shorthand, of ASCII only.
pub(crate) fn is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A name in single quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('\'')?;
        for c in self.0.chars() {
            match c {
                '\'' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('\'')
    }
}

#[derive(Default)]
struct Bounded(String, bool);

impl Bounded {
    fn finish(mut self) -> Box<str> {
        if self.1 {
            self.0.push('…');
        }
        self.0.into()
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_PATH_BYTES.saturating_sub(self.0.len());
        let fits = text.floor_char_boundary(room);
        self.0.push_str(&text[..fits]);
        self.1 = fits < text.len();
        if self.1 { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_a_dot_would_not_do() {
        let steps = [Step::Name("items"), Step::Index(3), Step::Name("it's b\n"), Step::Name("9")];
        let path = Path::body(&steps);
        assert_eq!(path.as_str(), r"$.items[3]['it\'s b\u000a']['9']");
        assert_eq!(path.general(), r"$.items[*]['it\'s b\u000a']['9']");
    }

    #[test]
    fn a_path_has_a_bound() {
        let name = "ä".repeat(4_000);
        let path = Path::body(&[Step::Name(&name), Step::Index(1)]);
        assert!(path.as_str().len() <= MAX_PATH_BYTES + '…'.len_utf8() && path.as_str().ends_with('…'));
    }
}
