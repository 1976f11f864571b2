//! What a client is told about its limits: the fields of draft-ietf-httpapi-ratelimit-headers-10.
//!
//! `RateLimit-Policy` names each policy with its quota `q` over a window of `w` seconds; `RateLimit` has
//! how many requests remain (`r`) and in how many seconds all of the budget is back (`t`), or, where
//! nothing remains, until the next request will be admitted. Both are lists, so an answer of the
//! upstream that has them keeps its own items, and ours come after them. They tell a client about the
//! budgets that its own request was counted in, and about no other.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::{Result, http::ResponseHeader};
use serde_json::json;

use super::{
    charge::{Charge, Charges},
    policy::Policies,
};
use crate::answer::Answer;

const LIMIT: &str = "RateLimit";
const POLICY: &str = "RateLimit-Policy";

/// The shortest wait that `Retry-After` can tell.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Both fields, ready to send.
#[derive(Debug, Clone)]
pub(crate) struct LimitFields {
    limit: HeaderValue,
    policy: HeaderValue,
}

impl LimitFields {
    pub(super) fn new(policies: &Policies, charges: &Charges<'_>) -> Self {
        let (mut limit, mut policy) = (String::with_capacity(64), String::with_capacity(64));
        for charge in charges.iter() {
            let name = &policies.get(charge.policy).name;
            let separator = if limit.is_empty() { "" } else { ", " };
            let (remaining, seconds) = standing(charge);
            let rate = charge.quota.rate;
            write!(limit, "{separator}\"{name}\";r={remaining};t={seconds}").expect("a string takes it");
            write!(policy, "{separator}\"{name}\";q={};w={}", rate.requests(), rate.window_s())
                .expect("a string takes it");
        }
        Self { limit: value(limit), policy: value(policy) }
    }

    /// Adds them to an answer of the upstream.
    pub(crate) fn append_to(&self, answer: &mut ResponseHeader) -> Result<()> {
        answer.append_header(POLICY, self.policy.clone())?;
        answer.append_header(LIMIT, self.limit.clone())?;
        Ok(())
    }

    /// Adds them to an answer of the gateway.
    fn add_to(self, answer: Answer) -> Answer {
        answer
            .header(HeaderName::from_static("ratelimit-policy"), self.policy)
            .header(HeaderName::from_static("ratelimit"), self.limit)
    }
}

/// What remains, and in how many seconds that changes.
fn standing(charge: &Charge<'_>) -> (u32, u64) {
    let remaining = charge.flow.remaining(charge.used);
    let wait = if remaining == 0 { charge.flow.wait(charge.used) } else { charge.flow.reset(charge.used) };
    (remaining, seconds(wait))
}

/// In seconds, rounded up: whoever waits that long does not come too early.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("names of policies are letters, digits, - and _")
}

/// The answer to a request that one of its policies has refused.
pub(super) fn limited(policies: &Policies, charges: &Charges<'_>) -> Answer {
    let (policy, wait) = charges
        .refused_by()
        .map_or(("", SHORTEST_WAIT), |(charge, wait)| (policies.get(charge.policy).name.as_str(), wait));
    let wait = wait.max(SHORTEST_WAIT);
    let message = format!("limit `{policy}` is used up; try again in {} s", seconds(wait));
    let body = json!({ "error": "rate_limited", "message": message, "policy": policy });
    let answer = Answer::json(StatusCode::TOO_MANY_REQUESTS, &body).retry_after(wait);
    LimitFields::new(policies, charges).add_to(answer)
}
