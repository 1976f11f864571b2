//! An OpenAPI document, and whether answers are what it says.

use serde_json::{Map, Value};

use crate::json_schema::JsonSchema;

/// An OpenAPI 3.1 document.
#[derive(Debug, Clone)]
pub struct ApiDocument {
    document: Value,
}

impl ApiDocument {
    /// Reads a document.
    ///
    /// # Panics
    /// It is no JSON.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { document: serde_json::from_str(text).expect("an OpenAPI document is JSON") }
    }

    /// Fails the test when the document says nothing of an answer, or something else: of its status to this request,
    /// of its content type, or of its body. Requests to paths that it does not name may be answered with 404 or 405.
    ///
    /// # Panics
    /// The answer is not as documented.
    pub fn check(&self, method: &str, path: &str, status: u16, content_type: &str, body: &str) {
        if let Err(why) = self.checked(&method.to_lowercase(), path, status, content_type, body) {
            panic!("{method} {path} was answered with {status} {content_type:?}, and {why}:\n{body}");
        }
    }

    fn checked(&self, method: &str, path: &str, status: u16, content_type: &str, body: &str) -> Result<(), String> {
        let operation =
            self.paths().find(|(template, item)| is_of(template, path, spans(item)) && item.get(method).is_some());
        let Some((_, item)) = operation else {
            return if matches!(status, 404 | 405) { Ok(()) } else { Err("the document has no such route".to_owned()) };
        };
        let answer = &item[method]["responses"][status.to_string()];
        let shared = answer["$ref"].as_str().and_then(|text| self.document.pointer(text.strip_prefix('#')?));
        let answer = shared.unwrap_or(answer).as_object().ok_or("the document has no such status there")?;
        let Some(content) = answer.get("content").and_then(Value::as_object) else {
            return if body.is_empty() { Ok(()) } else { Err("the document says that it has no body".to_owned()) };
        };
        let schema = content.get(content_type).ok_or("the document has no such content type there")?;
        let body = if content_type.contains("json") {
            serde_json::from_str(body).map_err(|error| format!("it is no JSON: {error}"))?
        } else {
            Value::from(body)
        };
        JsonSchema::of(&self.document).check(&schema["schema"], &body)
    }

    /// Templates with the fewest parameters first: `/things/new` is rather that than `/things/{id}`. Last are those
    /// whose last parameter may be several parts of a path, for which OpenAPI has no word: `x-rest-of-path`.
    fn paths(&self) -> impl Iterator<Item = (&String, &Value)> {
        let paths = self.document["paths"].as_object().map(Map::iter).into_iter().flatten();
        let mut paths: Vec<_> = paths.collect();
        paths.sort_by_key(|(template, item)| (spans(item), template.matches('{').count()));
        paths.into_iter()
    }
}

fn spans(item: &Value) -> bool {
    item["x-rest-of-path"] == true
}

fn is_of(template: &str, path: &str, spans: bool) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (mut said, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (said.next(), given.next()) {
            (None, None) => return true,
            (None, Some(_)) => return spans,
            (Some(said), Some(given)) if said == given || (said.starts_with('{') && !given.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r##"{
        "paths": {
            "/things": {"get": {"responses": {"204": {}}}},
            "/things/{id}": {"get": {"responses": {
                "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "503": {"content": {"text/plain": {"schema": {"type": "string"}}}}
            }}},
            "/things/new": {"get": {"responses": {"200": {}}}},
            "/files/{path}": {"x-rest-of-path": true, "get": {"responses": {"204": {}}}},
            "/files/of/{id}": {"get": {"responses": {"200": {}}}}
        },
        "components": {"schemas": {"Thing": {
            "type": "object", "required": ["id"], "additionalProperties": false,
            "properties": {"id": {"type": "string", "format": "uuid"}}
        }}}
    }"##;

    #[test]
    fn whatever_the_document_does_not_say_is_found() {
        let document = ApiDocument::new(DOCUMENT);
        let is_right = |path: &str, status: u16, content_type: &str, body: &str| {
            document.checked("get", path, status, content_type, body).is_ok()
        };
        let thing = r#"{"id": "018f3c5e-7d1a-7cc3-8a51-0b8c1c0d9e2f"}"#;
        assert!(is_right("/things/7?full", 200, "application/json", thing));
        assert!(is_right("/things/7", 503, "text/plain", "later"));
        assert!(is_right("/things/new", 200, "", ""));
        assert!(is_right("/things", 204, "", ""));
        assert!(is_right("/files/a", 204, "", ""));
        assert!(is_right("/files/a/b/c", 204, "", ""));
        assert!(is_right("/files/of/b", 200, "", ""));
        assert!(is_right("/elsewhere", 404, "", ""));
        for (path, status, content_type, body) in [
            ("/elsewhere", 200, "", ""),
            ("/things", 200, "", ""),
            ("/files/", 204, "", ""),
            ("/things", 204, "application/json", "{}"),
            ("/things/7", 404, "", ""),
            ("/things/7", 200, "text/plain", thing),
            ("/things/7", 200, "application/json", "{}"),
            ("/things/7", 200, "application/json", r#"{"id": 7}"#),
            ("/things/7", 200, "application/json", r#"{"id": "7"}"#),
            ("/things/7", 200, "application/json", &thing.replace('}', r#", "more": 1}"#)),
            ("/things/7", 200, "application/json", "{"),
        ] {
            assert!(!is_right(path, status, content_type, body), "{path} {status} {content_type} {body}");
        }
        assert!(document.checked("post", "/things", 200, "", "").is_err());
    }
}
