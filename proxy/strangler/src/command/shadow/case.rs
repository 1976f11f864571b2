//! A mismatch as a test case, and running it.
//!
//! What is expected is legacy's answer, as it was kept: redacted. So the answer that comes is redacted by the
//! same rules before the two are compared, and a secret is never asked for but in the request.

use std::time::Duration;

use anyhow::Context as _;
use comparison::{Answer, Difference, Masks, Outcome, REDACTED, RuleConfig, Rules, RulesConfig, compare};
use reqwest::{
    Client, Method,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use serde::{Deserialize, Serialize};

use crate::{
    admin::shadow::{Answer as Kept, Mismatch, Request},
    output::Refused,
};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Header fields that belong to one connection, or to the copy that was sent.
const NOT_SENT: [&str; 11] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "strangler-dry-run",
    "te",
    "traceparent",
    "transfer-encoding",
    "upgrade",
    "x-shadow",
];

/// A test case.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Case {
    /// The mismatch it was made of.
    id: String,
    route: String,
    request: Request,
    expected: Kept,
    /// What counts as the same.
    rules: RulesConfig,
}

impl Case {
    /// Noise that was masked then is ignored now.
    pub(super) fn of(mismatch: Mismatch, mut rules: RulesConfig) -> Self {
        rules.rules.extend(mismatch.masked.into_iter().map(RuleConfig::ignore));
        Self { id: mismatch.id, route: mismatch.route, request: mismatch.request, expected: mismatch.legacy, rules }
    }

    /// Sends the request, and says where the answer is not the one that is expected.
    pub(super) async fn run(&self, against: &str, given: &[(String, String)]) -> anyhow::Result<Vec<Difference>> {
        self.check()?;
        let rules = Rules::compile(&self.rules).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Refused(format!("the rules of the case: {}", problems.join("; ")))
        })?;
        let method: Method = self.request.method.parse().context("the case's method")?;
        let url = format!("{}{}", against.trim_end_matches('/'), self.request.target);
        let client = Client::builder().redirect(redirect::Policy::none()).timeout(TIMEOUT).build()?;
        let asked = client.request(method, &url).headers(self.headers(given)?).body(self.request.body.text.clone());
        let answered = asked.send().await.with_context(|| format!("{url} does not answer"))?;
        let (status, headers) = (answered.status().as_u16(), answered.headers().clone());
        let body = answered.bytes().await.with_context(|| format!("{url} broke off"))?;
        let body = rules.redaction().body(&headers, &body, rules.limits(), usize::MAX).text;
        let (expected_headers, headers) =
            (fields(&self.expected.headers)?, fields(&rules.redaction().headers(&headers))?);
        let expected = self.expected.body.text.as_bytes();
        let expected = Answer { status: self.expected.status, headers: &expected_headers, body: expected };
        let comparison =
            compare(&rules, &Masks::none(), &expected, &Answer { status, headers: &headers, body: body.as_bytes() });
        match comparison.outcome {
            Outcome::NotCompared(obstacle) => {
                Err(Refused(format!("the answers cannot be compared: {}", obstacle.as_str())).into())
            }
            _ => Ok(comparison.differences),
        }
    }

    /// What was not kept cannot be sent, nor compared.
    fn check(&self) -> Result<(), Refused> {
        let Request { target, body, .. } = &self.request;
        if !body.whole {
            return Err(Refused("the request's body was not kept whole; put it into the case".to_owned()));
        }
        if target.contains(REDACTED) || body.text.contains(REDACTED) {
            let said = format!("the request has {REDACTED} in it; put the values into the case");
            return Err(Refused(said));
        }
        if self.expected.body.text.ends_with('…') {
            return Err(Refused("the expected body was too long to be kept whole; put it into the case".to_owned()));
        }
        Ok(())
    }

    /// The fields to send: those that are given in place of those that were kept.
    fn headers(&self, given: &[(String, String)]) -> anyhow::Result<HeaderMap> {
        let kept = self.request.headers.iter().filter(|(name, value)| {
            let replaced = given.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
            value != REDACTED && !replaced && !NOT_SENT.contains(&name.as_str())
        });
        pairs(kept.chain(given))
    }
}

/// Bodies are kept without their encoding.
fn fields(kept: &[(String, String)]) -> anyhow::Result<HeaderMap> {
    pairs(kept.iter().filter(|(name, _)| name != header::CONTENT_ENCODING.as_str()))
}

fn pairs<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let wrong = || format!("`{name}` is no header field");
        let name: HeaderName = name.parse().with_context(wrong)?;
        headers.append(name, HeaderValue::from_str(value).with_context(wrong)?);
    }
    Ok(headers)
}
