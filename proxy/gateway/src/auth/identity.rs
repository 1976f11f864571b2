//! Who asks, once it is proven.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// How an identity was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    /// A signed token (RFC 7519).
    Jwt,
    /// A key that the gateway knows the hash of.
    ApiKey,
}

impl AuthMethod {
    /// As configuration, headers and metrics call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::ApiKey => "api_key",
        }
    }
}

/// A caller whose token or key was good.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    id: String,
    method: AuthMethod,
    issuer: Option<String>,
    subject: Option<String>,
    scopes: Vec<String>,
    claims: Map<String, Value>,
}

impl Identity {
    /// The bearer of a token that verified. `issuer_name` is the issuer's name in the configuration.
    #[must_use]
    pub fn of_token(issuer_name: &str, claims: Map<String, Value>) -> Self {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let subject = text("sub");
        Self {
            // A name in the configuration has no colon, so no subject can make one issuer's id look
            // like another's.
            id: format!("jwt:{issuer_name}:{}", subject.as_deref().unwrap_or_default()),
            method: AuthMethod::Jwt,
            issuer: text("iss"),
            subject,
            scopes: scopes(&claims),
            claims,
        }
    }

    /// The holder of the API key of this name.
    #[must_use]
    pub fn of_api_key(name: &str, scopes: Vec<String>) -> Self {
        Self {
            id: format!("api_key:{name}"),
            method: AuthMethod::ApiKey,
            issuer: None,
            subject: Some(name.to_owned()),
            scopes,
            claims: Map::new(),
        }
    }

    /// A name for whoever this is that no other issuer's subject and no API key has. It stays the
    /// same from token to token. Tokens of one issuer that have no subject share one id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How it was proven.
    #[must_use]
    pub fn method(&self) -> AuthMethod {
        self.method
    }

    /// The token's `iss`; API keys have none.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The token's `sub`, or the API key's name.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// What the caller may do.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Whether every one of these scopes was given.
    #[must_use]
    pub fn has_scopes(&self, required: &[String]) -> bool {
        required.iter().all(|scope| self.scopes.contains(scope))
    }

    /// A claim as text: text as it is, numbers and truth values as JSON writes them. `None` for
    /// lists, objects and nulls, which have no one text, and for what is not there. Of an API key
    /// `sub` is its name, and nothing else is there.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.claims.get(name) {
            Some(Value::String(text)) => Some(Cow::Borrowed(text)),
            Some(Value::Number(number)) => Some(Cow::Owned(number.to_string())),
            Some(Value::Bool(value)) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Some(_) => None,
            None => self.subject().filter(|_| name == "sub").map(Cow::Borrowed),
        }
    }
}

/// The scopes of a token: `scope` is text with spaces between them (RFC 8693, section 4.2), `scp` a
/// list of them or such a text. Tokens that have both are given both.
fn scopes(claims: &Map<String, Value>) -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    let mut add = |scope: &str| {
        if !scope.is_empty() && !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    };
    for value in ["scope", "scp"].iter().filter_map(|name| claims.get(*name)) {
        match value {
            Value::String(text) => text.split(' ').for_each(&mut add),
            Value::Array(list) => list.iter().filter_map(Value::as_str).for_each(&mut add),
            _ => {}
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(issuer_name: &str, claims: Value) -> Identity {
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        Identity::of_token(issuer_name, claims)
    }

    #[test]
    fn ids_are_unique_across_issuers_and_methods() {
        let ids = [
            token("a", json!({ "sub": "x" })).id().to_owned(),
            token("b", json!({ "sub": "x" })).id().to_owned(),
            token("a", json!({})).id().to_owned(),
            token("a", json!({ "sub": "b:x" })).id().to_owned(),
            Identity::of_api_key("x", Vec::new()).id().to_owned(),
        ];
        for (index, id) in ids.iter().enumerate() {
            assert!(!ids[..index].contains(id), "{id} is there twice");
        }
    }

    #[test]
    fn scopes_are_read_in_both_spellings() {
        for (claims, expected) in [
            (json!({ "scope": "a b" }), &["a", "b"][..]),
            (json!({ "scope": " a  a " }), &["a"]),
            (json!({ "scp": ["a", "b c", 1] }), &["a", "b c"]),
            (json!({ "scp": "a b" }), &["a", "b"]),
            (json!({ "scope": "a", "scp": ["b"] }), &["a", "b"]),
            (json!({ "scope": 1, "scp": { "a": 1 } }), &[]),
        ] {
            assert_eq!(token("i", claims.clone()).scopes(), expected, "{claims}");
        }
        let identity = token("i", json!({ "scp": ["a b"] }));
        assert!(!identity.has_scopes(&["a".to_owned()]), "one scope with a space in it is not two");
    }

    #[test]
    fn a_claim_has_one_text_or_none() {
        let identity = token("i", json!({ "sub": "s", "tier": 3, "beta": true, "groups": ["g"], "x": null }));
        let read = |name| identity.claim(name).map(Cow::into_owned);
        assert_eq!(read("sub").as_deref(), Some("s"));
        assert_eq!(read("tier").as_deref(), Some("3"));
        assert_eq!(read("beta").as_deref(), Some("true"));
        assert_eq!((read("groups"), read("x"), read("none")), (None, None, None));
        assert_eq!(Identity::of_api_key("ci", Vec::new()).claim("sub").as_deref(), Some("ci"));
    }
}
