//! As much of JSON Schema (2020-12, and draft 7) as our OpenAPI documents and the schemas of settings use. A keyword that is not known here fails the test, so
//! that none is passed over.

use serde_json::{Map, Value};

/// They say nothing of what is valid.
const ANNOTATIONS: [&str; 7] =
    ["$schema", "title", "description", "default", "definitions", "contentEncoding", "contentMediaType"];

/// Schemas whose references are from the root of a document.
pub struct JsonSchema<'a> {
    root: &'a Value,
}

impl<'a> JsonSchema<'a> {
    /// The root of a document; for a document that is one schema, that schema.
    #[must_use]
    pub fn of(root: &'a Value) -> Self {
        Self { root }
    }

    /// Whether a value is what a schema of the document says; if not, where and why.
    ///
    /// # Errors
    /// Where it is something else, and why.
    pub fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        self.check_at("$", schema, value)
    }

    fn check_at(&self, place: &str, schema: &Value, value: &Value) -> Result<(), String> {
        let Some(keywords) = schema.as_object() else { return Err(format!("{place}: its schema is none: {schema}")) };
        for (keyword, said) in keywords {
            let holds = match keyword.as_str() {
                "$ref" => {
                    let pointer = said.as_str().and_then(|text| text.strip_prefix('#')).unwrap_or_default();
                    let schema = self.root.pointer(pointer).ok_or_else(|| format!("{said} leads nowhere"))?;
                    self.check_at(place, schema, value)?;
                    true
                }
                "type" => said.as_array().map_or(is_a(said, value), |types| types.iter().any(|one| is_a(one, value))),
                "enum" => said.as_array().is_some_and(|values| values.contains(value)),
                "const" => said == value,
                "format" => value.as_str().is_none_or(|text| has_format(said, text)),
                "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= number(said)),
                "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= number(said)),
                "minimum" => value.as_i64().is_none_or(|value| value >= said.as_i64().unwrap_or(i64::MAX)),
                "maximum" => value.as_i64().is_none_or(|value| value <= said.as_i64().unwrap_or(i64::MIN)),
                "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= number(said)),
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check_at(&format!("{place}[{index}]"), said, item)?;
                    }
                    true
                }
                "anyOf" => self.matches(place, said, value) > 0,
                "oneOf" => self.matches(place, said, value) == 1,
                "allOf" => {
                    for schema in said.as_array().into_iter().flatten() {
                        self.check_at(place, schema, value)?;
                    }
                    true
                }
                "pattern" => value.as_str().is_none_or(|text| has_pattern(said, text)),
                "required" => value.as_object().is_none_or(|fields| has_all(fields, said)),
                "properties" | "additionalProperties" => true,
                annotation if ANNOTATIONS.contains(&annotation) => true,
                unknown => return Err(format!("{place}: `{unknown}` is not known to the tests' JSON Schema")),
            };
            if !holds {
                return Err(format!("{place}: {value} is not {{{keyword}: {said}}}"));
            }
        }
        self.check_fields(place, keywords, value)
    }

    /// How many of some schemas a value is of.
    fn matches(&self, place: &str, schemas: &Value, value: &Value) -> usize {
        let schemas = schemas.as_array().into_iter().flatten();
        schemas.filter(|schema| self.check_at(place, schema, value).is_ok()).count()
    }

    fn check_fields(&self, place: &str, schema: &Map<String, Value>, value: &Value) -> Result<(), String> {
        for (name, field) in value.as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            let known = schema.get("properties").and_then(|properties| properties.get(name));
            match known.or_else(|| schema.get("additionalProperties")) {
                Some(Value::Bool(false)) => return Err(format!("{place} is unknown")),
                Some(Value::Bool(true)) | None => {}
                Some(schema) => self.check_at(&place, schema, field)?,
            }
        }
        Ok(())
    }
}

fn is_a(said: &Value, value: &Value) -> bool {
    match said.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

fn has_format(said: &Value, text: &str) -> bool {
    match said.as_str() {
        Some("uuid") => uuid::Uuid::try_parse(text).is_ok(),
        Some("date-time") => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
        // For people.
        _ => true,
    }
}

fn has_pattern(said: &Value, text: &str) -> bool {
    said.as_str().and_then(|pattern| regex::Regex::new(pattern).ok()).is_some_and(|pattern| pattern.is_match(text))
}

fn has_all(fields: &Map<String, Value>, said: &Value) -> bool {
    said.as_array().into_iter().flatten().all(|name| name.as_str().is_some_and(|name| fields.contains_key(name)))
}

/// What is no number is no bound that anything keeps.
fn number(said: &Value) -> u64 {
    said.as_u64().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_holds_or_names_where_it_does_not() {
        let document = json!({"components": {"Small": {"type": "integer", "minimum": 1}}});
        let schema = json!({
            "type": "object", "required": ["n"], "additionalProperties": {"type": ["string", "null"]},
            "properties": {
                "n": {"$ref": "#/components/Small"}, "at": {"format": "date-time"}, "of": {"enum": ["a", "b"]},
                "list": {"items": {"minLength": 2}, "minItems": 1}, "any": {"anyOf": [{"const": 1}, {"type": "array"}]},
                "one": {"oneOf": [{"pattern": "^a"}, {"pattern": "b$"}]}, "all": {"allOf": [{"type": "string"}]}
            }
        });
        let check = |value: &Value| JsonSchema::of(&document).check(&schema, value);
        for good in [
            json!({"n": 1}),
            json!({"n": 1, "more": "x", "less": null}),
            json!({"n": 7, "at": "2024-02-29T00:00:00Z", "of": "b", "list": ["ab"], "any": [], "one": "a", "all": ""}),
        ] {
            check(&good).expect("it holds");
        }
        for (bad, place) in [
            (json!([]), "$:"),
            (json!({}), "$:"),
            (json!({"n": 0}), "$.n:"),
            (json!({"n": 1.5}), "$.n:"),
            (json!({"n": 1, "more": 1}), "$.more:"),
            (json!({"n": 1, "at": "29.2.2024"}), "$.at:"),
            (json!({"n": 1, "of": "c"}), "$.of:"),
            (json!({"n": 1, "list": []}), "$.list:"),
            (json!({"n": 1, "list": ["ab", "c"]}), "$.list[1]:"),
            (json!({"n": 1, "any": 2}), "$.any:"),
            (json!({"n": 1, "one": "ab"}), "$.one:"),
            (json!({"n": 1, "one": "c"}), "$.one:"),
            (json!({"n": 1, "all": 1}), "$.all:"),
        ] {
            let why = check(&bad).expect_err("it does not hold");
            assert!(why.starts_with(place), "{bad}: {why}");
        }
        for unknown in [json!({"not": {}}), json!({"$ref": "#/nowhere"}), json!(true)] {
            JsonSchema::of(&document).check(&unknown, &json!(1)).expect_err("it is not known");
        }
    }
}
