//! Values as text again, for people: cut at a bound, with secrets hidden.

use std::borrow::Cow;

use super::Node;
use crate::{difference::cut, path::Step};

/// The JSON text of a value, of about `most` bytes at most; `hidden` says what is written instead of
/// a value at a path.
pub(crate) fn render<'a>(
    node: &'a Node<'_>,
    path: &mut Vec<Step<'a>>,
    most: usize,
    hidden: &impl Fn(&[Step<'a>]) -> Option<&'static str>,
) -> String {
    let mut out = Renderer { text: String::new(), most, hidden };
    out.value(node, path);
    // A single text may be longer than what is left.
    cut(&out.text, most).into_owned()
}

struct Renderer<'h, H> {
    text: String,
    most: usize,
    hidden: &'h H,
}

impl<'a, H: Fn(&[Step<'a>]) -> Option<&'static str>> Renderer<'_, H> {
    fn value(&mut self, node: &'a Node<'_>, path: &mut Vec<Step<'a>>) {
        if let Some(instead) = (self.hidden)(path) {
            return self.quoted(instead);
        }
        match node {
            Node::Null => self.text.push_str("null"),
            Node::Bool(true) => self.text.push_str("true"),
            Node::Bool(false) => self.text.push_str("false"),
            Node::Number(text) => self.text.push_str(text),
            Node::Text(text) => self.quoted(text),
            Node::List(elements) => {
                self.text.push('[');
                for (index, element) in elements.iter().enumerate() {
                    self.part(index, None, Step::Index(index), element, path);
                    if self.is_full() {
                        return;
                    }
                }
                self.text.push(']');
            }
            Node::Object(members) => {
                self.text.push('{');
                for (index, (name, member)) in members.iter().enumerate() {
                    self.part(index, Some(name), Step::Name(name), member, path);
                    if self.is_full() {
                        return;
                    }
                }
                self.text.push('}');
            }
        }
    }

    fn part(&mut self, index: usize, name: Option<&str>, step: Step<'a>, node: &'a Node<'_>, path: &mut Vec<Step<'a>>) {
        if index > 0 {
            self.text.push(',');
        }
        if let Some(name) = name {
            self.quoted(name);
            self.text.push(':');
        }
        path.push(step);
        self.value(node, path);
        path.pop();
    }

    fn is_full(&self) -> bool {
        self.text.len() > self.most
    }

    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        for c in cut(text, self.most.saturating_add(1)).chars() {
            match escaped(c) {
                Some(escape) => self.text.push_str(&escape),
                None => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

fn escaped(c: char) -> Option<Cow<'static, str>> {
    Some(match c {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        c if c < ' ' => format!("\\u{:04x}", u32::from(c)).into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Bounds, parse},
        *,
    };

    #[test]
    fn a_value_is_rendered_as_it_was_but_for_secrets_and_spaces() {
        let text = r#"{"a": [1.50, "x\"\n\u0001", null, true], "key": {"b": 1}}"#;
        let node = parse(text, Bounds { depth: 9, nodes: 99 }).unwrap();
        let hidden = |path: &[Step<'_>]| (path.last() == Some(&Step::Name("key"))).then_some("hidden");
        let rendered = render(&node, &mut Vec::new(), 1_000, &hidden);
        assert_eq!(rendered, r#"{"a":[1.50,"x\"\n\u0001",null,true],"key":"hidden"}"#);
        assert_eq!(render(&node, &mut Vec::new(), 10, &hidden), r#"{"a":[1.50…"#);
    }
}
