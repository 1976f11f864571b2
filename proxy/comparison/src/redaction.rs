//! Hiding secrets before anything is kept.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};

use crate::{
    content::{Content, digest},
    json::{self, Node},
    path::Step,
    rules::{RedactionConfig, RuleProblem, config_headers, config_problem, config_selector},
    selector::Selector,
};

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Parts of names that always mean a secret; names are taken without case, `_` and `-`.
const SECRET_NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "credential",
    "cookie",
    "sessionid",
];

const SECRET_HEADERS: [HeaderName; 4] =
    [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, header::SET_COOKIE];

/// What a route hides.
#[derive(Debug, Clone, Default)]
pub struct Redaction {
    selectors: Vec<Selector>,
    headers: Vec<HeaderName>,
    names: Vec<String>,
    pub(crate) keep_text: bool,
}

impl Redaction {
    pub(crate) fn compile(config: &RedactionConfig, problems: &mut Vec<RuleProblem>) -> Self {
        let mut selectors = Vec::new();
        for (index, path) in config.paths.iter().enumerate() {
            match config_selector(&format!("redact.paths[{index}]"), path) {
                Ok(selector) => selectors.push(selector),
                Err(problem) => problems.push(problem),
            }
        }
        for (index, _) in config.names.iter().enumerate().filter(|(_, name)| folded(name).is_empty()) {
            let key = format!("redact.names[{index}]");
            problems.push(config_problem(&key, "it would hide everything", "write a part of a name"));
        }
        Self {
            selectors,
            headers: config_headers("redact.headers", &config.headers, problems),
            names: config.names.iter().map(|name| folded(name).into_owned()).collect(),
            keep_text: config.keep_text,
        }
    }

    /// Whether a member or parameter of this name is a secret.
    #[must_use]
    pub fn hides_name(&self, name: &str) -> bool {
        let name = folded(name);
        SECRET_NAMES.iter().any(|secret| name.contains(secret)) || self.names.iter().any(|secret| name.contains(secret))
    }

    pub(crate) fn hides(&self, path: &[Step<'_>]) -> bool {
        let secret = |step: &Step<'_>| matches!(step, Step::Name(name) if self.hides_name(name));
        path.iter().any(secret) || self.selectors.iter().any(|selector| selector.covers(path))
    }

    /// Whether the value of a header field is a secret.
    #[must_use]
    pub fn hides_header(&self, name: &HeaderName) -> bool {
        SECRET_HEADERS.contains(name)
            || self.headers.contains(name)
            || self.selectors.iter().any(|selector| selector.is_header(name.as_str()))
            || self.hides_name(name.as_str())
    }

    /// Header fields with secrets hidden, in their order. Bytes that are no text are replaced.
    #[must_use]
    pub fn headers(&self, headers: &HeaderMap) -> Vec<(String, String)> {
        let shown = |(name, value): (&HeaderName, &http::HeaderValue)| {
            let hidden = self.hides_header(name) || value.is_sensitive();
            let value = if hidden { REDACTED.into() } else { String::from_utf8_lossy(value.as_bytes()) };
            (name.as_str().to_owned(), value.into_owned())
        };
        headers.iter().map(shown).collect()
    }

    /// A path with its query, with secret parameters hidden.
    #[must_use]
    pub fn target(&self, target: &str) -> String {
        match target.split_once('?') {
            None => target.to_owned(),
            Some((path, query)) => format!("{path}?{}", self.form(query)),
        }
    }

    /// `name=value` pairs.
    fn form(&self, text: &str) -> String {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((name, _)) if self.hides_name(&unescaped(name)) => format!("{name}={REDACTED}"),
            _ => pair.to_owned(),
        };
        text.split('&').map(pair).collect::<Vec<_>>().join("&")
    }

    /// A body that is safe to keep. JSON and forms have their secrets hidden and are cut at `most`
    /// bytes; of everything else only length and digest are told, unless text may be kept.
    #[must_use]
    pub fn body(&self, headers: &HeaderMap, body: &[u8], limits: &crate::LimitsConfig, most: usize) -> RedactedBody {
        let told = |body: &[u8]| RedactedBody { text: digest(body), whole: body.is_empty() };
        match Content::of(headers, body, limits) {
            Ok(Content::Empty) => RedactedBody { text: String::new(), whole: true },
            Ok(Content::Json(text)) => match json::parse(&text, limits.bounds()) {
                Ok(node) => {
                    let text = self.rendered(&node, &mut Vec::new(), usize::MAX);
                    cut_body(&text, most)
                }
                Err(_) => told(body),
            },
            Ok(Content::Text(text)) if is_form(headers) => cut_body(&self.form(&text), most),
            Ok(Content::Text(text)) if self.keep_text => cut_body(&text, most),
            _ => told(body),
        }
    }

    pub(crate) fn rendered<'a>(&self, node: &'a Node<'_>, path: &mut Vec<Step<'a>>, most: usize) -> String {
        json::render(node, path, most, &|path| self.hides(path).then_some(REDACTED))
    }
}

/// A body as it may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedactedBody {
    /// The text, or its length and digest.
    pub text: String,
    /// Whether the text is all of the body, but for what is hidden.
    pub whole: bool,
}

fn cut_body(text: &str, most: usize) -> RedactedBody {
    RedactedBody { text: crate::difference::cut(text, most).into_owned(), whole: text.len() <= most }
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Percent-encoded letters do not hide a name.
fn unescaped(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let code = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn folded(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_lowercase();
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.')).flat_map(char::to_lowercase).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LimitsConfig, Rules, RulesConfig};

    fn redaction() -> Redaction {
        let redact = RedactionConfig {
            paths: vec!["$.user.email".to_owned(), "headers['x-client']".to_owned()],
            headers: vec!["x-internal".to_owned()],
            names: vec!["iban".to_owned()],
            keep_text: false,
        };
        Rules::compile(&RulesConfig { redact, ..RulesConfig::default() }).unwrap().redaction().clone()
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn secrets_in_json_are_hidden_at_any_depth() {
        let body = br#"{"user":{"email":"MARK","name":"Ada","Api_Key":"MARK"},"list":[{"user-IBAN":["MARK"]}],"refreshToken":{"a":"MARK"}}"#;
        let kept =
            redaction().body(&headers(&[("content-type", "application/json")]), body, &LimitsConfig::default(), 4_096);
        assert!(!kept.text.contains("MARK") && kept.text.contains("Ada") && kept.whole, "{kept:?}");
        assert_eq!(kept.text.matches(REDACTED).count(), 4);
    }

    #[test]
    fn what_cannot_be_read_is_not_kept() {
        let json = headers(&[("content-type", "application/json")]);
        for body in [&br#"{"password":"MARK""#[..], b"{\"a\":\"\xff\",\"password\":\"MARK\"}", b"password: MARK"] {
            for headers in [&json, &HeaderMap::new(), &headers(&[("content-type", "text/plain")])] {
                let kept = redaction().body(headers, body, &LimitsConfig::default(), 4_096);
                assert!(!kept.text.contains("MARK") && kept.text.contains("blake3") && !kept.whole, "{kept:?}");
            }
        }
    }

    #[test]
    fn secrets_in_headers_queries_and_forms_are_hidden() {
        let redaction = redaction();
        let fields = headers(&[
            ("cookie", "MARK"),
            ("x-internal", "MARK"),
            ("x-client", "MARK"),
            ("x-auth-token", "MARK"),
            ("accept", "*/*"),
        ]);
        let shown = format!("{:?}", redaction.headers(&fields));
        assert!(!shown.contains("MARK") && shown.contains("*/*"), "{shown}");
        assert_eq!(redaction.target("/a?b=1&api%5Fkey=MARK&c"), "/a?b=1&api%5Fkey=[redacted]&c");
        let form = headers(&[("content-type", "application/x-www-form-urlencoded; charset=utf-8")]);
        assert_eq!(
            redaction.body(&form, b"a=1&password=MARK", &LimitsConfig::default(), 99).text,
            "a=1&password=[redacted]"
        );
    }

    #[test]
    fn a_long_body_is_cut_after_its_secrets_are_hidden() {
        let body = format!(r#"{{"a":"{}","secret":"MARK"}}"#, "x".repeat(300));
        let kept = redaction().body(
            &headers(&[("content-type", "application/json")]),
            body.as_bytes(),
            &LimitsConfig::default(),
            100,
        );
        assert!(!kept.whole && kept.text.len() <= 103, "{kept:?}");
    }
}
