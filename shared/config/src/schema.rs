//! What a document of settings may hold, as JSON Schema.

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::transform_subschemas};
use serde_json::Value;

/// JSON Schema of a document, for editors that check and complete TOML. Draft 7, which all of them know.
///
/// Keys, types, defaults and meaning come from the types that the document is read into; what
/// [`crate::Validate`] says besides, is not in it.
#[must_use]
pub fn schema<T: JsonSchema>(title: &str) -> String {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    without_null(&mut schema);
    schema.insert("title".to_owned(), title.into());
    let mut text = serde_json::to_string_pretty(schema.as_value()).expect("a JSON value can be written");
    text.push('\n');
    text
}

/// TOML has no null: what may be absent is just not required. Names of Rust's numbers mean nothing to editors.
fn without_null(schema: &mut Schema) {
    transform_subschemas(&mut without_null, schema);
    let Some(keywords) = schema.as_object_mut() else { return };
    if keywords.get("default").is_some_and(Value::is_null) {
        keywords.remove("default");
    }
    if keywords.get("format").and_then(Value::as_str).is_some_and(is_number_format) {
        keywords.remove("format");
    }
    if let Some(Value::Array(types)) = keywords.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            keywords.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = keywords.get_mut("enum") {
        values.retain(|one| !one.is_null());
    }
    if let Some(Value::Array(choices)) = keywords.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if choices.len() == 1 {
            let only = keywords.remove("anyOf").expect("it was there a moment ago");
            keywords.insert("allOf".to_owned(), only);
        }
    }
}

fn is_number_format(format: &str) -> bool {
    format.starts_with("uint") || format.starts_with("int") || matches!(format, "double" | "float")
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::{Value, json};

    use super::*;
    use crate::{ByteSize, HumanDuration, Secret};

    /// Settings.
    #[derive(Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        /// How long.
        timeout: HumanDuration,
        limit: Option<ByteSize>,
        token: Secret,
        kind: Option<Kind>,
        count: Option<u8>,
    }

    #[derive(Deserialize, Serialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        /// Nothing.
        Off,
    }

    impl Default for Settings {
        fn default() -> Self {
            let timeout = HumanDuration::from_secs(30);
            Self { timeout, limit: None, token: Secret::new("hunter2"), kind: None, count: None }
        }
    }

    #[test]
    fn a_schema_has_defaults_and_meaning_and_neither_secrets_nor_nulls() {
        let text = schema::<Settings>("settings of a shop");
        let schema: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(schema["title"], "settings of a shop");
        assert_eq!(schema["additionalProperties"], false);
        let timeout = &schema["properties"]["timeout"];
        assert_eq!((&timeout["default"], &timeout["description"]), (&json!("30s"), &json!("How long.")), "{text}");
        assert_eq!(schema["properties"]["count"], json!({"type": "integer", "minimum": 0, "maximum": 255}), "{text}");
        for never in ["null", "hunter2"] {
            assert!(!text.contains(never), "{never}: {text}");
        }
    }
}
