//! Headers that a route sets, adds and removes.
//!
//! What frames a message, belongs to one connection, or is the gateway's own word cannot be edited:
//! a second opinion on those is how a request comes to be read in two ways.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, header};
use pingora::{
    Result,
    http::{RequestHeader, ResponseHeader},
};

use crate::forwarding;

/// Belong to one connection (RFC 9110 section 7.6.1), frame the message, or say whom it is for.
const NOT_OURS_TO_EDIT: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("http2-settings"),
];

/// The edits, in the order in which they are made: removed, set, added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

/// Why an edit is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// No header can have this name.
    #[error("it is no header name")]
    MalformedName,
    /// No header can have this value.
    #[error("a header's value holds visible characters, spaces and tabs only")]
    MalformedValue,
    /// It frames the message, belongs to the connection or names the host.
    #[error("it frames the message, belongs to the connection or names the host")]
    Framing,
    /// The gateway sets it.
    #[error("the gateway sets it itself")]
    Ours,
}

impl HeaderEdits {
    /// Reads edits. Each problem comes with the key of its setting, such as `set."x-a"`.
    pub fn read(
        set: &BTreeMap<String, String>,
        add: &BTreeMap<String, String>,
        remove: &[String],
        mut problem: impl FnMut(String, HeaderProblem),
    ) -> Self {
        let mut pairs = |kind: &str, texts: &BTreeMap<String, String>| {
            let read = |(name, value): (&String, &String)| {
                let pair = editable(name).and_then(|header| Ok((header, text_value(value)?)));
                pair.map_err(|why| problem(format!("{kind}.{name:?}"), why)).ok()
            };
            texts.iter().filter_map(read).collect()
        };
        let (set, add) = (pairs("set", set), pairs("add", add));
        let removed = remove
            .iter()
            .enumerate()
            .filter_map(|(index, name)| editable(name).map_err(|why| problem(format!("remove[{index}]"), why)).ok());
        Self { remove: removed.collect(), set, add }
    }

    /// Edits a request on its way to the upstream.
    pub(crate) fn edit_request(&self, request: &mut RequestHeader) -> Result<()> {
        for name in &self.remove {
            request.remove_header(name);
        }
        for (name, value) in &self.set {
            request.insert_header(name.clone(), value.clone())?;
        }
        for (name, value) in &self.add {
            request.append_header(name.clone(), value.clone())?;
        }
        Ok(())
    }

    /// Edits an answer on its way to the client.
    pub(crate) fn edit_answer(&self, answer: &mut ResponseHeader) -> Result<()> {
        for name in &self.remove {
            answer.remove_header(name);
        }
        for (name, value) in &self.set {
            answer.insert_header(name.clone(), value.clone())?;
        }
        for (name, value) in &self.add {
            answer.append_header(name.clone(), value.clone())?;
        }
        Ok(())
    }
}

fn editable(name: &str) -> Result<HeaderName, HeaderProblem> {
    let header: HeaderName = name.parse().map_err(|_| HeaderProblem::MalformedName)?;
    if NOT_OURS_TO_EDIT.contains(&header) {
        Err(HeaderProblem::Framing)
    } else if forwarding::is_ours(&header) {
        Err(HeaderProblem::Ours)
    } else {
        Ok(header)
    }
}

fn text_value(text: &str) -> Result<HeaderValue, HeaderProblem> {
    // A header value has no line breaks and no zero bytes. Space at the ends
    // would be lost on the way.
    let trimmed = text.trim_matches([' ', '\t']) == text;
    text.parse().ok().filter(|_| trimmed && text.is_ascii()).ok_or(HeaderProblem::MalformedValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)], remove: &[&str]) -> (HeaderEdits, Vec<(String, HeaderProblem)>) {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let remove: Vec<String> = remove.iter().map(|name| (*name).to_owned()).collect();
        let mut problems = Vec::new();
        let edits = HeaderEdits::read(&set, &BTreeMap::new(), &remove, |key, why| problems.push((key, why)));
        (edits, problems)
    }

    #[test]
    fn edits_are_made_in_order() {
        let texts = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let (set, add) = (texts("x-a", "1"), texts("x-a", "2"));
        let remove = ["X-A".to_owned(), "x-b".to_owned()];
        let edits = HeaderEdits::read(&set, &add, &remove, |key, why| panic!("{key}: {why}"));
        let mut request = RequestHeader::build("GET", b"/", None).expect("a good request");
        for (name, value) in [("x-a", "old"), ("x-a", "older"), ("x-b", "old"), ("x-c", "kept")] {
            request.append_header(name, value).expect("a good header");
        }
        edits.edit_request(&mut request).expect("good edits");
        let all =
            |name: &str| request.headers.get_all(name).iter().map(|v| v.to_str().unwrap_or("")).collect::<Vec<_>>();
        assert_eq!((all("x-a"), all("x-b"), all("x-c")), (vec!["1", "2"], vec![], vec!["kept"]));
    }

    #[test]
    fn what_cannot_be_edited_is_refused() {
        use HeaderProblem::{Framing, MalformedName, MalformedValue, Ours};
        for (name, why) in [
            ("", MalformedName),
            ("a b", MalformedName),
            ("a\r\nb", MalformedName),
            (":path", MalformedName),
            ("Connection", Framing),
            ("transfer-encoding", Framing),
            ("Content-Length", Framing),
            ("host", Framing),
            ("upgrade", Framing),
            ("X-Forwarded-For", Ours),
            ("x-request-id", Ours),
            ("traceparent", Ours),
            ("x-served-by", Ours),
        ] {
            assert_eq!(read(&[(name, "1")], &[]).1, [(format!("set.{name:?}"), why)], "{name}");
            assert_eq!(read(&[], &[name]).1, [("remove[0]".to_owned(), why)], "{name}");
        }
        for value in ["a\r\nb: c", "a\nb", "a\0", " a", "a\t", "caf\u{e9}", "\u{7f}"] {
            assert_eq!(read(&[("x-a", value)], &[]).1, [("set.\"x-a\"".to_owned(), MalformedValue)], "{value:?}");
        }
        assert!(read(&[("x-a", "a b\tc"), ("x-b", "")], &["cookie"]).1.is_empty());
    }
}
