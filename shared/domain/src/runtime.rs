//! The runtimes that the contract names.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A runtime a client may ask for. Which interpreter serves it is each service's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Runtime {
    /// `python3.9`
    #[serde(rename = "python3.9")]
    Python39,
    /// `python3.11`
    #[serde(rename = "python3.11")]
    Python311,
    /// `nodejs18`
    #[serde(rename = "nodejs18")]
    Nodejs18,
    /// `nodejs20`
    #[serde(rename = "nodejs20")]
    Nodejs20,
    /// `go1.21`: a valid name in the contract, though no interpreter can evaluate its source.
    #[serde(rename = "go1.21")]
    Go121,
}

/// The language a runtime's code is written in, which decides the interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// `def handler(event, context)`
    Python,
    /// `function handler(event, context)`
    Node,
    /// Compiled: the monolith accepts such functions and cannot run them.
    Go,
    /// Whatever the package's own program is written in.
    Provided,
}

/// A runtime's name. Which names there are is each service's configuration; this is one that may be written
/// into a path, a log or a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuntimeName(String);

/// A text that is no runtime's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no runtime's name: 1 to 64 of a-z, 0-9, `.`, `_` and `-`, a letter first")]
pub struct InvalidRuntimeName(pub String);

/// A runtime that the contract does not name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("runtime `{0}` is not supported; use one of python3.9, python3.11, nodejs18, nodejs20, go1.21")]
pub struct UnknownRuntime(pub String);

impl Runtime {
    /// Every runtime of the contract.
    pub const ALL: [Self; 5] = [Self::Python39, Self::Python311, Self::Nodejs18, Self::Nodejs20, Self::Go121];

    /// The name in requests, answers and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Python39 => "python3.9",
            Self::Python311 => "python3.11",
            Self::Nodejs18 => "nodejs18",
            Self::Nodejs20 => "nodejs20",
            Self::Go121 => "go1.21",
        }
    }

    /// The language of this runtime's code.
    #[must_use]
    pub const fn language(self) -> Language {
        match self {
            Self::Python39 | Self::Python311 => Language::Python,
            Self::Nodejs18 | Self::Nodejs20 => Language::Node,
            Self::Go121 => Language::Go,
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Runtime {
    type Err = UnknownRuntime;

    fn from_str(text: &str) -> Result<Self, UnknownRuntime> {
        Self::ALL
            .into_iter()
            .find(|runtime| runtime.as_str() == text)
            .ok_or_else(|| UnknownRuntime(text.chars().take(64).collect()))
    }
}

impl RuntimeName {
    /// The longest name, in characters.
    pub const MAX_CHARS: usize = 64;

    /// The name in requests, answers and the database.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RuntimeName {
    type Err = InvalidRuntimeName;

    fn from_str(text: &str) -> Result<Self, InvalidRuntimeName> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let is_name = text.len() <= Self::MAX_CHARS
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(allowed);
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRuntimeName(text.chars().take(Self::MAX_CHARS).collect()))
        }
    }
}

impl JsonSchema for RuntimeName {
    fn schema_name() -> Cow<'static, str> {
        "RuntimeName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "name",
            "description": "The name of a runtime.",
            "type": "string"
        })
    }
}

impl TryFrom<String> for RuntimeName {
    type Error = InvalidRuntimeName;

    fn try_from(text: String) -> Result<Self, InvalidRuntimeName> {
        text.parse()
    }
}

impl From<RuntimeName> for String {
    fn from(name: RuntimeName) -> Self {
        name.0
    }
}

impl From<Runtime> for RuntimeName {
    fn from(runtime: Runtime) -> Self {
        Self(runtime.as_str().to_owned())
    }
}

impl fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Go => "go",
            Self::Provided => "provided",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runtime_of_the_contract_is_a_name_and_a_path_is_none() {
        for runtime in Runtime::ALL {
            assert_eq!(runtime.as_str().parse(), Ok(RuntimeName::from(runtime)));
        }
        for text in ["", "3", "Python", "a/b", "a b", "a\0", "\u{e4}", &"a".repeat(65)] {
            assert!(text.parse::<RuntimeName>().is_err(), "{text:?}");
        }
    }
}
