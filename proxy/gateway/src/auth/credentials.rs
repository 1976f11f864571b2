//! What a caller shows.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::AuthProblem;
use crate::config::Require;

/// One credential, as it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential<'r> {
    /// A token after `Bearer` (RFC 6750, section 2.1).
    Token(&'r str),
    /// An API key.
    ApiKey(&'r [u8]),
}

/// Finds the one credential of a kind that is taken. Two of them are refused, because the upstream
/// might believe the other one.
pub(super) fn read<'r>(
    headers: &'r HeaderMap,
    require: Require,
    api_key_header: Option<&HeaderName>,
) -> Result<Credential<'r>, AuthProblem> {
    let token = if require.takes_jwt() { bearer(headers)? } else { None };
    let api_key = api_key_header.filter(|_| require.takes_api_key());
    let api_key = api_key.map_or(Ok(None), |name| only(headers, name))?;
    match (token, api_key) {
        (Some(token), None) => Ok(Credential::Token(token)),
        (None, Some(key)) => Ok(Credential::ApiKey(key.as_bytes())),
        (None, None) => Err(AuthProblem::NoCredentials),
        (Some(_), Some(_)) => Err(AuthProblem::SeveralCredentials),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AuthProblem> {
    let Some(value) = only(headers, &header::AUTHORIZATION)? else { return Ok(None) };
    let text = value.to_str().map_err(|_| AuthProblem::MalformedHeader)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        // Some other scheme, which only the upstream understands.
        return Ok(None);
    }
    let token = rest.trim_start_matches(' ');
    if token.is_empty() { Err(AuthProblem::MalformedHeader) } else { Ok(Some(token)) }
}

fn only<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r HeaderValue>, AuthProblem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(AuthProblem::SeveralCredentials),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn exactly_one_credential_is_taken() {
        let token = ("authorization", "Bearer t");
        let key = ("x-api-key", "k");
        let basic = ("authorization", "Basic eDp5");
        for (lines, require, expected) in [
            (&[token][..], Require::Jwt, Ok(Credential::Token("t"))),
            (&[("authorization", "bEARER   t")], Require::Jwt, Ok(Credential::Token("t"))),
            (&[("authorization", "Bearer a b")], Require::Jwt, Ok(Credential::Token("a b"))),
            (&[key], Require::ApiKey, Ok(Credential::ApiKey(b"k"))),
            (&[key], Require::Any, Ok(Credential::ApiKey(b"k"))),
            (&[token, key], Require::Jwt, Ok(Credential::Token("t"))),
            (&[token, key], Require::ApiKey, Ok(Credential::ApiKey(b"k"))),
            (&[token, key], Require::Any, Err(AuthProblem::SeveralCredentials)),
            (&[token, token], Require::Jwt, Err(AuthProblem::SeveralCredentials)),
            (&[token, basic], Require::Any, Err(AuthProblem::SeveralCredentials)),
            (&[key, key], Require::Any, Err(AuthProblem::SeveralCredentials)),
            (&[basic, key], Require::Any, Ok(Credential::ApiKey(b"k"))),
            (&[basic], Require::Jwt, Err(AuthProblem::NoCredentials)),
            (&[key], Require::Jwt, Err(AuthProblem::NoCredentials)),
            (&[token], Require::ApiKey, Err(AuthProblem::NoCredentials)),
            (&[], Require::Any, Err(AuthProblem::NoCredentials)),
            (&[("authorization", "Bearer")], Require::Jwt, Err(AuthProblem::MalformedHeader)),
            (&[("authorization", "Bearer  ")], Require::Jwt, Err(AuthProblem::MalformedHeader)),
            (&[("authorization", "Bearer\u{9}t")], Require::Jwt, Err(AuthProblem::NoCredentials)),
        ] {
            assert_eq!(read(&headers(lines), require, Some(&API_KEY)), expected, "{lines:?} {require:?}");
        }
    }
}
