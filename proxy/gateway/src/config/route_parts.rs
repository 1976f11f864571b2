//! Parts of a route's settings: what it asks of headers and query, and how it edits headers.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use http::{HeaderName, header};
use layered_config::Report;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use crate::route_table::{Conditions, Expected, HeaderCondition, HeaderEdits, HeaderProblem, QueryCondition};

/// What a header or query parameter must be: a text, `{ prefix = TEXT }` or `{ present = true }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedConfig(pub(crate) Expected);

impl<'de> Deserialize<'de> for ExpectedConfig {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(ExpectedVisitor).map(Self)
    }
}

impl JsonSchema for ExpectedConfig {
    fn schema_name() -> Cow<'static, str> {
        "Expected".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let only = |name: &str, value: Schema| {
            json_schema!({
                "type": "object",
                "properties": {name: value},
                "required": [name],
                "additionalProperties": false
            })
        };
        json_schema!({
            "title": "text, { prefix = \"TEXT\" } or { present = true }",
            "anyOf": [
                {"type": "string"},
                only("prefix", json_schema!({"type": "string"})),
                only("present", json_schema!({"const": true}))
            ]
        })
    }
}

struct ExpectedVisitor;

impl<'de> Visitor<'de> for ExpectedVisitor {
    type Value = Expected;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, { prefix = \"TEXT\" } or { present = true }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Expected, E> {
        Ok(Expected::Exact(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Expected, A::Error> {
        let unexpected = || A::Error::custom("expected a text, { prefix = \"TEXT\" } or { present = true }");
        let found = match map.next_key::<String>()?.as_deref() {
            Some("prefix") => Expected::Prefix(map.next_value()?),
            Some("present") if map.next_value::<bool>()? => Expected::Present,
            _ => return Err(unexpected()),
        };
        if map.next_key::<String>()?.is_some() { Err(unexpected()) } else { Ok(found) }
    }
}

/// Headers that a route removes, sets and adds, in this order.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderEditsConfig {
    /// Headers to replace, or to add where there is none.
    pub set: BTreeMap<String, String>,
    /// Headers to add beside those that are there.
    pub add: BTreeMap<String, String>,
    /// Headers to remove.
    pub remove: Vec<String>,
}

impl HeaderEditsConfig {
    pub(super) fn compile(&self, key: &str, report: &mut Report) -> HeaderEdits {
        HeaderEdits::read(&self.set, &self.add, &self.remove, |setting, problem| {
            let fix = match problem {
                HeaderProblem::MalformedName => "write a header name such as \"x-tenant\"",
                HeaderProblem::MalformedValue => "remove line breaks, characters that are not ASCII and outer spaces",
                HeaderProblem::Framing | HeaderProblem::Ours => "remove it, or use a name of your own",
            };
            report.problem(&format!("{key}.{setting}"), problem.to_string(), fix);
        })
    }
}

/// Makes the conditions of a route.
pub(super) fn conditions(
    headers: &BTreeMap<String, ExpectedConfig>,
    query: &BTreeMap<String, ExpectedConfig>,
    report: &mut Report,
) -> Conditions {
    let mut conditions = Conditions::default();
    for (name, ExpectedConfig(value)) in headers {
        let key = format!("headers.{name:?}");
        let Some(name) = matchable(name) else {
            let fix = "write a header name such as \"x-tenant\"; for the host there is `hosts`";
            report.problem(&key, "it is no header that a route can ask for", fix);
            continue;
        };
        if conditions.headers.iter().any(|earlier| earlier.name == name) {
            report.problem(&key, "the same header is named twice", "keep one of them");
        }
        if matches!(value, Expected::Exact(text) | Expected::Prefix(text) if !text.is_ascii() || text.parse::<http::HeaderValue>().is_err())
        {
            report.problem(&key, "no header can have this value", "write visible ASCII characters");
        }
        conditions.headers.push(HeaderCondition { name, value: value.clone() });
    }
    for (name, ExpectedConfig(value)) in query {
        if name.is_empty() {
            report.problem("query", "a parameter has no name", "write the parameter's name before the equals sign");
        }
        conditions.query.push(QueryCondition { name: name.clone(), value: value.clone() });
    }
    let values = conditions.headers.iter().map(|one| (one.name.as_str(), &one.value));
    for (name, value) in values.chain(conditions.query.iter().map(|one| (one.name.as_str(), &one.value))) {
        if *value == Expected::Prefix(String::new()) {
            let fix = "write { present = true }, or a prefix of one character or more";
            report.problem("", format!("every value of `{name}` has the empty prefix"), fix);
        }
    }
    conditions
}

/// The header, unless it frames the message or another setting is about it.
fn matchable(name: &str) -> Option<HeaderName> {
    let name: HeaderName = name.parse().ok()?;
    let other = [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH];
    (!other.contains(&name)).then_some(name)
}
