//! What a token says, held against what its issuer's tokens must say (RFC 7519, section 4.1).

use serde_json::{Map, Value};

use super::TokenProblem;

/// The largest whole number that a JSON number surely carries exactly (RFC 8259, section 6): far
/// beyond any date.
const MAX_DATE_S: f64 = 9_007_199_254_740_991.0;

/// What the tokens of one issuer must say.
#[derive(Debug)]
pub(super) struct Rules {
    /// The audiences of which one is enough; `None` for any audience or none.
    pub(super) audiences: Option<Vec<String>>,
    /// How far the issuer's clock and ours may be apart, in seconds.
    pub(super) leeway_s: u32,
    /// Claims that must be there, whatever they say.
    pub(super) required: Vec<String>,
    /// Whether a token must end some day.
    pub(super) needs_expiry: bool,
}

impl Rules {
    /// Checks the claims at this time, in seconds since 1970. Returns the time from which on the
    /// token is not good any more, leeway included; infinite when it has no end.
    pub(super) fn check(&self, claims: &Map<String, Value>, now_s: u64) -> Result<f64, TokenProblem> {
        if !self.required.iter().all(|name| claims.get(name).is_some_and(|value| !value.is_null())) {
            return Err(TokenProblem::MissingClaim);
        }
        if let Some(audiences) = &self.audiences
            && !audience_fits(claims.get("aud"), audiences)
        {
            return Err(TokenProblem::Audience);
        }
        // Exact: seconds since 1970 fit into 53 bits for as long as anybody cares.
        let (now, leeway) = (now_s as f64, f64::from(self.leeway_s));
        let expires = match date(claims, "exp")? {
            Some(expires) => expires + leeway,
            None if self.needs_expiry => return Err(TokenProblem::MissingClaim),
            None => f64::INFINITY,
        };
        // The current time must be before it (section 4.1.4).
        if now >= expires {
            return Err(TokenProblem::Expired);
        }
        // A token from the future was made by a clock that cannot be trusted with `exp` either.
        for name in ["nbf", "iat"] {
            if date(claims, name)?.is_some_and(|from| now + leeway < from) {
                return Err(TokenProblem::NotYetValid);
            }
        }
        Ok(expires)
    }
}

fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, TokenProblem> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=MAX_DATE_S).contains(seconds));
    seconds.map(Some).ok_or(TokenProblem::MalformedDate)
}

/// `aud` is one audience or a list of them (section 4.1.3).
fn audience_fits(claim: Option<&Value>, audiences: &[String]) -> bool {
    let fits = |value: &Value| value.as_str().is_some_and(|one| audiences.iter().any(|known| known == one));
    match claim {
        Some(Value::Array(list)) => list.iter().all(Value::is_string) && list.iter().any(fits),
        Some(value) => fits(value),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW_S: u64 = 1_700_000_000;

    fn check(claims: Value) -> Result<f64, TokenProblem> {
        let rules = Rules {
            audiences: Some(vec!["api".to_owned(), "cli".to_owned()]),
            leeway_s: 30,
            required: vec!["sub".to_owned()],
            needs_expiry: true,
        };
        let Value::Object(mut given) = claims else { panic!("claims are an object") };
        for (name, value) in [("sub", json!("s")), ("aud", json!("api")), ("exp", json!(NOW_S + 60))] {
            given.entry(name).or_insert(value);
        }
        given.retain(|_, value| value != "absent");
        rules.check(&given, NOW_S)
    }

    #[test]
    fn a_token_is_good_up_to_the_edges_of_its_dates() {
        for (claims, expected) in [
            (json!({ "exp": NOW_S - 29 }), Ok(1_700_000_001.0)),
            (json!({ "exp": NOW_S - 30 }), Err(TokenProblem::Expired)),
            (json!({ "exp": 1_699_999_970.5 }), Ok(1_700_000_000.5)),
            (json!({ "exp": 0 }), Err(TokenProblem::Expired)),
            (json!({ "nbf": NOW_S + 30 }), Ok(1_700_000_090.0)),
            (json!({ "nbf": NOW_S + 31 }), Err(TokenProblem::NotYetValid)),
            (json!({ "nbf": 1_700_000_030.5 }), Err(TokenProblem::NotYetValid)),
            (json!({ "iat": NOW_S + 31 }), Err(TokenProblem::NotYetValid)),
            (json!({ "iat": NOW_S - 1, "nbf": 0 }), Ok(1_700_000_090.0)),
            (json!({ "exp": 9_007_199_254_740_991_u64 }), Ok(MAX_DATE_S + 30.0)),
        ] {
            assert_eq!(check(claims.clone()), expected, "{claims}");
        }
    }

    #[test]
    fn what_is_no_date_is_no_date() {
        for value in [
            json!("1700000060"),
            json!(-1),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(1e300),
            json!(true),
            json!(null),
            json!([1_700_000_060]),
            json!({}),
        ] {
            for name in ["exp", "nbf", "iat"] {
                assert_eq!(check(json!({ name: value })), Err(TokenProblem::MalformedDate), "{name}: {value}");
            }
        }
    }

    #[test]
    fn an_audience_is_one_name_or_a_list_of_names() {
        for good in [json!("api"), json!("cli"), json!(["other", "api"])] {
            assert!(check(json!({ "aud": good })).is_ok(), "{good}");
        }
        for bad in [
            json!("API"),
            json!("api "),
            json!("api,cli"),
            json!(["other"]),
            json!([]),
            json!([["api"]]),
            json!(["api", 1]),
            json!({ "api": true }),
            json!(1),
            json!(null),
            json!("absent"),
        ] {
            assert_eq!(check(json!({ "aud": bad })), Err(TokenProblem::Audience), "{bad}");
        }
    }

    #[test]
    fn required_claims_and_an_end_must_be_there() {
        for name in ["sub", "exp"] {
            assert_eq!(check(json!({ name: "absent" })), Err(TokenProblem::MissingClaim), "{name}");
        }
        assert_eq!(check(json!({ "sub": null })), Err(TokenProblem::MissingClaim));
        let lax = Rules { audiences: None, leeway_s: 0, required: Vec::new(), needs_expiry: false };
        assert_eq!(lax.check(&Map::new(), NOW_S), Ok(f64::INFINITY));
    }
}
