//! How an upstream learns who asks: headers that only the gateway may set.
//!
//! Whatever a client sends under these names is removed on every route, also where nobody needs to
//! prove anything. A name counts as one of these if a server that turns header names into variables
//! (CGI, WSGI, PHP) could take it for one: `x_auth_subject` and `X-Auth.Subject` become the same
//! variable as `x-auth-subject`.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::{Result, http::RequestHeader};

use super::Identity;

/// The headers, by what they say.
#[derive(Debug, Clone)]
pub(crate) struct IdentityHeaders {
    method: HeaderName,
    subject: HeaderName,
    issuer: HeaderName,
    scopes: HeaderName,
}

impl IdentityHeaders {
    /// Headers whose names begin with this; `None` when no header name can.
    pub(crate) fn with_prefix(prefix: &str) -> Option<Self> {
        let name = |end: &str| format!("{prefix}{end}").parse::<HeaderName>().ok();
        Some(Self {
            method: name("method")?,
            subject: name("subject")?,
            issuer: name("issuer")?,
            scopes: name("scopes")?,
        })
    }

    fn names(&self) -> [&HeaderName; 4] {
        [&self.method, &self.subject, &self.issuer, &self.scopes]
    }

    /// Removes what the client said about itself.
    pub(crate) fn remove_forged(&self, request: &mut RequestHeader) {
        let forged: Vec<HeaderName> = self.forged(&request.headers).cloned().collect();
        for name in forged {
            request.remove_header(&name);
        }
    }

    fn forged<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h HeaderName> {
        headers.keys().filter(|name| self.names().iter().any(|ours| reads_as(name.as_str(), ours.as_str())))
    }

    /// Says who asks. Comes after [`IdentityHeaders::remove_forged`].
    pub(crate) fn set(&self, request: &mut RequestHeader, identity: &Identity) -> Result<()> {
        request.insert_header(self.method.clone(), HeaderValue::from_static(identity.method().as_str()))?;
        if let Some(subject) = identity.subject() {
            request.insert_header(self.subject.clone(), encoded([subject]))?;
        }
        if let Some(issuer) = identity.issuer() {
            request.insert_header(self.issuer.clone(), encoded([issuer]))?;
        }
        if !identity.scopes().is_empty() {
            request.insert_header(self.scopes.clone(), encoded(identity.scopes().iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

/// Whether a server that keeps only letters and digits of a header's name could take the one for
/// the other. Header names are in lower case here.
fn reads_as(name: &str, ours: &str) -> bool {
    let same = |(one, other): (u8, u8)| one == other || !(one.is_ascii_alphanumeric() || other.is_ascii_alphanumeric());
    name.len() == ours.len() && name.bytes().zip(ours.bytes()).all(same)
}

/// Words with a space between them. Bytes that a header cannot carry, spaces within a word and the
/// percent sign are percent-encoded (RFC 3986, section 2.1), so that no claim can end the header,
/// add a word or be confused with another.
fn encoded<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let mut text = String::new();
    for (index, word) in words.into_iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        for byte in word.bytes() {
            match byte {
                b'%' | 0..=0x20 | 0x7f.. => write!(text, "%{byte:02X}").expect("writing to a string cannot fail"),
                plain => text.push(char::from(plain)),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn headers() -> IdentityHeaders {
        IdentityHeaders::with_prefix("x-auth-").expect("a good prefix")
    }

    #[test]
    fn whatever_a_server_could_take_for_ours_is_removed() {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a good request");
        for name in
            ["x-auth-subject", "X-Auth-Subject", "x_auth_subject", "X-Auth_Issuer", "x.auth.scopes", "x-auth~method"]
        {
            request.append_header(name.to_owned(), "forged").expect("a good header");
        }
        for name in ["x-auth-token", "x-auth-subjects", "xx-auth-subject", "x-authasubject"] {
            request.append_header(name, "theirs").expect("a good header");
        }
        headers().remove_forged(&mut request);
        let mut left: Vec<&str> = request.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-auth-subjects", "x-auth-token", "x-authasubject", "xx-auth-subject"]);
    }

    #[test]
    fn no_claim_can_break_out_of_its_header() {
        let claims = json!({ "iss": "https://id.example", "sub": "a b%0d\r\nx-evil: 1é", "scp": ["read", "a b"] });
        let Value::Object(claims) = claims else { unreachable!("it is an object") };
        let mut request = RequestHeader::build("GET", b"/", None).expect("a good request");
        headers().set(&mut request, &Identity::of_token("main", claims)).expect("every value fits a header");
        let shown: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII"))).collect();
        for expected in [
            ("x-auth-method", "jwt"),
            ("x-auth-subject", "a%20b%250d%0D%0Ax-evil:%201%C3%A9"),
            ("x-auth-issuer", "https://id.example"),
            ("x-auth-scopes", "read a%20b"),
        ] {
            assert!(shown.contains(&expected), "{expected:?} is not in {shown:?}");
        }
        assert_eq!(shown.len(), 4);
    }
}
