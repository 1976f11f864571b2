//! Answers, with what changes from run to run replaced by what kind of thing it is.

use serde_json::{Value, json};

/// The body of an answer that has none.
const EMPTY: &str = "[empty]";
/// In an expected answer: some text that the contract does not fix.
const TEXT: &str = "[text]";

/// Fields that hold what was measured.
const MEASURED: [&str; 5] = ["duration_ms", "memory_used_bytes", "Duration", "MemoryUsed", "IsWarmStart"];

/// An answer: one that is expected, or one that came, normalised.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Value,
}

impl Reply {
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, content_type: Some("application/json".to_owned()), body }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, content_type: None, body: json!(EMPTY) }
    }

    /// Prometheus's text format.
    pub fn metrics() -> Self {
        Self { status: 200, content_type: Some("text/plain; version=0.0.4".to_owned()), body: json!(TEXT) }
    }

    /// The error of a function route.
    pub fn refused(status: u16, code: &str) -> Self {
        Self::json(status, json!({"error": code, "message": TEXT}))
    }

    /// The problem (RFC 9457) of a route that the monolith does not have.
    pub fn problem(status: u16, code: &str, title: &str) -> Self {
        let body = json!({
            "type": format!("/problems/{code}"), "title": title, "status": status, "detail": TEXT,
        });
        Self { status, content_type: Some("application/problem+json".to_owned()), body }
    }

    /// The error of a trigger, webhook, dead-letter or event route.
    pub fn text_refused(status: u16) -> Self {
        Self::json(status, json!({"error": TEXT}))
    }

    /// An invocation that succeeded and printed nothing.
    pub fn returned(output: impl Into<Value>) -> Self {
        Self::invoked(json!({"status": "success", "output": output.into()}))
    }

    /// An invocation that did not succeed, for this reason, and printed nothing.
    pub fn ended(status: &str, error: &str) -> Self {
        Self::invoked(json!({"status": status, "error": error}))
    }

    /// An invocation with these fields besides those that each has.
    pub fn invoked(mut fields: Value) -> Self {
        fields["execution_id"] = json!("[id]");
        fields["duration_ms"] = json!("[number]");
        fields["memory_used_bytes"] = json!("[number]");
        Self::json(200, fields)
    }

    /// An answer as it came.
    pub async fn read(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type").map(|value| value.to_str().expect("text").to_owned());
        let text = response.text().await.expect("a whole answer");
        let body = match text.as_str() {
            "" => json!(EMPTY),
            _ => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        };
        Self { status, content_type, body }
    }

    /// Whether this answer, normalised, is what is expected.
    pub fn is(&self, expected: &Self) -> bool {
        self.status == expected.status
            && self.content_type == expected.content_type
            && matches(&self.body, &expected.body)
    }
}

fn matches(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::String(text), Value::String(expected)) if expected == TEXT => !text.is_empty(),
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len() && actual.iter().zip(expected).all(|(a, e)| matches(a, e))
        }
        (Value::Object(actual), Value::Object(expected)) => {
            actual.len() == expected.len()
                && expected.iter().all(|(key, value)| actual.get(key).is_some_and(|actual| matches(actual, value)))
        }
        _ => actual == expected,
    }
}

/// The run's name and what a case has captured so far.
#[derive(Debug, Clone)]
pub struct Names {
    run: String,
    captured: Vec<(&'static str, String)>,
}

impl Names {
    pub fn of_run(run: &str) -> Self {
        Self { run: run.to_owned(), captured: Vec::new() }
    }

    /// Names what an answer holds at a pointer.
    pub fn capture(&mut self, name: &'static str, pointer: &str, body: &Value) {
        // What is not there has its say when the answer is compared.
        if let Some(text) = body.pointer(pointer).and_then(Value::as_str) {
            self.captured.push((name, text.to_owned()));
        }
    }

    /// A request's text with its holes filled.
    pub fn fill(&self, text: &str) -> String {
        let text = text.replace("{run}", &self.run);
        self.captured.iter().fold(text, |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// An answer without what changes from run to run.
    pub fn normalise(&self, reply: &Reply) -> Reply {
        if reply.content_type.as_deref().is_some_and(|kind| kind.starts_with("text/plain")) {
            // Metrics, which are never the same twice.
            return Reply { body: json!(TEXT), ..reply.clone() };
        }
        let mut body = reply.body.clone();
        self.only_this_run(&mut body);
        Reply { body: self.normalised("", body), ..reply.clone() }
    }

    fn normalised(&self, key: &str, value: Value) -> Value {
        match value {
            // The gateway adds headers of its own to what a webhook receives.
            Value::Object(fields) if key == "payload" && fields.contains_key("headers") => {
                let fields = fields.into_iter().map(|(key, value)| match key.as_str() {
                    "headers" => (key, json!("[headers]")),
                    _ => (key.clone(), self.normalised(&key, value)),
                });
                fields.collect()
            }
            Value::Object(fields) => {
                fields.into_iter().map(|(key, value)| (key.clone(), self.normalised(&key, value))).collect()
            }
            Value::Array(items) => items.into_iter().map(|item| self.normalised(key, item)).collect(),
            Value::Number(_) | Value::Bool(_) if MEASURED.contains(&key) => json!("[number]"),
            Value::String(text) => json!(self.normalised_text(&text)),
            other => other,
        }
    }

    fn normalised_text(&self, text: &str) -> String {
        // The form counts: both sides write UTC as `Z`.
        if text.ends_with('Z') && text.parse::<chrono::DateTime<chrono::Utc>>().is_ok() {
            return "[time]".to_owned();
        }
        let named = self.captured.iter().fold(text.replace(&self.run, "[run]"), |text, (name, value)| {
            text.replace(value.as_str(), &format!("[{name}]"))
        });
        if named.parse::<uuid::Uuid>().is_ok() { "[id]".to_owned() } else { named }
    }

    /// Leaves other runs' functions out of lists, when the list is right about how many there are.
    fn only_this_run(&self, body: &mut Value) {
        let ours = |function: &Value| function["name"].as_str().is_some_and(|name| name.starts_with(&self.run));
        if let Some(functions) = body.as_array_mut()
            && functions.iter().all(|function| function.get("handler").is_some())
        {
            functions.retain(ours);
        }
        let count = body["count"].as_u64().and_then(|count| usize::try_from(count).ok());
        if let Some(functions) = body.get_mut("functions").and_then(Value::as_array_mut)
            && count == Some(functions.len())
        {
            functions.retain(ours);
            body["count"] = json!(body["functions"].as_array().map(Vec::len));
        }
    }
}
