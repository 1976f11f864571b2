use gateway::{JsonKey, JsonPointer, KeyInput, KeySource, RequestPath, Template};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

/// The bytes as a body, and their lines as header lines: a key is what another way of reading them
/// gives, and never one of two.
pub fn key_extraction(bytes: &[u8]) {
    for pointer in ["/function_id", "/a/b", "/0", "/a/1/function_id"] {
        body(bytes, pointer);
    }
    lines(bytes);
}

fn body(bytes: &[u8], pointer: &str) {
    let found = JsonPointer::parse(pointer).expect("a good pointer").find(bytes);
    // A whole document is stricter about what the pointer does not touch.
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return };
    let expected = match document.pointer(pointer) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Bool(value)) => Some(value.to_string()),
        Some(Value::Number(number)) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => Some((float + 0.0).to_string()),
            None => Some(number.to_string()),
        },
        _ => None,
    };
    match found {
        JsonKey::Found(key) => assert_eq!(Some(key), expected, "{pointer}"),
        JsonKey::Absent => assert_eq!(expected, None, "{pointer}"),
        // A document keeps the last of two members.
        JsonKey::Repeated => {}
    }
}

fn lines(bytes: &[u8]) {
    let values = bytes.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let mut headers = HeaderMap::new();
    for value in values.take(8) {
        headers.append("cookie", value.clone());
        headers.append("x-key", value);
    }
    let template: Template = "/f/{id}".parse().expect("a good template");
    let path = RequestPath::parse("/f/1").expect("a good path");
    let input = KeyInput { path: &path, headers: &headers, client: None, identity: None };
    let read = |text: &str| KeySource::parse(text, &template).expect("a good source").extract(&input);
    let all: Vec<&[u8]> = headers.get_all("x-key").iter().map(HeaderValue::as_bytes).collect();
    match read("header:x-key") {
        Ok(None) => assert!(all.is_empty()),
        Ok(Some(key)) => assert!(all.iter().all(|value| String::from_utf8_lossy(value) == key)),
        Err(_) => assert!(all.iter().any(|value| *value != all[0])),
    }
    let joined = all.join(&b';');
    let cookies = joined.split(|byte| *byte == b';').filter_map(|pair| {
        let text = String::from_utf8_lossy(pair).into_owned();
        let (name, value) = text.split_once('=')?;
        let value = value.trim_end_matches([' ', '\t', '\r', '\u{c}']);
        let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
        let value = if quoted { &value[1..value.len() - 1] } else { value };
        (name.trim_start_matches([' ', '\t', '\r', '\u{c}']) == "sid").then(|| value.to_owned())
    });
    let cookies: Vec<String> = cookies.collect();
    match read("cookie:sid") {
        Ok(None) => assert!(cookies.is_empty()),
        Ok(Some(key)) => {
            assert!(!cookies.is_empty() && cookies.iter().all(|value| *value == key), "{key:?} {cookies:?}");
        }
        Err(_) => assert!(cookies.len() > 1),
    }
}
