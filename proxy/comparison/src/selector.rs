//! The paths that rules are written with: a subset of JSONPath (RFC 9535), and names for what is not
//! in the body.
//!
//! ```text
//! $              the whole body                 $.a  $['b c']   a member
//! [0]            an element                     [*]  .*         every element or member
//! ..name         the member `name`, at any depth below
//! status         the status code                headers['name'] a header field
//! ```
//! Filters, slices, negative indices and unions are not in it.

use std::fmt;

use crate::path::{Step, is_plain};

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Status,
    /// In lower case.
    Header(String),
    Body(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Name(String),
    Index(usize),
    /// Every element and every member.
    Any,
    /// A member of this name, any number of steps down.
    Below(String),
}

/// Why a path is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorProblem {
    /// It is neither `status` nor `headers['…']` nor starts with `$`.
    #[error("it starts neither with `$` nor with `headers[`, and is not `status`")]
    Start,
    /// What follows here is no step that is known.
    #[error("`{0}` is no step of a path")]
    Step(String),
    /// It is longer than any useful path.
    #[error("it is longer than {MAX_SELECTOR_BYTES} bytes or has more than {MAX_PARTS} steps")]
    TooLong,
}

/// The longest path of a rule.
pub const MAX_SELECTOR_BYTES: usize = 1_024;
const MAX_PARTS: usize = 64;

impl Selector {
    /// Reads a path.
    ///
    /// # Errors
    /// When it is not in the subset that the module describes.
    pub fn parse(text: &str) -> Result<Self, SelectorProblem> {
        if text.len() > MAX_SELECTOR_BYTES {
            return Err(SelectorProblem::TooLong);
        }
        let target = if text == "status" {
            Target::Status
        } else if let Some(rest) = text.strip_prefix("headers") {
            match bracket(rest)? {
                (Part::Name(name), "") => Target::Header(name.to_ascii_lowercase()),
                _ => return Err(SelectorProblem::Step(rest.to_owned())),
            }
        } else {
            Target::Body(parts(text.strip_prefix('$').ok_or(SelectorProblem::Start)?)?)
        };
        Ok(Self { text: text.to_owned(), target })
    }

    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether this is about this place in the body.
    pub(crate) fn is_at(&self, path: &[Step<'_>]) -> bool {
        matches!(&self.target, Target::Body(parts) if is_at(parts, path))
    }

    /// Whether this is about this place in the body or about one that it is inside of.
    pub(crate) fn covers(&self, path: &[Step<'_>]) -> bool {
        matches!(&self.target, Target::Body(parts) if covers(parts, path))
    }

    pub(crate) fn is_header(&self, name: &str) -> bool {
        matches!(&self.target, Target::Header(selected) if selected == name)
    }

    pub(crate) fn is_status(&self) -> bool {
        self.target == Target::Status
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub(crate) fn is_at(parts: &[Part], path: &[Step<'_>]) -> bool {
    matches(parts, path, false)
}

fn covers(parts: &[Part], path: &[Step<'_>]) -> bool {
    matches(parts, path, true)
}

/// Only `..` has to try again, and then it is enough to go back to the last one: what an earlier one
/// could skip, a later one can too. So the time is bounded by parts × steps.
fn matches(parts: &[Part], path: &[Step<'_>], prefix: bool) -> bool {
    let (mut part, mut step) = (0, 0);
    let mut resume = None;
    loop {
        if part == parts.len() && (prefix || step == path.len()) {
            return true;
        }
        let agreed = match (parts.get(part), path.get(step)) {
            (Some(Part::Below(name)), Some(found)) => {
                resume = Some((part, step + 1));
                *found == Step::Name(name)
            }
            (Some(Part::Name(name)), Some(found)) => *found == Step::Name(name),
            (Some(Part::Index(index)), Some(found)) => *found == Step::Index(*index),
            (Some(Part::Any), Some(_)) => true,
            _ => false,
        };
        (part, step) = if agreed {
            (part + 1, step + 1)
        } else {
            // `..` takes one step more before its name.
            match resume {
                Some(again) if again.1 < path.len() => again,
                _ => return false,
            }
        };
    }
}

fn parts(mut rest: &str) -> Result<Vec<Part>, SelectorProblem> {
    let mut parts = Vec::new();
    while !rest.is_empty() {
        if parts.len() == MAX_PARTS {
            return Err(SelectorProblem::TooLong);
        }
        let (part, after) = if let Some(below) = rest.strip_prefix("..") {
            match below.starts_with('[').then(|| bracket(below)) {
                Some(Ok((Part::Name(name), after))) => (Part::Below(name), after),
                Some(_) => return Err(SelectorProblem::Step(rest.to_owned())),
                None => name(below).map(|(name, after)| (Part::Below(name), after))?,
            }
        } else if let Some(after) = rest.strip_prefix(".*") {
            (Part::Any, after)
        } else if let Some(dotted) = rest.strip_prefix('.') {
            name(dotted).map(|(name, after)| (Part::Name(name), after))?
        } else {
            bracket(rest)?
        };
        parts.push(part);
        rest = after;
    }
    Ok(parts)
}

fn name(text: &str) -> Result<(String, &str), SelectorProblem> {
    let (name, after) = text.split_at(text.find(['.', '[']).unwrap_or(text.len()));
    // Letters beyond ASCII may follow a dot too.
    let plain = |name: &str| is_plain(&name.replace(|c: char| !c.is_ascii(), "_"));
    if plain(name) { Ok((name.to_owned(), after)) } else { Err(SelectorProblem::Step(format!(".{text}"))) }
}

/// `[3]`, `[*]`, `['name']`, `["name"]`.
fn bracket(text: &str) -> Result<(Part, &str), SelectorProblem> {
    let wrong = || SelectorProblem::Step(text.to_owned());
    let inner = text.strip_prefix('[').ok_or_else(wrong)?;
    if let Some(quote) = inner.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let (name, after) = quoted(&inner[1..], quote).ok_or_else(wrong)?;
        return Ok((Part::Name(name), after.strip_prefix(']').ok_or_else(wrong)?));
    }
    let (inside, after) = inner.split_once(']').ok_or_else(wrong)?;
    if inside == "*" {
        return Ok((Part::Any, after));
    }
    let canonical = inside == "0" || !inside.starts_with('0');
    let digits = canonical && inside.bytes().all(|byte| byte.is_ascii_digit());
    let index = inside.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
    Ok((Part::Index(index), after))
}

/// The name up to the closing quote; a backslash makes the next character part of it, and `\u` with
/// four digits stands for a character.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            c if c == quote => return Some((name, characters.as_str())),
            '\\' => match characters.next()? {
                'u' => {
                    let digits = characters.as_str().get(..4)?;
                    name.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                    characters = characters.as_str()[4..].chars();
                }
                c => name.push(c),
            },
            c => name.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Path;

    fn selects(selector: &str, path: &[Step<'_>]) -> bool {
        Selector::parse(selector).unwrap().is_at(path)
    }

    #[test]
    fn a_selector_is_about_its_place_and_no_neighbour() {
        use Step::{Index, Name};
        let path = [Name("items"), Index(3), Name("b c")];
        for selector in [
            "$.items[3]['b c']",
            "$.items[*]['b c']",
            "$..['b c']",
            "$['items'].*[\"b c\"]",
            "$.*.*.*",
            "$..items[3].*",
        ] {
            assert!(selects(selector, &path), "{selector}");
        }
        for selector in
            ["$", "$.items", "$.items[3]", "$.items[2]['b c']", "$.items[*].b", "$..b", "$..items", "$.item[3]['b c']"]
        {
            assert!(!selects(selector, &path), "{selector}");
        }
        assert!(Selector::parse("$.items").unwrap().covers(&path) && Selector::parse("$").unwrap().covers(&path));
        assert!(!Selector::parse("$.item").unwrap().covers(&path));
        assert!(Selector::parse("$..items").unwrap().covers(&path));
    }

    #[test]
    fn a_name_below_is_found_at_any_depth() {
        use Step::{Index, Name};
        assert!(selects("$..id", &[Name("id")]) && selects("$..id", &[Name("a"), Index(0), Name("id")]));
        assert!(selects("$..a..b.c", &[Name("a"), Name("x"), Name("a"), Name("b"), Name("b"), Name("c")]));
        assert!(selects("$.x..a[0]", &[Name("x"), Name("a"), Name("a"), Index(0)]));
        assert!(!selects("$..a.b", &[Name("a"), Name("c"), Name("b")]));
        assert!(!selects("$..id", &[Name("id"), Name("a")]) && !selects("$..id", &[]));
    }

    #[test]
    fn a_rendered_path_selects_itself() {
        let path = [Step::Name("it's"), Step::Index(0), Step::Name("ä b\u{1}"), Step::Name("")];
        assert!(selects(Path::body(&path).as_str(), &path));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "a",
            "$a",
            "$.",
            "$..",
            "$[",
            "$[]",
            "$[01]",
            "$[-1]",
            "$[1:2]",
            "$[?@.a]",
            "$['a",
            "$['a'",
            "$.a b",
            "$.1",
            "headers",
            "headers[0]",
            "headers['a'].b",
            "$[99999999999999999999999]",
            "$...a",
            "statuses",
        ] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
        assert!(Selector::parse(&format!("${}", ".a".repeat(65))).is_err());
        assert!(Selector::parse("headers['X-A']").unwrap().is_header("x-a"));
    }
}
