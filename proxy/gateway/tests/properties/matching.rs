use gateway::{
    Expected, HeaderCondition, HostPattern, MatchInput, QueryCondition, RequestPath, Route, RouteTable, Sides,
    Template, UpstreamId, canonical_host,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{
    choices::Choices,
    reference::{self, Request},
};

const HOSTS: [&str; 6] = ["a.b", "x.a.b", "y.x.a.b", "b", "ab", "[::1]"];
const PATTERNS: [&str; 6] = ["a.b", "x.a.b", "*.a.b", "*.b", "[::1]", "*.x.a.b"];
const SEGMENTS: [&str; 5] = ["a", "b", "a b", "é", "%"];
const VALUES: [&str; 5] = ["1", "12", "2", "", "1 é"];

/// A table finds what trying every route finds, and leaves nothing open; a table that is refused for
/// two routes is right about them.
pub fn route_matching(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut routes = choices.several(12, route);
    for (at, route) in routes.iter_mut().enumerate() {
        route.name = at.to_string();
    }
    let mut removed = 0;
    let table = loop {
        match RouteTable::new(routes.clone()) {
            Ok(table) => break table,
            Err(clashes) => {
                for clash in clashes.iter().rev() {
                    routes.remove(clash.index);
                    removed += 1;
                }
            }
        }
    };
    assert!(removed <= 12, "every clash names a route of the table");
    while choices.any_left() {
        check(&table, &routes, &request(&mut choices));
    }
}

fn check(table: &RouteTable, routes: &[Route], request: &Request) {
    let (path, query) = (encoded_path(&request.segments), encoded_query(&request.query));
    let path = RequestPath::parse(&path).expect("encoded segments make a good path");
    let host = request.host.map(|host| format!("{}.:80", host.to_ascii_uppercase()).replace("].", "]"));
    let host = host.as_deref().map(|host| canonical_host(host).expect("a good host"));
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a good value"));
    }
    let method: Method = request.method.parse().expect("a method");
    let input =
        MatchInput { method: &method, host: host.as_deref(), path: &path, headers: &headers, query: query.as_deref() };
    let found: Vec<usize> = table.find(&input).into_iter().map(|id| id.index()).collect();
    assert_eq!(found, reference::best(routes, request), "{request:?}\nof {routes:#?}");
}

fn route(choices: &mut Choices<'_>) -> Route {
    let mut path = String::new();
    for at in 0..choices.below(4) {
        match choices.below(4) {
            0 => path += "/a",
            1 => path += "/b",
            _ => path += &format!("/{{p{at}}}"),
        }
    }
    if choices.below(3) == 0 {
        path += "/{*rest}";
    }
    let template: Template = if path.is_empty() { "/" } else { &path }.parse().expect("a good template");
    let mut route = Route::new("", template, Sides::Legacy(UpstreamId::new(0)));
    route.methods = choices.several(2, |choices| choices.one(&[Method::GET, Method::POST].each_ref()).clone());
    let hosts = choices.several(2, |choices| choices.one(&PATTERNS));
    route.hosts = hosts.iter().map(|host| host.parse::<HostPattern>().expect("a good host")).collect();
    route.hosts.dedup();
    for name in ["x-a", "x-b"] {
        if let Some(value) = expected(choices) {
            route.conditions.headers.push(HeaderCondition { name: HeaderName::from_static(name), value });
        }
    }
    for name in ["q", "r s"] {
        if let Some(value) = expected(choices) {
            route.conditions.query.push(QueryCondition { name: name.to_owned(), value });
        }
    }
    route
}

fn expected(choices: &mut Choices<'_>) -> Option<Expected> {
    match choices.below(8) {
        0 => Some(Expected::Present),
        1 => Some(Expected::Prefix("1".to_owned())),
        2 => Some(Expected::Prefix("12".to_owned())),
        3 => Some(Expected::Exact(choices.one(&VALUES).to_owned())),
        _ => None,
    }
}

fn request(choices: &mut Choices<'_>) -> Request {
    Request {
        method: choices.one(&["GET", "POST", "PUT"]),
        host: choices.one(&[true, false]).then(|| choices.one(&HOSTS)),
        segments: choices.several(4, |choices| choices.one(&SEGMENTS)),
        headers: choices.several(3, |choices| (choices.one(&["x-a", "x-b"]), choices.one(&VALUES))),
        query: choices.several(3, |choices| (choices.one(&["q", "r s", "t"]), choices.one(&VALUES))),
    }
}

fn encoded_path(segments: &[&str]) -> String {
    let path: String = segments.iter().map(|segment| format!("/{}", encoded(segment))).collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

fn encoded_query(pairs: &[(&str, &str)]) -> Option<String> {
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
