//! The parser: RFC 8259 as `serde_json` has it, within bounds.

use std::borrow::Cow;

use super::Node;

/// What a document may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Lists and objects inside each other.
    pub(crate) depth: usize,
    /// Values in all.
    pub(crate) nodes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParseError {
    NotJson,
    OverBounds,
}

/// Reads a whole document.
pub(crate) fn parse(text: &str, bounds: Bounds) -> Result<Node<'_>, ParseError> {
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, depth: bounds.depth, nodes: bounds.nodes };
    parser.skip_space();
    let node = parser.value()?;
    parser.skip_space();
    if parser.at == text.len() { Ok(node) } else { Err(ParseError::NotJson) }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// What is left of the bounds.
    depth: usize,
    nodes: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Node<'a>, ParseError> {
        self.nodes = self.nodes.checked_sub(1).ok_or(ParseError::OverBounds)?;
        match self.peek() {
            Some(b'{') => self.inside(Self::object),
            Some(b'[') => self.inside(Self::list),
            Some(b'"') => Ok(Node::Text(self.string()?)),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            _ => self.number(),
        }
    }

    /// The recursion is as deep as the bound.
    fn inside(&mut self, read: fn(&mut Self) -> Result<Node<'a>, ParseError>) -> Result<Node<'a>, ParseError> {
        self.depth = self.depth.checked_sub(1).ok_or(ParseError::OverBounds)?;
        self.at += 1;
        self.skip_space();
        let node = read(self)?;
        self.depth += 1;
        Ok(node)
    }

    fn list(&mut self) -> Result<Node<'a>, ParseError> {
        let mut elements = Vec::new();
        if self.take(b']') {
            return Ok(Node::List(elements));
        }
        loop {
            elements.push(self.value()?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Node::List(elements));
            }
            self.separator(b',')?;
        }
    }

    fn object(&mut self) -> Result<Node<'a>, ParseError> {
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(Node::Object(members));
        }
        loop {
            let name = self.string()?;
            self.skip_space();
            self.separator(b':')?;
            members.push((name, self.value()?));
            self.skip_space();
            if self.take(b'}') {
                return Ok(Node::Object(members));
            }
            self.separator(b',')?;
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, ParseError> {
        if !self.take(b'"') {
            return Err(ParseError::NotJson);
        }
        let start = self.at;
        let rest = &self.bytes[start..];
        let length = memchr::memchr2(b'"', b'\\', rest).ok_or(ParseError::NotJson)?;
        let plain = &self.text[start..start + length];
        refuse_controls(plain)?;
        self.at = start + length;
        if self.take(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            let rest = &self.bytes[self.at..];
            let length = memchr::memchr2(b'"', b'\\', rest).ok_or(ParseError::NotJson)?;
            let plain = &self.text[self.at..self.at + length];
            refuse_controls(plain)?;
            text.push_str(plain);
            self.at += length;
            if self.take(b'"') {
                return Ok(Cow::Owned(text));
            }
            self.at += 1;
            text.push(self.escape()?);
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, ParseError> {
        let letter = self.peek().ok_or(ParseError::NotJson)?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(ParseError::NotJson),
        })
    }

    /// UTF-16, in one unit or two; half a pair is no character.
    fn unicode_escape(&mut self) -> Result<char, ParseError> {
        let first = self.hex_unit()?;
        let mut units = vec![first];
        if (0xd800..0xdc00).contains(&first) {
            self.expect(b'\\')?;
            self.expect(b'u')?;
            units.push(self.hex_unit()?);
        }
        let mut characters = char::decode_utf16(units);
        match (characters.next(), characters.next()) {
            (Some(Ok(character)), None) => Ok(character),
            _ => Err(ParseError::NotJson),
        }
    }

    fn hex_unit(&mut self) -> Result<u16, ParseError> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or(ParseError::NotJson)?;
        self.at += 4;
        digits.iter().try_fold(0_u16, |unit, digit| {
            let digit = char::from(*digit).to_digit(16).ok_or(ParseError::NotJson)?;
            Ok(unit << 4 | u16::try_from(digit).map_err(|_| ParseError::NotJson)?)
        })
    }

    fn number(&mut self) -> Result<Node<'a>, ParseError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(Node::Number(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> Result<(), ParseError> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(ParseError::NotJson) } else { Ok(()) }
    }

    fn word(&mut self, word: &str, node: Node<'a>) -> Result<Node<'a>, ParseError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(ParseError::NotJson);
        }
        self.at += word.len();
        Ok(node)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), ParseError> {
        if self.take(byte) { Ok(()) } else { Err(ParseError::NotJson) }
    }

    /// A comma or colon, and the space after it.
    fn separator(&mut self, byte: u8) -> Result<(), ParseError> {
        self.expect(byte)?;
        self.skip_space();
        Ok(())
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

fn refuse_controls(text: &str) -> Result<(), ParseError> {
    if text.bytes().any(|byte| byte < 0x20) { Err(ParseError::NotJson) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { depth: 8, nodes: 100 };

    #[test]
    fn what_is_json_is_what_serde_json_says() {
        for text in [
            "null",
            " true ",
            "[]",
            "{}",
            "[1, 2 ,3]",
            r#"{"a" : {"b": [null,false]} , "c":""}"#,
            "-0.5e+10",
            "1E5",
            r#""\u00e4\ud83d\ude00\n\/""#,
            r#""ä""#,
            "",
            " ",
            "[",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "nul",
            "nulll",
            "\"\\ud800\"",
            "\"\\udc00\\ud800\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "\"",
            "1 2",
            "[1] ]",
            "\u{feff}1",
            "NaN",
            "\"\\u00zz\"",
            "[\u{b}1]",
        ] {
            let said = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(parse(text, BOUNDS).is_ok(), said, "{text:?}");
        }
    }

    #[test]
    fn members_that_appear_twice_are_kept() {
        let Ok(Node::Object(members)) = parse(r#"{"a":1,"b":2,"a":3}"#, BOUNDS) else { panic!("an object") };
        assert_eq!(members.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(), ["a", "b", "a"]);
    }

    #[test]
    fn depth_and_size_have_bounds() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(8), BOUNDS).is_ok());
        assert_eq!(parse(&nested(9), BOUNDS), Err(ParseError::OverBounds));
        assert_eq!(parse(&nested(1_000_000), BOUNDS), Err(ParseError::OverBounds));
        let long = |elements: usize| format!("[{}]", vec!["1"; elements].join(","));
        assert!(parse(&long(99), BOUNDS).is_ok());
        assert_eq!(parse(&long(100), BOUNDS), Err(ParseError::OverBounds));
    }
}
