//! A key inside a JSON body, found by a JSON Pointer (RFC 6901).
//!
//! The body is walked once; what the pointer does not touch is skipped and never built. The rules
//! keep a request from having one key here and another at its upstream:
//!
//! - a string is the key as it is; `true` and `false` are their names; a number is written without
//!   fraction or exponent where it has no fraction (`7`, `7.0` and `0.7e1` are all `7`), and otherwise
//!   with the fewest digits that make the same 64-bit float;
//! - `null`, arrays and objects are no key;
//! - a member on the pointer's way that appears twice makes the request ambiguous: parsers differ on
//!   which one counts;
//! - a body that is not JSON as a whole, with nothing after it, has no key;
//! - `Content-Type` is not looked at, because the upstream may not look either.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Where in a JSON document a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointer(Vec<String>);

/// Why a pointer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerProblem {
    /// The empty pointer means the whole document.
    #[error("the pointer names the whole body")]
    Whole,
    /// It does not start with a slash.
    #[error("a JSON pointer starts with a slash")]
    NoSlash,
    /// A `~` that neither 0 nor 1 follows.
    #[error("`~` stands for nothing unless 0 or 1 follows")]
    MalformedEscape,
}

/// What is at the pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonKey {
    /// A key.
    Found(String),
    /// Nothing that can be a key, or the body is not JSON.
    Absent,
    /// A member on the way appears twice.
    Repeated,
}

impl JsonPointer {
    /// Reads a pointer such as `/function/id`.
    ///
    /// # Errors
    /// When it is none, or names the whole document.
    pub fn parse(text: &str) -> Result<Self, PointerProblem> {
        if text.is_empty() {
            return Err(PointerProblem::Whole);
        }
        let tokens = text.strip_prefix('/').ok_or(PointerProblem::NoSlash)?.split('/');
        let unescape = |token: &str| {
            let valid = token.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
            // In this order, so that `~01` is `~1` (RFC 6901 section 4).
            if valid { Ok(token.replace("~1", "/").replace("~0", "~")) } else { Err(PointerProblem::MalformedEscape) }
        };
        Ok(Self(tokens.map(unescape).collect::<Result<_, _>>()?))
    }

    /// What this body has at the pointer.
    #[must_use]
    pub fn find(&self, body: &[u8]) -> JsonKey {
        let mut reader = serde_json::Deserializer::from_slice(body);
        match (Walk { tokens: &self.0 }).deserialize(&mut reader) {
            Ok(found) if reader.end().is_ok() => found,
            _ => JsonKey::Absent,
        }
    }
}

/// Walks one value towards the rest of the pointer.
struct Walk<'p> {
    tokens: &'p [String],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = JsonKey;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<JsonKey, D::Error> {
        value.deserialize_any(self)
    }
}

impl Walk<'_> {
    /// A scalar is a key at the pointer's end and nothing before it.
    fn scalar<E>(&self, text: impl FnOnce() -> String) -> Result<JsonKey, E> {
        Ok(if self.tokens.is_empty() { JsonKey::Found(text()) } else { JsonKey::Absent })
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = JsonKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<JsonKey, E> {
        self.scalar(|| text.to_owned())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<JsonKey, E> {
        self.scalar(|| value.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<JsonKey, E> {
        self.scalar(|| number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<JsonKey, E> {
        self.scalar(|| number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<JsonKey, E> {
        // Negative zero is zero.
        self.scalar(|| (number + 0.0).to_string())
    }

    fn visit_unit<E: Error>(self) -> Result<JsonKey, E> {
        Ok(JsonKey::Absent)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<JsonKey, A::Error> {
        let Some((token, tokens)) = self.tokens.split_first() else {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(JsonKey::Absent);
        };
        let mut found = None;
        while let Some(on_the_way) = members.next_key_seed(NameIs(token))? {
            if on_the_way {
                let below = members.next_value_seed(Walk { tokens })?;
                found = Some(if found.is_some() { JsonKey::Repeated } else { below });
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found.unwrap_or(JsonKey::Absent))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<JsonKey, A::Error> {
        let wanted = self.tokens.first().and_then(|token| array_index(token));
        let mut found = JsonKey::Absent;
        for index in 0_usize.. {
            if wanted == Some(index) {
                match items.next_element_seed(Walk { tokens: &self.tokens[1..] })? {
                    Some(below) => found = below,
                    None => break,
                }
            } else if items.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

/// An array index has no sign and no leading zero.
fn array_index(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if digits { token.parse().ok() } else { None }
}

/// Whether a member has this name.
struct NameIs<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for NameIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for NameIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn find(pointer: &str, body: &str) -> JsonKey {
        JsonPointer::parse(pointer).expect("a good pointer").find(body.as_bytes())
    }

    fn found(text: &str) -> JsonKey {
        JsonKey::Found(text.to_owned())
    }

    #[test]
    fn the_pointer_is_followed() {
        // The document of RFC 6901 section 5, as far as its values are scalars.
        let document = r#"{ "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5,
            "k\"l": 6, " ": 7, "m~n": 8 }"#;
        for (pointer, key) in [
            ("/foo/0", "bar"),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(find(pointer, document), found(key), "{pointer}");
        }
        for pointer in
            ["/foo", "/foo/2", "/foo/-", "/foo/00", "/foo/+1", "/foo/0/0", "/bar", "/foo/18446744073709551616"]
        {
            assert_eq!(find(pointer, document), JsonKey::Absent, "{pointer}");
        }
        assert_eq!(find("/a/0/b", r#"{"a":{"0":{"b":"x"}}}"#), found("x"), "a digit is also a member's name");
        assert_eq!(find("/0", r#"["x"]"#), found("x"));
        assert_eq!(find("/a", r#"{"\u0061":"\u00e9"}"#), found("é"), "escapes are read");
    }

    #[test]
    fn values_have_one_text() {
        for (value, key) in [
            (r#""""#, found("")),
            (r#""7""#, found("7")),
            ("7", found("7")),
            ("7.0", found("7")),
            ("0.7e1", found("7")),
            ("-7", found("-7")),
            ("-0.0", found("0")),
            ("-0", found("0")),
            ("0.1", found("0.1")),
            ("1e3", found("1000")),
            ("18446744073709551615", found("18446744073709551615")),
            ("true", found("true")),
            ("null", JsonKey::Absent),
            ("[]", JsonKey::Absent),
            ("{}", JsonKey::Absent),
            (r#"["x"]"#, JsonKey::Absent),
            (r#"{"id":"x"}"#, JsonKey::Absent),
        ] {
            assert_eq!(find("/id", &format!(r#"{{"a":[1,{{}}],"id":{value},"b":"c"}}"#)), key, "{value}");
        }
    }

    #[test]
    fn a_repeated_member_on_the_way_is_seen() {
        for body in [
            r#"{"a":{"b":1},"a":{"b":1}}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":{"b":1,"\u0062":2}}"#,
            r#"{"a":null,"a":{"b":1}}"#,
            r#"{"a":{"b":1},"a":null}"#,
        ] {
            assert_eq!(find("/a/b", body), JsonKey::Repeated, "{body}");
        }
        let elsewhere = r#"{"c":1,"c":2,"a":{"b":"x","d":0,"d":0}}"#;
        assert_eq!(find("/a/b", elsewhere), found("x"), "what is not on the way does not matter");
    }

    #[test]
    fn what_is_not_json_has_no_key() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        for body in [
            "",
            " ",
            "x",
            r#"{"id":"a""#,
            r#"{"id":"a"}x"#,
            r#"{"id":"a"}{"id":"b"}"#,
            r#"{id:"a"}"#,
            "\u{feff}{\"id\":\"a\"}",
            r#"{"id":"a",}"#,
            "{\"id\":\"a\nb\"}",
            r#"{"id":"\ud800"}"#,
            &deep,
        ] {
            assert_eq!(find("/id", body), JsonKey::Absent, "{body:.40}");
        }
        let pointer = JsonPointer::parse("/id").expect("a good pointer");
        assert_eq!(pointer.find(b"{\"id\":\"\xff\"}"), JsonKey::Absent);
        assert_eq!(find("/id", " {\"id\": \"a\"} \r\n\t"), found("a"), "space around a document is no part of it");
    }

    #[test]
    fn pointers_that_are_none_are_refused() {
        use PointerProblem::{MalformedEscape, NoSlash, Whole};
        for (text, problem) in [("", Whole), ("id", NoSlash), ("/a~", MalformedEscape), ("/a~2", MalformedEscape)] {
            assert_eq!(JsonPointer::parse(text), Err(problem), "{text}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ab~/\"\\\\é]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[ab~/01]{0,2}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn walking_agrees_with_a_whole_document(document in json(), pointer in "(/([ab01]|~0|~1){0,2}){1,4}") {
            let expected = match document.pointer(&pointer) {
                Some(Value::String(text)) => JsonKey::Found(text.clone()),
                Some(scalar @ (Value::Bool(_) | Value::Number(_))) => JsonKey::Found(scalar.to_string()),
                _ => JsonKey::Absent,
            };
            prop_assert_eq!(find(&pointer, &document.to_string()), expected);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = JsonPointer::parse("/a/0").expect("a good pointer").find(&bytes);
        }
    }
}
