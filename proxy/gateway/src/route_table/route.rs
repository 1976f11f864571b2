//! One route: what it takes, and what is done with what it takes.

use std::time::Duration;

use http::Method;
use pingora::{Error, ErrorType, Result, upstreams::peer::PeerOptions};

use super::{
    condition::Conditions, header_edits::HeaderEdits, host::HostPattern, key::KeySource, rewrite::Rewrite,
    slice::RouteSlice, template::Template,
};
use crate::{only_candidate::OnlyCandidateSource, resilience::Resilience};

/// A route's place in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub(crate) usize);

impl RouteId {
    /// The route in this place of its table.
    #[must_use]
    pub fn new(index: usize) -> Self {
        Self(index)
    }

    /// The index, for tables kept beside the route table.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// An upstream's place in the list of upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(pub(crate) usize);

impl UpstreamId {
    /// The upstream in this place of the list.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The index into the list of upstreams.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// Where a route may send a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// The route has not begun to move.
    Legacy(UpstreamId),
    /// The route has moved for good.
    Candidate(UpstreamId),
    /// The weight decides.
    Both {
        /// The old side.
        legacy: UpstreamId,
        /// The new side.
        candidate: UpstreamId,
        /// Whether a request whose candidate cannot be reached goes to legacy.
        fallback: bool,
    },
}

impl Sides {
    /// Whether a weight means anything here.
    #[must_use]
    pub fn is_split(self) -> bool {
        matches!(self, Self::Both { .. })
    }
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name in configuration, metrics, log and API.
    pub name: String,
    /// The hosts it takes; empty for any.
    pub hosts: Vec<HostPattern>,
    /// The methods it takes; empty for any.
    pub methods: Vec<Method>,
    /// The paths it takes.
    pub template: Template,
    /// What it asks of headers and query.
    pub conditions: Conditions,
    /// What its decisions are sticky to.
    pub key: KeySource,
    /// The key as it was configured.
    pub key_text: String,
    /// Whether a request without a key is refused; otherwise it counts for itself.
    pub key_required: bool,
    /// Where its requests may go.
    pub sides: Sides,
    /// Set apart from other routes by this: two routes with one salt move the same keys together.
    pub salt: String,
    /// What happens when the upstream of a request's side does not serve it.
    pub resilience: Resilience,
    /// Whom to ask for the keys that legacy cannot serve.
    pub only_candidate: Option<OnlyCandidateSource>,
    /// How long the requests of a key stay where it was written last.
    pub sticky_writes: Option<Duration>,
    /// What differs from the gateway's general limits.
    pub limits: RouteLimits,
    /// The path that upstreams see instead of the client's.
    pub rewrite: Option<Rewrite>,
    /// Headers changed on the way to the upstream.
    pub request_headers: HeaderEdits,
    /// Headers changed on the way to the client.
    pub response_headers: HeaderEdits,
    /// Whether its settings let it be shadowed.
    pub shadowed: bool,
    /// The slice that it reads and writes.
    pub slice: Option<RouteSlice>,
}

/// A route's own limits; what is `None` is as for every route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteLimits {
    /// From the request's arrival to the header of its answer, over all attempts.
    pub timeout: Option<Duration>,
    /// The longest an upstream may be silent.
    pub read_timeout: Option<Duration>,
    /// The longest body, in bytes.
    pub body_bytes: Option<u64>,
    /// The longest body that a key is read from, in bytes.
    pub key_body_bytes: usize,
}

impl RouteLimits {
    /// Limits an attempt that begins this long after the request's arrival.
    ///
    /// pingora has one limit for the silence of an upstream, before its answer and within it; what is
    /// left of `timeout` holds for both.
    ///
    /// # Errors
    /// When nothing is left.
    pub(crate) fn apply(&self, options: &mut PeerOptions, spent: Duration) -> Result<()> {
        if let Some(patience) = self.read_timeout {
            options.read_timeout = Some(patience);
        }
        let Some(timeout) = self.timeout else { return Ok(()) };
        let left = timeout.checked_sub(spent).filter(|left| !left.is_zero());
        let left =
            left.ok_or_else(|| Error::explain(ErrorType::ReadTimedout, "the route's timeout is over").into_up())?;
        for limit in [&mut options.read_timeout, &mut options.connection_timeout, &mut options.total_connection_timeout]
        {
            *limit = Some(limit.map_or(left, |limit| limit.min(left)));
        }
        Ok(())
    }
}

impl Route {
    /// A route that takes every request for these paths, each counting for itself.
    #[must_use]
    pub fn new(name: &str, template: Template, sides: Sides) -> Self {
        Self {
            name: name.to_owned(),
            hosts: Vec::new(),
            methods: Vec::new(),
            template,
            conditions: Conditions::default(),
            key: KeySource::Request,
            key_text: "request".to_owned(),
            key_required: false,
            sides,
            salt: name.to_owned(),
            resilience: Resilience::default(),
            only_candidate: None,
            sticky_writes: None,
            limits: RouteLimits::default(),
            rewrite: None,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            shadowed: false,
            slice: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_has_what_is_left_of_the_time() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let limited = |timeout, read_timeout, spent: u64| {
            let mut options = PeerOptions::new();
            (options.read_timeout, options.connection_timeout) = (seconds(60), seconds(1));
            let limits = RouteLimits { timeout, read_timeout, ..RouteLimits::default() };
            let applied = limits.apply(&mut options, Duration::from_secs(spent));
            applied.ok().map(|()| (options.read_timeout, options.connection_timeout))
        };
        assert_eq!(limited(None, None, 99), Some((seconds(60), seconds(1))), "the upstream's own");
        assert_eq!(limited(None, seconds(90), 99), Some((seconds(90), seconds(1))));
        assert_eq!(limited(seconds(10), seconds(90), 4), Some((seconds(6), seconds(1))));
        assert_eq!(limited(seconds(90), seconds(5), 4), Some((seconds(5), seconds(1))));
        assert_eq!(limited(seconds(10), None, 10), None, "nothing is left");
    }
}
