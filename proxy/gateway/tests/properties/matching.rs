use gateway::{
    Expected, HeaderCondition, HostPattern, MatchInput, QueryCondition, RequestPath, Route, RouteTable, Sides,
    Template, UpstreamId, canonical_host,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{
    choices::Choices,
    reference::{self, Request},
};

const PATTERNS: [&str; 6] = ["a.b", "x.a.b", "*.a.b", "*.b", "[::1]", "*.x.a.b"];
const TEMPLATES: [&str; 7] = ["/", "/a", "/{p}", "/a/{p}", "/{p}/b", "/{*rest}", "/a/{*rest}"];
const SEGMENTS: [&str; 5] = ["a", "b", "a b", "é", "%"];
const VALUES: [&str; 5] = ["1", "12", "2", "", "1 é"];

/// A table finds what trying every route finds. No request is left that two of its routes take with
/// neither more specific: the later one of such a pair is what building the table refuses.
pub fn route_matching(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut routes = choices.several(12, route);
    for (at, route) in routes.iter_mut().enumerate() {
        route.name = at.to_string();
    }
    let table = loop {
        match RouteTable::new(routes.clone()) {
            Ok(table) => break table,
            Err(clashes) => clashes.iter().rev().for_each(|clash| drop(routes.remove(clash.index))),
        }
    };
    while choices.any_left() && !routes.is_empty() {
        check(&table, &routes, &request(&routes, &mut choices));
    }
}

fn check(table: &RouteTable, routes: &[Route], request: &Request) {
    let (path, query) = (encoded_path(&request.segments), encoded_query(&request.query));
    let path = RequestPath::parse(&path).expect("encoded segments make a good path");
    let host = request.host.as_ref().map(|host| format!("{}.:80", host.to_ascii_uppercase()).replace("].", "]"));
    let host = host.as_deref().map(|host| canonical_host(host).expect("a good host"));
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        headers.append(
            name.parse::<HeaderName>().expect("a name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("a good value"),
        );
    }
    let method: Method = request.method.parse().expect("a method");
    let input =
        MatchInput { method: &method, host: host.as_deref(), path: &path, headers: &headers, query: query.as_deref() };
    let found: Vec<usize> = table.find(&input).into_iter().map(|id| id.index()).collect();
    assert_eq!(found, reference::best(routes, request), "{request:?}\nof {routes:#?}");
}

fn route(choices: &mut Choices<'_>) -> Route {
    let template: Template = choices.one(&TEMPLATES).parse().expect("a good template");
    let mut route = Route::new("", template, Sides::Legacy(UpstreamId::new(0)));
    route.methods = choices.several(2, |choices| choices.one(&[Method::GET, Method::POST].each_ref()).clone());
    if choices.below(3) == 0 {
        route.hosts.push(choices.one(&PATTERNS).parse().expect("a good host"));
    }
    for name in ["x-a", "x-b"] {
        if let Some(value) = expected(6, choices) {
            route.conditions.headers.push(HeaderCondition { name: HeaderName::from_static(name), value });
        }
    }
    for name in ["q", "r s"] {
        if let Some(value) = expected(24, choices) {
            route.conditions.query.push(QueryCondition { name: name.to_owned(), value });
        }
    }
    route
}

/// A condition, in four of this many cases.
fn expected(of: usize, choices: &mut Choices<'_>) -> Option<Expected> {
    match choices.below(of) {
        0 => Some(Expected::Present),
        1 => Some(Expected::Prefix("1".to_owned())),
        2 => Some(Expected::Prefix("12".to_owned())),
        3 => Some(Expected::Exact(choices.one(&VALUES).to_owned())),
        _ => None,
    }
}

/// A request made to fit one of the routes, in most of its parts, and so perhaps others too.
fn request(routes: &[Route], choices: &mut Choices<'_>) -> Request {
    let model = &routes[choices.below(routes.len())];
    let host = match model.hosts.first() {
        Some(HostPattern::Exact(host)) if choices.below(4) > 0 => Some(host.clone()),
        Some(HostPattern::Below(domain)) if choices.below(4) > 0 => {
            Some(format!("{}.{domain}", choices.one(&["x", "a"])))
        }
        _ => choices.one(&[None, Some("y.x.a.b"), Some("x.a.b"), Some("b"), Some("ab")]).map(str::to_owned),
    };
    let mut segments = Vec::new();
    for part in model.template.as_str().split('/').filter(|part| !part.is_empty()) {
        match part.strip_prefix('{') {
            Some(rest) if rest.starts_with('*') => {
                segments.extend(choices.several(2, |choices| choices.one(&SEGMENTS)));
            }
            Some(_) => segments.push(choices.one(&SEGMENTS)),
            None => segments.push(if choices.below(8) > 0 { part } else { "c" }),
        }
    }
    // What another route asks for, too, so that both may take it.
    let both = [model, &routes[choices.below(routes.len())]].map(|route| &route.conditions);
    let headers = both.iter().flat_map(|asked| asked.headers.iter().map(|one| (one.name.as_str(), &one.value)));
    let query = both.iter().flat_map(|asked| asked.query.iter().map(|one| (one.name.as_str(), &one.value)));
    let (headers, query) = (headers.collect::<Vec<_>>(), query.collect::<Vec<_>>());
    Request {
        method: choices.one(&["GET", "POST", "PUT"]),
        host,
        headers: pairs(&headers, ["x-a", "x-b"], choices),
        query: pairs(&query, ["q", "r s"], choices),
        segments: segments.into_iter().map(str::to_owned).collect(),
    }
}

/// Pairs that satisfy these conditions, mostly, and perhaps one more.
fn pairs(asked: &[(&str, &Expected)], names: [&str; 2], choices: &mut Choices<'_>) -> Vec<(String, String)> {
    let mut pairs = choices.several(1, |choices| (choices.one(&names).to_owned(), choices.one(&VALUES).to_owned()));
    for (name, value) in asked {
        let value = match value {
            Expected::Present => choices.one(&VALUES),
            Expected::Prefix(_) => "12",
            Expected::Exact(text) => text,
        };
        if choices.below(8) > 0 {
            pairs.push(((*name).to_owned(), value.to_owned()));
        }
    }
    pairs
}

fn encoded_path(segments: &[String]) -> String {
    let path: String = segments.iter().map(|segment| format!("/{}", encoded(segment))).collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

fn encoded_query(pairs: &[(String, String)]) -> Option<String> {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// Letters stay; of the rest, every byte is escaped.
fn encoded(text: &str) -> String {
    let escape = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02x}") }
    };
    text.bytes().map(escape).collect()
}
