//! Which route a request takes: (method, path) to route, decided by the most specific template.
//!
//! At each segment, from the left, plain text goes before a parameter and a parameter before the
//! rest of the path; a choice that leads nowhere is taken back. For one template, a route that lists
//! the method goes before one that takes any. Two routes that would match the same requests equally
//! well are refused when the table is built, so the order in the file never matters.

mod key;
mod template;

use std::collections::HashMap;

use http::Method;

pub use key::{KeyInput, KeyProblem, KeySource};
pub use template::{Template, TemplateProblem};

use crate::{request_path::RequestPath, resilience::Resilience};
use template::Segment;

/// A route's place in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub(crate) usize);

impl RouteId {
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
    pub fn new(index: usize) -> Self {
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
    /// The methods it takes; empty for any.
    pub methods: Vec<Method>,
    /// The paths it takes.
    pub template: Template,
    /// What its decisions are sticky to.
    pub key: KeySource,
    /// The key as it was configured.
    pub key_text: String,
    /// Where its requests may go.
    pub sides: Sides,
    /// Set apart from other routes by this: two routes with one salt move the same keys together.
    pub salt: String,
    /// What happens when the upstream of a request's side does not serve it.
    pub resilience: Resilience,
}

/// Two routes that would match the same requests equally well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{second}` takes the same requests as `{first}`")]
pub struct AmbiguousRoutes {
    /// The route that comes first in the file.
    pub first: String,
    /// The place of the other in the list.
    pub index: usize,
    /// The other's name.
    pub second: String,
}

/// Every route, arranged for look-up.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    parameter: Option<Box<Node>>,
    /// Routes that take whatever is left from here.
    rest: Vec<RouteId>,
    /// Routes that end here.
    ends: Vec<RouteId>,
}

impl RouteTable {
    /// Arranges the routes.
    ///
    /// # Errors
    /// Every pair of routes that would match the same requests equally well.
    pub fn new(routes: Vec<Route>) -> Result<Self, Vec<AmbiguousRoutes>> {
        let mut table = Self { routes, root: Node::default() };
        let mut ambiguous = Vec::new();
        for index in 0..table.routes.len() {
            let route = &table.routes[index];
            let leaves = table.root.leaves(&route.template);
            let rival = leaves.iter().find(|other| overlap(&table.routes[other.0].methods, &route.methods));
            if let Some(rival) = rival {
                let first = table.routes[rival.0].name.clone();
                ambiguous.push(AmbiguousRoutes { first, index, second: route.name.clone() });
            }
            leaves.push(RouteId(index));
        }
        if ambiguous.is_empty() { Ok(table) } else { Err(ambiguous) }
    }

    /// The route of a request, if any takes it.
    #[must_use]
    pub fn find(&self, method: &Method, path: &RequestPath<'_>) -> Option<RouteId> {
        self.find_below(&self.root, method, path.segments())
    }

    fn find_below(&self, node: &Node, method: &Method, segments: &[impl AsRef<str>]) -> Option<RouteId> {
        let deeper = match segments.split_first() {
            None => self.choose(&node.ends, method),
            Some((first, rest)) => node
                .literals
                .get(first.as_ref())
                .and_then(|next| self.find_below(next, method, rest))
                .or_else(|| node.parameter.as_ref().and_then(|next| self.find_below(next, method, rest))),
        };
        deeper.or_else(|| self.choose(&node.rest, method))
    }

    fn choose(&self, leaves: &[RouteId], method: &Method) -> Option<RouteId> {
        let listed = leaves.iter().find(|id| self.routes[id.0].methods.contains(method));
        listed.or_else(|| leaves.iter().find(|id| self.routes[id.0].methods.is_empty())).copied()
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

fn overlap(one: &[Method], other: &[Method]) -> bool {
    (one.is_empty() && other.is_empty()) || one.iter().any(|method| other.contains(method))
}

#[cfg(test)]
mod tests;
