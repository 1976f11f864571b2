//! The path that an upstream sees in place of the client's.

use std::{fmt::Write as _, str::FromStr};

use http::{Uri, uri::PathAndQuery};

use super::template::{Segment, Template, TemplateProblem};
use crate::request_path::RequestPath;

/// A path made from the parameters of a route's template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The request's segment at this index.
    Segment(usize),
    /// Every segment of the request from this index on.
    Rest(usize),
}

/// Why a rewrite is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteProblem {
    /// The text is no template.
    #[error("{0}")]
    Malformed(#[from] TemplateProblem),
    /// It uses a parameter that the route's path does not have.
    #[error("the route's path has no parameter `{0}`")]
    UnknownParameter(String),
    /// `{*name}` for a parameter of one segment, or `{name}` for the rest of the path.
    #[error("`{0}` is written as {1} in the route's path")]
    OtherKind(String, &'static str),
}

impl Rewrite {
    /// Reads a rewrite such as `/v2/{id}/{*rest}` for a route with this template.
    ///
    /// # Errors
    /// When it is no template, or uses what the route's template does not have.
    pub fn parse(text: &str, template: &Template) -> Result<Self, RewriteProblem> {
        let written = Template::from_str(text)?;
        let part = |segment: &Segment| {
            let (name, rest) = match segment {
                Segment::Literal(text) => return Ok(Part::Text(text.clone())),
                Segment::Parameter(name) => (name, false),
                Segment::Rest(name) => (name, true),
            };
            match template.position(name) {
                None => Err(RewriteProblem::UnknownParameter(name.clone())),
                Some((index, false)) if !rest => Ok(Part::Segment(index)),
                Some((index, true)) if rest => Ok(Part::Rest(index)),
                Some((_, true)) => Err(RewriteProblem::OtherKind(name.clone(), "{*NAME}")),
                Some((_, false)) => Err(RewriteProblem::OtherKind(name.clone(), "{NAME}")),
            }
        };
        Ok(Self { parts: written.segments().iter().map(part).collect::<Result<_, _>>()? })
    }

    /// The target for a request with this path, which the route's template matched. The query and a
    /// slash at the path's end stay as the client sent them. Each segment is encoded anew, so that
    /// it stays one segment whatever it holds, and reads as what was matched.
    #[must_use]
    pub fn apply(&self, path: &RequestPath<'_>, query: Option<&str>) -> Uri {
        let mut target = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    target.push('/');
                    target.push_str(text);
                }
                Part::Segment(index) => path.segments().get(*index).into_iter().for_each(|one| push(&mut target, one)),
                Part::Rest(index) => path.segments().iter().skip(*index).for_each(|one| push(&mut target, one)),
            }
        }
        if target.is_empty() || path.ends_with_slash() {
            target.push('/');
        }
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        let target = PathAndQuery::try_from(target);
        Uri::from(target.expect("a slash, encoded segments and the query of a valid target make a target"))
    }
}

/// Adds a slash and the segment, with every byte escaped that may mean something to somebody: all
/// but the unreserved characters of RFC 3986 section 2.3 and a few that paths often hold.
fn push(target: &mut String, segment: &str) {
    target.push('/');
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$'()*+,=:@&".contains(&byte) {
            target.push(char::from(byte));
        } else {
            write!(target, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewritten(route: &str, rewrite: &str, path: &str, query: Option<&str>) -> String {
        let template: Template = route.parse().expect("a good template");
        let path = RequestPath::parse(path).expect("a good path");
        Rewrite::parse(rewrite, &template).expect("a good rewrite").apply(&path, query).to_string()
    }

    #[test]
    fn parameters_are_put_in_place() {
        for (route, rewrite, path, query, expected) in [
            ("/f/{id}", "/v2/{id}/run", "/f/7", None, "/v2/7/run"),
            ("/f/{id}", "/v2/{id}/run", "/f/7/", Some("a=%2f&b"), "/v2/7/run/?a=%2f&b"),
            ("/{a}/{b}", "/{b}/{a}", "/1/2", Some(""), "/2/1?"),
            ("/old/{*rest}", "/new/{*rest}", "/old/a/b", None, "/new/a/b"),
            ("/old/{*rest}", "/new/{*rest}", "/old", None, "/new"),
            ("/old/{*rest}", "/{*rest}", "/old/", None, "/"),
            ("/old/{*rest}", "/", "/old/a", None, "/"),
            ("/f/{id}", "/{id}", "/f/%3fa%23b%25c%20d", None, "/%3Fa%23b%25c%20d"),
            ("/f/{id}", "/{id}", "/f/caf%C3%A9:@", None, "/caf%C3%A9:@"),
        ] {
            assert_eq!(rewritten(route, rewrite, path, query), expected, "{route} {rewrite} {path}");
        }
    }

    #[test]
    fn bad_rewrites_say_why() {
        let template: Template = "/a/{id}/{*rest}".parse().expect("a good template");
        for (text, shown) in [
            ("a", "must start with a slash"),
            ("/{name}", "no parameter `name`"),
            ("/{*id}", "`id` is written as {NAME}"),
            ("/{rest}", "`rest` is written as {*NAME}"),
        ] {
            let problem = Rewrite::parse(text, &template).expect_err("it is bad").to_string();
            assert!(problem.contains(shown), "{text}: {problem}");
        }
    }

    proptest! {
        /// What the upstream reads in a rewritten path is what the gateway matched.
        #[test]
        fn a_rewritten_path_reads_as_what_was_matched(path in "/f(/([a-z.%/;?#&+:@ -é]|%[2-7][0-9a-f]|%c3%a9){0,8}){0,4}") {
            let Ok(read) = RequestPath::parse(&path) else { return Ok(()) };
            let template: Template = "/f/{*rest}".parse().expect("a good template");
            let target = Rewrite::parse("/new/{*rest}", &template).expect("a good rewrite").apply(&read, None);
            let again = RequestPath::parse(target.path()).expect("a rewritten path is good");
            prop_assert_eq!(&again.segments()[1..], &read.segments()[1..]);
            prop_assert_eq!(again.ends_with_slash(), read.ends_with_slash());
        }
    }
}
