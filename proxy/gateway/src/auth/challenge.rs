//! What a caller is told that may not pass (RFC 6750, section 3).

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

use super::{AuthProblem, policy::Policy};
use crate::refusal::{Refusal, Refused};

/// When another try makes sense while keys are missing: they are fetched again about that often.
const KEYS_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The answer to a caller that may not pass.
pub(super) fn refused(
    problem: AuthProblem,
    realm: &str,
    policy: &Policy,
    api_key_header: Option<&HeaderName>,
) -> Refused {
    let refusal = match problem {
        AuthProblem::KeysUnavailable => {
            let refusal = Refusal::KeysUnavailable;
            return Refused { refusal, answer: refusal.answer().retry_after(KEYS_RETRY_AFTER) };
        }
        AuthProblem::Scope => Refusal::InsufficientScope,
        _ => Refusal::Unauthorized,
    };
    let error = match problem {
        // Who shows nothing may not know that it has to: no error code (section 3.1).
        AuthProblem::NoCredentials => String::new(),
        AuthProblem::Scope => format!(", error=\"insufficient_scope\", scope=\"{}\"", policy.scopes.join(" ")),
        _ => ", error=\"invalid_token\"".to_owned(),
    };
    let mut answer = refusal.answer();
    let bearer = policy.require.takes_jwt().then(|| format!("Bearer realm=\"{realm}\"{error}"));
    // Not registered, but a 401 must name a challenge (RFC 9110, section 15.5.2).
    let api_key = api_key_header.filter(|_| policy.require.takes_api_key());
    let api_key = api_key.map(|name| format!("ApiKey realm=\"{realm}\", header=\"{name}\"{error}"));
    for challenge in [bearer, api_key].into_iter().flatten() {
        let value = HeaderValue::try_from(challenge).expect("realm and scopes have been checked");
        answer = answer.header(header::WWW_AUTHENTICATE, value);
    }
    Refused { refusal, answer }
}
