//! Names of runtimes with one part left open.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A runtime's name in which at most one `*` stands for letters and digits, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern {
    before: String,
    /// What follows the `*`, if there is one.
    after: Option<String>,
}

/// A text that names no runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no runtime: write 1 to 64 of a-z, 0-9, `.`, `_` and `-`, a letter first, with at most one `*`")]
pub struct PatternError(String);

impl NamePattern {
    /// Whether the name fits; what the `*` stands for in it, which is nothing where there is none.
    #[must_use]
    pub fn matched<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_prefix(self.before.as_str())?;
        let Some(after) = &self.after else { return rest.is_empty().then_some("") };
        let open = rest.strip_suffix(after.as_str())?;
        let fits = !open.is_empty() && open.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        fits.then_some(open)
    }

    /// Whether a part is left open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.after.is_some()
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte);
        let is_name = text.len() <= domain::RuntimeName::MAX_CHARS
            && text.bytes().all(allowed)
            && text.starts_with(|first: char| first.is_ascii_lowercase());
        let (before, after) = text.split_once('*').map_or((text, None), |(before, after)| (before, Some(after)));
        if !is_name || after.is_some_and(|after| after.contains('*')) {
            return Err(PatternError(text.chars().take(64).collect()));
        }
        Ok(Self { before: before.to_owned(), after: after.map(str::to_owned) })
    }
}

impl JsonSchema for NamePattern {
    fn schema_name() -> Cow<'static, str> {
        "NamePattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "name",
            "description": "A name in which at most one * stands for letters and digits.",
            "type": "string"
        })
    }
}

impl TryFrom<String> for NamePattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.before)?;
        self.after.as_ref().map_or(Ok(()), |after| write!(f, "*{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_part_of_a_name() {
        for (pattern, name, open) in [
            ("python3.*", "python3.12", Some("12")),
            ("python3.*", "python3.", None),
            ("python3.*", "python3.12.1", None),
            ("python3.*", "python3.*", None),
            ("python3.*-aws", "python3.9-aws", Some("9")),
            ("python3.*-aws", "python3.9", None),
            ("nodejs*", "nodejs22", Some("22")),
            ("nodejs*", "nodejs22.x", None),
            ("provided.*", "provided.al2023", Some("al2023")),
            ("provided.*", "provided", None),
            ("provided", "provided", Some("")),
            ("provided", "provided.al2", None),
            ("a*a", "a", None),
        ] {
            let parsed: NamePattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matched(name), open, "{name} against {pattern}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn what_names_no_runtime_is_refused() {
        for text in ["", "*", "3.*", "Python3.9", "python 3", "python*.*", "py/thon", &"p".repeat(65)] {
            assert!(text.parse::<NamePattern>().is_err(), "{text}");
        }
    }
}
