//! A token's three parts, read strictly (RFC 7515, section 7.1). Nothing is verified here.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{TokenProblem, key::Algorithm, strict_json};

/// A signed document in compact form.
///
/// Of its header only `alg`, `kid` and `typ` are read. What would name or bring a key (`jku`, `jwk`,
/// `x5u`, `x5c`) is never looked at: keys come from the configuration alone.
#[derive(Debug)]
pub(super) struct Jws<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
    pub(super) payload: Vec<u8>,
    /// What was signed: header and payload as they were sent.
    pub(super) signing_input: &'t str,
    /// In base64url, as it was sent.
    pub(super) signature: &'t str,
}

impl<'t> Jws<'t> {
    /// Takes a token of at most `limit_bytes` apart.
    pub(super) fn parse(token: &'t str, limit_bytes: usize) -> Result<Self, TokenProblem> {
        if token.len() > limit_bytes {
            return Err(TokenProblem::TooLong);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(TokenProblem::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(TokenProblem::Malformed)?;
        // A dot that is left is refused with every other character that base64url does not have.
        let header = decode(header).and_then(|header| strict_json::parse_object(&header).ok());
        let mut header = header.ok_or(TokenProblem::Malformed)?;
        let payload = decode(payload).ok_or(TokenProblem::Malformed)?;
        // RFC 7797 wants `b64` to be critical too, so one without the other is no better.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(TokenProblem::CriticalHeader);
        }
        let algorithm = text(&mut header, "alg")?.ok_or(TokenProblem::Malformed)?;
        Ok(Self {
            algorithm: Algorithm::named(&algorithm).ok_or(TokenProblem::Algorithm)?,
            kid: text(&mut header, "kid")?,
            typ: text(&mut header, "typ")?,
            payload,
            signing_input,
            signature,
        })
    }

    /// The claims, if the payload is an object of claims.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, TokenProblem> {
        strict_json::parse_object(&self.payload).map_err(|_| TokenProblem::MalformedClaims)
    }
}

/// base64url without padding, in its one canonical spelling (RFC 4648, sections 3.2 to 3.5).
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn text(header: &mut Map<String, Value>, name: &str) -> Result<Option<String>, TokenProblem> {
    match header.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenProblem::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1_000;

    fn token(header: &str) -> String {
        format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"))
    }

    #[test]
    fn only_the_supported_algorithms_are_read_and_none_never_is() {
        for name in ["HS256", "RS256", "ES256", "EdDSA"] {
            let token = token(&format!(r#"{{"alg":"{name}"}}"#));
            assert_eq!(Jws::parse(&token, LIMIT).expect("supported").algorithm.as_str(), name);
        }
        for name in ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS512", "PS256", "ES512", "RS256\u{0}"] {
            let token = token(&serde_json::json!({ "alg": name }).to_string());
            assert_eq!(Jws::parse(&token, LIMIT).expect_err("refused"), TokenProblem::Algorithm, "{name}");
        }
    }

    #[test]
    fn headers_that_could_be_misread_are_refused() {
        for (header, expected) in [
            (r#"{}"#, TokenProblem::Malformed),
            (r#"{"alg":1}"#, TokenProblem::Malformed),
            (r#"{"alg":["HS256"]}"#, TokenProblem::Malformed),
            (r#"{"alg":"HS256","alg":"none"}"#, TokenProblem::Malformed),
            (r#"{"alg":"HS256","kid":1}"#, TokenProblem::Malformed),
            (r#"{"alg":"HS256","kid":null}"#, TokenProblem::Malformed),
            (r#"{"alg":"HS256","typ":{}}"#, TokenProblem::Malformed),
            (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, TokenProblem::CriticalHeader),
            (r#"{"alg":"HS256","crit":[]}"#, TokenProblem::CriticalHeader),
            (r#"{"alg":"HS256","b64":true}"#, TokenProblem::CriticalHeader),
            (r#"["HS256"]"#, TokenProblem::Malformed),
        ] {
            assert_eq!(Jws::parse(&token(header), LIMIT).expect_err("refused"), expected, "{header}");
        }
    }

    #[test]
    fn parts_have_one_spelling() {
        let good = token(r#"{"alg":"HS256"}"#);
        assert!(Jws::parse(&good, good.len()).is_ok());
        assert_eq!(Jws::parse(&good, good.len() - 1).expect_err("refused"), TokenProblem::TooLong);
        let (header, rest) = good.split_once('.').expect("two dots");
        for bad in [
            format!("{header}=.{rest}"),
            format!("{header} .{rest}"),
            format!("{header}\n.{rest}"),
            format!("{header}+.{rest}"),
            format!(".{rest}"),
            format!("{header}.{rest}.AA"),
            // `e30` is `{}`; the last character's two unused bits may not be set.
            format!("{header}.e31.AA"),
            format!("{header}.e30=.AA"),
            header.to_owned(),
            format!("{header}.e30"),
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
        ] {
            assert_eq!(Jws::parse(&bad, LIMIT).expect_err("refused"), TokenProblem::Malformed, "{bad}");
        }
    }
}
