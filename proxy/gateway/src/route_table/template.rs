//! Path templates: `/api/v1/functions/{id}/invoke`, `/webhooks/{*path}`.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Exactly this text.
    Literal(String),
    /// `{name}`: any one segment.
    Parameter(String),
    /// `{*name}`: whatever is left, which may be nothing. Only at the end.
    Rest(String),
}

/// A path with named holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    segments: Vec<Segment>,
}

/// Why a template is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateProblem {
    /// It does not start with a slash.
    #[error("the template must start with a slash")]
    NotAbsolute,
    /// `//`, or a slash at the end.
    #[error("the template has an empty segment or ends with a slash")]
    EmptySegment,
    /// Braces that do not enclose a whole segment, or a name that is no identifier.
    #[error("`{0}` is neither plain text nor a parameter such as {{id}} or {{*rest}}")]
    MalformedSegment(String),
    /// Two parameters of one name.
    #[error("the parameter `{0}` appears twice")]
    RepeatedParameter(String),
    /// `{*rest}` before the end.
    #[error("`{{*{0}}}` takes the rest of the path, so it must be the last segment")]
    RestNotLast(String),
}

impl Template {
    /// The template for this prefix (itself a template) and everything below it: `/files` becomes
    /// `/files/{*rest}`, which takes `/files/a` and `/files`, but not `/filesystem`.
    ///
    /// # Errors
    /// When the prefix is no template, takes the rest of the path itself, or names a parameter `rest`.
    pub fn below(prefix: &str) -> Result<Self, TemplateProblem> {
        format!("{}/{{*rest}}", prefix.strip_suffix('/').unwrap_or(prefix)).parse()
    }

    /// The template as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Where the parameter stands: the index of its segment, and whether it takes the rest.
    pub(crate) fn position(&self, parameter: &str) -> Option<(usize, bool)> {
        self.segments.iter().enumerate().find_map(|(index, segment)| match segment {
            Segment::Parameter(name) if name == parameter => Some((index, false)),
            Segment::Rest(name) if name == parameter => Some((index, true)),
            _ => None,
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Template {
    type Err = TemplateProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = text.strip_prefix('/').ok_or(TemplateProblem::NotAbsolute)?;
        let mut segments = Vec::new();
        let mut names = BTreeSet::new();
        for raw in inner.split('/').filter(|_| !inner.is_empty()) {
            if let Some(Segment::Rest(name)) = segments.last() {
                return Err(TemplateProblem::RestNotLast(name.clone()));
            }
            let segment = read_segment(raw)?;
            if let Segment::Parameter(name) | Segment::Rest(name) = &segment
                && !names.insert(name.clone())
            {
                return Err(TemplateProblem::RepeatedParameter(name.clone()));
            }
            segments.push(segment);
        }
        Ok(Self { text: text.to_owned(), segments })
    }
}

fn read_segment(raw: &str) -> Result<Segment, TemplateProblem> {
    let malformed = || TemplateProblem::MalformedSegment(raw.to_owned());
    if raw.is_empty() {
        return Err(TemplateProblem::EmptySegment);
    }
    let Some(hole) = raw.strip_prefix('{').and_then(|opened| opened.strip_suffix('}')) else {
        let plain = raw.bytes().all(|b| b.is_ascii_graphic() && !b"{}%\\?#;".contains(&b)) && raw != "." && raw != "..";
        return if plain { Ok(Segment::Literal(raw.to_owned())) } else { Err(malformed()) };
    };
    let (name, rest) = hole.strip_prefix('*').map_or((hole, false), |name| (name, true));
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match (named, rest) {
        (false, _) => Err(malformed()),
        (true, true) => Ok(Segment::Rest(name.to_owned())),
        (true, false) => Ok(Segment::Parameter(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_templates_keep_their_text() {
        for text in ["/", "/health", "/api/v1/functions/{id}/invoke", "/webhooks/{*path}", "/{*rest}"] {
            assert_eq!(text.parse::<Template>().map(|template| template.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_prefix_is_a_template_with_a_rest() {
        use TemplateProblem::*;
        for (prefix, template) in [
            ("/", Ok("/{*rest}")),
            ("/files", Ok("/files/{*rest}")),
            ("/files/", Ok("/files/{*rest}")),
            ("/t/{id}/files", Ok("/t/{id}/files/{*rest}")),
            ("files", Err(NotAbsolute)),
            ("/files//", Err(EmptySegment)),
            ("/files/{*path}", Err(RestNotLast("path".into()))),
            ("/{rest}", Err(RepeatedParameter("rest".into()))),
        ] {
            assert_eq!(Template::below(prefix).as_ref().map(Template::as_str), template.as_ref().copied(), "{prefix}");
        }
    }

    #[test]
    fn bad_templates_say_why() {
        use TemplateProblem::*;
        for (text, problem) in [
            ("health", NotAbsolute),
            ("/a//b", EmptySegment),
            ("/a/", EmptySegment),
            ("/a/{id", MalformedSegment("{id".into())),
            ("/a/x{id}", MalformedSegment("x{id}".into())),
            ("/a/{}", MalformedSegment("{}".into())),
            ("/a/{b-c}", MalformedSegment("{b-c}".into())),
            ("/a/%2e", MalformedSegment("%2e".into())),
            ("/a/..", MalformedSegment("..".into())),
            ("/{id}/{id}", RepeatedParameter("id".into())),
            ("/{*rest}/a", RestNotLast("rest".into())),
        ] {
            assert_eq!(text.parse::<Template>(), Err(problem), "{text}");
        }
    }
}
