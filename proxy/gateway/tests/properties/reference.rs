//! Route matching written down again, as plainly as can be: try every route, compare every pair.

use std::cmp::Ordering;

use gateway::{Expected, HostPattern, Route};

/// A request as its parts were before anybody encoded them.
#[derive(Debug)]
pub struct Request {
    pub method: &'static str,
    pub host: Option<String>,
    pub segments: Vec<String>,
    pub headers: Vec<(String, String)>,
    pub query: Vec<(String, String)>,
}

/// Every route that takes the request and that no other such route goes before.
pub fn best(routes: &[Route], request: &Request) -> Vec<usize> {
    let fits: Vec<(usize, Rank)> = (0..routes.len()).filter_map(|at| Some((at, fit(&routes[at], request)?))).collect();
    let beaten = |rank: &Rank| fits.iter().any(|(_, other)| other.compare(rank) == Ordering::Less);
    fits.iter().filter(|(_, rank)| !beaten(rank)).map(|(at, _)| *at).collect()
}

/// How specifically a route takes a request; less is more specific.
struct Rank {
    host: (u8, usize),
    path: Vec<u8>,
    any_method: bool,
    conditions: [usize; 6],
}

impl Rank {
    fn compare(&self, other: &Self) -> Ordering {
        let asked = other.conditions.cmp(&self.conditions);
        self.host
            .cmp(&other.host)
            .then_with(|| self.path.cmp(&other.path))
            .then(self.any_method.cmp(&other.any_method))
            .then(asked)
    }
}

fn fit(route: &Route, request: &Request) -> Option<Rank> {
    let hosts = route.hosts.iter().filter_map(|pattern| host(pattern, request.host.as_deref()?)).min();
    let host = if route.hosts.is_empty() { Some((2, 0)) } else { hosts };
    let any_method = route.methods.is_empty();
    let method = any_method || route.methods.iter().any(|method| method == request.method);
    let mut conditions = [0; 6];
    let mut hold = true;
    for (place, name, value) in (route.conditions.headers.iter().map(|one| (0, one.name.as_str(), &one.value)))
        .chain(route.conditions.query.iter().map(|one| (3, one.name.as_str(), &one.value)))
    {
        let pairs = if place == 0 { &request.headers } else { &request.query };
        let given: Vec<&str> =
            pairs.iter().filter(|(given, _)| *given == name).map(|(_, value)| value.as_str()).collect();
        hold &= !given.is_empty();
        conditions[place] += 1;
        match value {
            Expected::Present => {}
            Expected::Exact(text) => {
                hold &= given.iter().all(|value| value == text);
                conditions[place + 1] += 1;
            }
            Expected::Prefix(text) => {
                hold &= given.iter().all(|value| value.starts_with(text.as_str()));
                conditions[place + 2] += text.len();
            }
        }
    }
    let path = path(route.template.as_str(), &request.segments)?;
    (method && hold).then_some(Rank { host: host?, path, any_method, conditions })
}

fn host(pattern: &HostPattern, host: &str) -> Option<(u8, usize)> {
    match pattern {
        HostPattern::Exact(name) => (name == host).then_some((0, 0)),
        HostPattern::Below(domain) => {
            let below = host.len() > domain.len() + 1 && host.ends_with(&format!(".{domain}"));
            below.then_some((1, usize::MAX - domain.len()))
        }
    }
}

/// One digit for each part of the template: text, parameter, end, rest.
fn path(template: &str, segments: &[String]) -> Option<Vec<u8>> {
    let mut left = segments.iter();
    let mut digits = Vec::new();
    for part in template.split('/').filter(|part| !part.is_empty()) {
        if part.starts_with("{*") {
            digits.push(3);
            return Some(digits);
        }
        let segment = left.next()?;
        if part.starts_with('{') {
            digits.push(1);
        } else if part == *segment {
            digits.push(0);
        } else {
            return None;
        }
    }
    digits.push(2);
    left.next().is_none().then_some(digits)
}
