//! What a client is told about its limits: the fields of draft-ietf-httpapi-ratelimit-headers-10.
//!
//! `RateLimit-Policy` names each policy with its quota `q` over a window of `w` seconds; `RateLimit` has
//! how many requests remain (`r`) and in how many seconds all of the budget is back (`t`), or, where
//! nothing remains, until the next request will be admitted. Both are lists, so an answer of the
//! upstream that has them keeps its own items, and ours come after them. They tell a client about the
//! budgets that its own request was counted in, and about no other.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::{Result, http::ResponseHeader};
use serde_json::json;

use super::{
    charge::{Charge, Charges},
    policy::Policies,
};
use crate::{
    answer::Answer,
    refusal::{Refusal, Refused},
};

const LIMIT: &str = "RateLimit";
const POLICY: &str = "RateLimit-Policy";

/// The shortest wait that `Retry-After` can tell.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Both fields, ready to send.
#[derive(Debug, Clone)]
pub struct LimitFields {
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
            push(&mut limit, [separator, "\"", name, "\";r="], remaining.into(), ";t=", seconds);
            let (requests, window_s) = (rate.requests().into(), rate.window_s().into());
            push(&mut policy, [separator, "\"", name, "\";q="], requests, ";w=", window_s);
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

/// Texts and two numbers. By hand, since every answer of a limited route has both fields.
fn push(field: &mut String, before: [&str; 4], first: u64, between: &str, second: u64) {
    let mut digits = itoa::Buffer::new();
    before.into_iter().for_each(|text| field.push_str(text));
    field.push_str(digits.format(first));
    field.push_str(between);
    field.push_str(digits.format(second));
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

/// A request that is not let through.
#[derive(Debug)]
pub enum NotAdmitted {
    /// One of its policies has refused it.
    UsedUp {
        /// That policy.
        policy: String,
        /// How long until it will admit a request again.
        wait: Duration,
        /// How all of its policies stand.
        fields: LimitFields,
    },
    /// Nobody can tell, and nothing is let through then.
    Unknown,
}

impl NotAdmitted {
    /// The policy that refuses for longest stands for all that do.
    pub(super) fn used_up(policies: &Policies, charges: &Charges<'_>) -> Self {
        let (policy, wait) = charges
            .refused_by()
            .map_or_else(Default::default, |(charge, wait)| (policies.get(charge.policy).name.clone(), wait));
        Self::UsedUp { policy, wait, fields: LimitFields::new(policies, charges) }
    }
}

impl From<NotAdmitted> for Refused {
    fn from(request: NotAdmitted) -> Self {
        match request {
            NotAdmitted::UsedUp { policy, wait, fields } => {
                let wait = wait.max(SHORTEST_WAIT);
                let message = format!("limit `{policy}` is used up; try again in {} s", seconds(wait));
                let body = json!({ "error": Refusal::RateLimited.code(), "message": message, "policy": policy });
                let answer = Answer::json(StatusCode::TOO_MANY_REQUESTS, &body).retry_after(wait);
                Self { refusal: Refusal::RateLimited, answer: fields.add_to(answer) }
            }
            NotAdmitted::Unknown => {
                let refusal = Refusal::LimitUnavailable;
                Self { refusal, answer: refusal.answer().retry_after(SHORTEST_WAIT) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{
        budget::Flow,
        policy::{Counts, Policy, PolicyId},
        quota::Quota,
        subject::Subject,
    };

    fn quota(rate: &str, burst: u32) -> Quota {
        Quota::new(rate.parse().expect("a good rate"), Some(burst)).expect("a good burst")
    }

    fn policies() -> Policies {
        let policy = |name: &str| Policy { name: name.to_owned(), counts: Counts::Key, quota: quota("1/s", 1) };
        Policies::new(vec![policy("per-client"), policy("per-function")])
    }

    fn charge(policy: usize, quota: Quota, used: f64) -> Charge<'static> {
        Charge { policy: PolicyId(policy), subject: Subject::Text("k"), quota, flow: Flow::of(quota), used }
    }

    fn fields(charges: &Charges<'_>) -> (String, String) {
        let fields = LimitFields::new(&policies(), charges);
        let text = |value: &HeaderValue| value.to_str().expect("plain text").to_owned();
        (text(&fields.policy), text(&fields.limit))
    }

    #[test]
    fn every_policy_is_told_with_what_remains_and_for_how_long() {
        let all = Charges::new([charge(0, quota("100/s", 20), 0.5), charge(1, quota("600/min", 3), 3.0)]);
        let (policy, limit) = fields(&all);
        assert_eq!(policy, "\"per-client\";q=100;w=1, \"per-function\";q=600;w=60");
        assert_eq!(limit, "\"per-client\";r=19;t=1, \"per-function\";r=0;t=1", "seconds are rounded up");
        let (_, limit) = fields(&Charges::new([charge(0, quota("1/d", 1), 0.0)]));
        assert_eq!(limit, "\"per-client\";r=1;t=0");
    }

    #[test]
    fn the_longest_wait_is_told() {
        let all = Charges::new([charge(0, quota("100/s", 20), 20.0), charge(1, quota("1/min", 3), 3.0)]);
        let NotAdmitted::UsedUp { policy, wait, .. } = NotAdmitted::used_up(&policies(), &all) else {
            panic!("both are used up");
        };
        assert_eq!((policy.as_str(), wait.as_secs_f64().ceil()), ("per-function", 60.0));
    }
}
