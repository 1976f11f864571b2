//! A JSON Schema of settings as a page: a section for each table, a row for each key.

use serde_json::{Map, Value};

use super::settings::Document;

struct Section {
    /// As TOML heads it, such as `[routes.shadow]`; empty for what stands above all tables.
    heading: String,
    about: String,
    rows: Vec<[String; 4]>,
}

/// The page of a document.
pub fn page(document: &Document, schema: &Value) -> String {
    let mut sections = Vec::new();
    Walk { root: schema, sections: &mut sections }.table(schema, "", false);
    let mut text = format!(
        "# {}\n\n<!-- Written by `cargo xtask settings` from the types of the settings. -->\n\n{}\n\nFor editors: `infrastructure/schemas/{}.schema.json`.\n",
        document.title, document.about, document.name
    );
    for section in sections {
        if !section.heading.is_empty() {
            text.push_str(&format!("\n## `{}`\n", section.heading));
        }
        if !section.about.is_empty() {
            text.push_str(&format!("\n{}\n", section.about));
        }
        if !section.rows.is_empty() {
            text.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
        }
        for row in section.rows {
            text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
    }
    text
}

struct Walk<'a> {
    root: &'a Value,
    sections: &'a mut Vec<Section>,
}

impl<'a> Walk<'a> {
    /// Adds the section of a table, and those of the tables in it.
    fn table(&mut self, schema: &'a Value, path: &str, is_list: bool) {
        let schema = self.resolved(schema);
        let heading = match (path.is_empty(), is_list) {
            (true, _) => String::new(),
            (false, true) => format!("[[{path}]]"),
            (false, false) => format!("[{path}]"),
        };
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let at = self.sections.len();
        let about = if path.is_empty() { String::new() } else { prose(&schema["description"]) };
        self.sections.push(Section { heading, about, rows: Vec::new() });
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let kind = self.kind(property);
            let default = match &property["default"] {
                _ if required.contains(&key.as_str()) => "required".to_owned(),
                Value::Null | Value::Object(_) => String::new(),
                value => cell(&format!("`{}`", toml(value))),
            };
            let meaning = self.meaning(property);
            self.sections[at].rows.push([format!("`{key}`"), kind, default, meaning]);
            self.below(property, &below);
        }
    }

    /// Follows a value to the tables that it may be.
    fn below(&mut self, property: &'a Value, path: &str) {
        let schema = self.resolved(property);
        if schema["properties"].is_object() {
            self.table(schema, path, false);
        } else if schema["items"].is_object() {
            let items = self.resolved(&schema["items"]);
            if items["properties"].is_object() {
                self.table(items, path, true);
            }
        } else if schema["additionalProperties"].is_object() {
            self.below(&schema["additionalProperties"], &format!("{path}.NAME"));
        }
    }

    /// What a value is.
    fn kind(&self, property: &'a Value) -> String {
        let schema = self.resolved(property);
        if let Some(title) = schema["title"].as_str() {
            return cell(title);
        }
        let choices = self.choices(schema);
        if !choices.is_empty() {
            return choices.iter().map(|(value, _)| format!("`{value}`")).collect::<Vec<_>>().join(", ");
        }
        if schema["properties"].is_object() {
            return "table".to_owned();
        }
        if schema["additionalProperties"].is_object() {
            let of = self.kind(&schema["additionalProperties"]);
            return if of == "table" { "tables by name".to_owned() } else { format!("{of}, by name") };
        }
        match schema["type"].as_str() {
            Some("string") => "text".to_owned(),
            Some("integer") => "whole number".to_owned(),
            Some("number") => "number".to_owned(),
            Some("boolean") => "`true`, `false`".to_owned(),
            Some("array") => format!("list: {}", self.kind(&schema["items"])),
            _ => {
                let any = schema["anyOf"].as_array().into_iter().flatten().map(|one| self.kind(one));
                any.collect::<Vec<_>>().join(", or ")
            }
        }
    }

    /// The texts that a value may be, with their meaning.
    fn choices(&self, schema: &'a Value) -> Vec<(String, String)> {
        let plain = schema["enum"].as_array().into_iter().flatten();
        let plain = plain.map(|value| (toml(value), String::new()));
        let told = schema["oneOf"].as_array().into_iter().flatten().flat_map(|one| {
            let named = one.get("const").map(|value| (toml(value), prose(&one["description"])));
            named.into_iter().chain(self.choices(one))
        });
        plain.chain(told).collect()
    }

    /// What a key is for: what its own documentation says, and what its choices do.
    fn meaning(&self, property: &'a Value) -> String {
        let resolved = self.resolved(property);
        let own = &property["description"];
        let mut text = prose(if own.is_string() { own } else { &resolved["description"] });
        let mut schema = resolved;
        if schema["items"].is_object() {
            schema = self.resolved(&schema["items"]);
        }
        for (value, about) in self.choices(schema) {
            let about = about.trim_end_matches('.');
            if !about.is_empty() {
                text.push_str(&format!("<br>`{value}`: {about}"));
            }
        }
        cell(&text)
    }

    /// The schema that a reference leads to.
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let reference = schema["$ref"].as_str().or_else(|| match schema["allOf"].as_array()?.as_slice() {
            [only] => only["$ref"].as_str(),
            _ => None,
        });
        let found = reference.and_then(|path| self.root.pointer(path.strip_prefix('#')?));
        found.map_or(schema, |found| self.resolved(found))
    }
}

/// Documentation as one line; links to items of the code become their names.
fn prose(description: &Value) -> String {
    let text = description.as_str().unwrap_or_default();
    text.replace("[`", "`").replace("`]", "`").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text that does not end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A value as TOML writes it.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => format!("{{ {} }}", fields_of(fields)),
        other => other.to_string(),
    }
}

fn fields_of(fields: &Map<String, Value>) -> String {
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    fields.map(|(key, value)| format!("{key} = {}", toml(value))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_lists_and_choices_become_sections_and_rows() {
        let schema = json!({
            "properties": {
                "routes": {"type": "array", "items": {"$ref": "#/definitions/Route"}, "description": "Ways\nin."},
                "kind": {"allOf": [{"$ref": "#/definitions/Kind"}], "default": "off"}
            },
            "required": ["routes"],
            "definitions": {
                "Route": {"description": "One way; see [`Kind`].", "properties": {"name": {"type": "string"}}},
                "Kind": {"oneOf": [{"const": "off", "description": "Nothing."}, {"enum": ["on"]}]}
            }
        });
        let mut sections = Vec::new();
        Walk { root: &schema, sections: &mut sections }.table(&schema, "", false);
        let shown: Vec<_> = sections.iter().map(|section| (section.heading.as_str(), section.about.as_str())).collect();
        assert_eq!(shown, [("", ""), ("[[routes]]", "One way; see `Kind`.")]);
        let kind = ["`kind`", "`\"off\"`, `\"on\"`", "`\"off\"`", "<br>`\"off\"`: Nothing"];
        assert_eq!(sections[0].rows[0], kind);
        assert_eq!(sections[0].rows[1], ["`routes`", "list: table", "required", "Ways in."]);
    }
}
