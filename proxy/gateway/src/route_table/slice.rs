//! Slices: tables that move to a database of the candidate's own, and the routes that read and write them.

use http::Method;

use super::route::UpstreamId;

/// A slice's place in the list of slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceId(pub(crate) usize);

impl SliceId {
    /// The slice in this place of the list.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The index, for tables kept beside the list.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// One slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its name in configuration, rollout document, metrics and API; that of the mapping's slice.
    pub name: String,
    /// The candidate on a database of its own, which serves the slice's routes once that is its owner.
    pub own: UpstreamId,
}

/// The slice whose rows a route reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSlice {
    /// The slice.
    pub id: SliceId,
    /// What serves the route once the candidate owns the rows: [`Slice::own`], unless the route says otherwise.
    pub own: UpstreamId,
    /// Which of the route's requests write.
    pub writes: Writes,
}

/// Which requests of a route write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Writes {
    /// Those whose method is not safe (RFC 9110, section 9.2.1).
    #[default]
    Unsafe,
    /// Those with one of these methods; none for a route that only reads, whatever its methods say.
    Methods(Vec<Method>),
}

impl Writes {
    /// Whether a request with this method writes.
    #[must_use]
    pub fn contains(&self, method: &Method) -> bool {
        match self {
            Self::Unsafe => !method.is_safe(),
            Self::Methods(methods) => methods.contains(method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_safe_writes_unless_the_route_says_otherwise() {
        assert!(Writes::Unsafe.contains(&Method::POST) && Writes::Unsafe.contains(&Method::DELETE));
        assert!(!Writes::Unsafe.contains(&Method::GET) && !Writes::Unsafe.contains(&Method::HEAD));
        let search = Writes::Methods(Vec::new());
        assert!(!search.contains(&Method::POST), "a search by POST");
        assert!(Writes::Methods(vec![Method::GET]).contains(&Method::GET), "a GET that does not keep to its word");
    }
}
