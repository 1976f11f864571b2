//! The text of an error that a runtime reports, in the words that the built-in workers use.

use serde::Deserialize;
use serde_json::Value;

/// As in the built-in workers.
const ERROR_CHARACTERS: usize = 8192;

/// What runtimes send. `stackTrace` is in the log already.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    error_message: Option<Value>,
    error_type: Option<Value>,
}

/// `type: message`, from the body or, where that has no type, from the header.
pub(super) fn error_text(body: &[u8], header: Option<&str>) -> String {
    let report = serde_json::from_slice(body).unwrap_or(Report { error_message: None, error_type: None });
    let kind = report.error_type.as_ref().map(text_of).filter(|kind| !kind.is_empty());
    let kind = kind.or_else(|| header.map(str::to_owned)).filter(|kind| !kind.is_empty());
    let message = report.error_message.as_ref().map(text_of).filter(|message| !message.is_empty());
    let text = match (kind, message) {
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => "the runtime reported an error and did not say which".to_owned(),
    };
    text.chars().take(ERROR_CHARACTERS).collect()
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_runtime_sends_becomes_a_text() {
        for (body, header, text) in [
            (r#"{"errorMessage": "'k'", "errorType": "KeyError", "stackTrace": []}"#, None, "KeyError: 'k'"),
            (r#"{"errorMessage": "m"}"#, Some("Runtime.Unknown"), "Runtime.Unknown: m"),
            (r#"{"errorType": "E", "errorMessage": ""}"#, Some("Other"), "E"),
            (r#"{"errorType": 1, "errorMessage": {"a": 2}}"#, None, r#"1: {"a":2}"#),
            ("not JSON", Some("T"), "T"),
            ("[]", None, "the runtime reported an error and did not say which"),
            ("", None, "the runtime reported an error and did not say which"),
        ] {
            assert_eq!(error_text(body.as_bytes(), header), text, "{body}");
        }
        let long = format!(r#"{{"errorMessage": "{}"}}"#, "ä".repeat(10_000));
        assert_eq!(error_text(long.as_bytes(), None).chars().count(), ERROR_CHARACTERS);
    }
}
