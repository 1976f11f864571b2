//! Which route a request takes: the most specific of all that match it.
//!
//! Routes are compared by these, the first difference deciding; the order in the file never matters.
//!
//! | | compared | most specific first |
//! |---|---|---|
//! | 1 | host | this host; below a longer domain (`*.eu.example`); below a shorter one; any |
//! | 2 | path, segment by segment from the left | plain text; a parameter; the end; the rest of the path |
//! | 3 | method | listed; any |
//! | 4 | headers | more conditions; then more exact ones; then longer prefixes |
//! | 5 | query | likewise |
//!
//! The order is that of the Kubernetes Gateway API's `HTTPRouteRule`, but for the path, which is
//! compared by segments and not by length. Two routes between which it does not decide, and which
//! one request can match, are refused when the table is built.
//!
//! Hosts are looked up in maps, paths in a tree for each host pattern, so the cost of finding a route
//! does not grow with the number of routes; only routes of one host and one path template are tried
//! one after the other.

mod ambiguity;
mod condition;
mod header_edits;
mod host;
mod json_pointer;
mod key;
mod rewrite;
mod route;
mod slice;
mod template;

use std::{borrow::Cow, cmp::Reverse, collections::HashMap};

use http::{HeaderMap, Method};

pub use ambiguity::AmbiguousRoutes;
pub use condition::{Conditions, Expected, HeaderCondition, QueryCondition};
pub use header_edits::{HeaderEdits, HeaderProblem};
pub use host::{HostPattern, HostPatternProblem};
pub use json_pointer::{JsonKey, JsonPointer, PointerProblem};
pub use key::{KeyInput, KeyProblem, KeySource, RepeatedKey};
pub use rewrite::{Rewrite, RewriteProblem};
pub use route::{Route, RouteId, RouteLimits, Sides, UpstreamId};
pub use slice::{RouteSlice, Slice, SliceId, Writes};
pub use template::{Template, TemplateProblem};

use crate::request_path::RequestPath;
use template::Segment;

/// What routes are matched against.
#[derive(Debug, Clone, Copy)]
pub struct MatchInput<'r> {
    /// The method.
    pub method: &'r Method,
    /// The host in its one form (see [`canonical_host`](crate::canonical_host)); none matches routes
    /// for any host only.
    pub host: Option<&'r str>,
    /// The path.
    pub path: &'r RequestPath<'r>,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// What follows the `?`, not decoded.
    pub query: Option<&'r str>,
}

/// Every route, arranged for look-up.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    /// What routes say they belong to, by place.
    slices: Vec<Slice>,
    /// Routes for one host.
    exact: HashMap<String, Node>,
    /// Routes for every host below a domain, by the domain.
    below: HashMap<String, Node>,
    /// Routes for any host.
    any: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    parameter: Option<Box<Node>>,
    /// Routes that take whatever is left from here, the most specific first.
    rest: Vec<RouteId>,
    /// Routes that end here, the most specific first.
    ends: Vec<RouteId>,
}

impl RouteTable {
    /// Arranges the routes.
    ///
    /// # Errors
    /// Every route that can match a request of an earlier one, with neither more specific.
    pub fn new(routes: Vec<Route>) -> Result<Self, Vec<AmbiguousRoutes>> {
        let mut table = Self { routes, ..Self::default() };
        let mut ambiguous = Vec::new();
        for index in 0..table.routes.len() {
            let Self { routes, exact, below, any, .. } = &mut table;
            let route = &routes[index];
            let mut rival = None;
            let roots = if route.hosts.is_empty() { vec![None] } else { route.hosts.iter().map(Some).collect() };
            for host in roots {
                let root = match host {
                    None => &mut *any,
                    Some(HostPattern::Exact(host)) => exact.entry(host.clone()).or_default(),
                    Some(HostPattern::Below(domain)) => below.entry(domain.clone()).or_default(),
                };
                let leaves = root.leaves(&route.template);
                rival = rival.or(leaves.iter().copied().find(|other| ambiguity::between(&routes[other.0], route)));
                leaves.push(RouteId(index));
                leaves.sort_by_key(|id| rank(&routes[id.0]));
            }
            if let Some(rival) = rival {
                ambiguous.push(AmbiguousRoutes::new(&routes[rival.0], route, index));
            }
        }
        if ambiguous.is_empty() { Ok(table) } else { Err(ambiguous) }
    }

    /// The route of a request, if any takes it.
    #[must_use]
    pub fn find(&self, request: &MatchInput<'_>) -> Option<RouteId> {
        let segments = request.path.segments();
        let host = request.host.filter(|_| !self.exact.is_empty() || !self.below.is_empty());
        if let Some(host) = host {
            let exact = self.exact.get(host).into_iter();
            let below = host::domains_above(host).filter_map(|domain| self.below.get(domain));
            if let Some(id) = exact.chain(below).find_map(|root| self.find_below(root, request, segments)) {
                return Some(id);
            }
        }
        self.find_below(&self.any, request, segments)
    }

    fn find_below(&self, node: &Node, request: &MatchInput<'_>, segments: &[Cow<'_, str>]) -> Option<RouteId> {
        let deeper = match segments.split_first() {
            None => self.choose(&node.ends, request),
            Some((first, rest)) => node
                .literals
                .get(first.as_ref())
                .and_then(|next| self.find_below(next, request, rest))
                .or_else(|| node.parameter.as_ref().and_then(|next| self.find_below(next, request, rest))),
        };
        deeper.or_else(|| self.choose(&node.rest, request))
    }

    fn choose(&self, leaves: &[RouteId], request: &MatchInput<'_>) -> Option<RouteId> {
        let takes = |id: &&RouteId| {
            let route = &self.routes[id.0];
            (route.methods.is_empty() || route.methods.contains(request.method))
                && route.conditions.hold(request.headers, request.query)
        };
        leaves.iter().find(takes).copied()
    }

    /// The route in this place.
    #[must_use]
    pub fn get(&self, id: RouteId) -> &Route {
        &self.routes[id.0]
    }

    /// The route of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<RouteId> {
        self.routes.iter().position(|route| route.name == name).map(RouteId)
    }

    /// Every route with its place, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (RouteId, &Route)> {
        self.routes.iter().enumerate().map(|(index, route)| (RouteId(index), route))
    }

    /// With the slices that its routes belong to.
    #[must_use]
    pub fn with_slices(mut self, slices: Vec<Slice>) -> Self {
        self.slices = slices;
        self
    }

    /// The slices, by place.
    pub fn slices(&self) -> impl ExactSizeIterator<Item = (SliceId, &Slice)> {
        self.slices.iter().enumerate().map(|(index, slice)| (SliceId(index), slice))
    }

    /// The slice in this place.
    #[must_use]
    pub fn slice(&self, id: SliceId) -> &Slice {
        &self.slices[id.0]
    }

    /// The slice of this name.
    #[must_use]
    pub fn slice_by_name(&self, name: &str) -> Option<SliceId> {
        self.slices.iter().position(|slice| slice.name == name).map(SliceId)
    }

    /// The routes of a slice.
    pub fn routes_of(&self, slice: SliceId) -> impl Iterator<Item = (RouteId, &Route)> {
        self.iter().filter(move |(_, route)| route.slice.as_ref().is_some_and(|of| of.id == slice))
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

impl Node {
    /// Where routes with this template are kept, made if need be.
    fn leaves(&mut self, template: &Template) -> &mut Vec<RouteId> {
        let mut node = self;
        for segment in template.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Parameter(_) => node.parameter.get_or_insert_default(),
                Segment::Rest(_) => return &mut node.rest,
            };
        }
        &mut node.ends
    }
}

/// What orders routes of one host and one path: the more specific compares less.
fn rank(route: &Route) -> impl Ord + use<> {
    (route.methods.is_empty(), Reverse(route.conditions.strength()))
}

#[cfg(test)]
mod specificity_tests;
#[cfg(test)]
mod tests;
