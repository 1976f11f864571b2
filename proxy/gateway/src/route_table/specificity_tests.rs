//! Hosts, headers and query: which route wins, and which pairs are refused.

use super::*;

/// `NAME METHOD HOST PATH CONDITIONS`, where `-` stands for any; conditions are `h:NAME=VALUE` and
/// `q:NAME=VALUE`, `VALUE*` for a prefix, and no `=` for presence.
fn route(text: &str) -> Route {
    let mut words = text.split_whitespace();
    let mut next = || words.next().expect("name, method, host and path");
    let (name, method, host, path) = (next(), next(), next(), next());
    let mut route = Route::new(name, path.parse().expect("a good template"), Sides::Legacy(UpstreamId(0)));
    route.methods = (method != "-").then(|| method.parse().expect("a method")).into_iter().collect();
    route.hosts = host.split(',').filter(|host| *host != "-").map(|host| host.parse().expect("a host")).collect();
    for condition in words {
        let (kind, condition) = condition.split_once(':').expect("a kind");
        let (name, value) = match condition.split_once('=') {
            None => (condition, Expected::Present),
            Some((name, value)) => match value.strip_suffix('*') {
                Some(prefix) => (name, Expected::Prefix(prefix.to_owned())),
                None => (name, Expected::Exact(value.to_owned())),
            },
        };
        if kind == "h" {
            let name = name.parse().expect("a header's name");
            route.conditions.headers.push(HeaderCondition { name, value });
        } else {
            route.conditions.query.push(QueryCondition { name: name.to_owned(), value });
        }
    }
    route
}

fn table(routes: &[&str]) -> Result<RouteTable, Vec<AmbiguousRoutes>> {
    RouteTable::new(routes.iter().map(|text| route(text)).collect())
}

fn find<'t>(
    table: &'t RouteTable,
    host: Option<&str>,
    target: &str,
    headers: &[(&'static str, &'static str)],
) -> &'t str {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let path = RequestPath::parse(path).expect("a good path");
    let headers = headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
    let headers = headers.collect();
    let input = MatchInput { method: &Method::GET, host, path: &path, headers: &headers, query };
    table.find(&input).map_or("none", |id| &table.get(id).name)
}

#[test]
fn the_host_goes_before_the_path() {
    let table = table(&[
        "any - - /a/b",
        "below - *.example /a/{x}",
        "deeper - *.eu.example /{*rest}",
        "exact - shop.eu.example,[::1] /a/{*rest}",
    ])
    .expect("no two alike");
    for (host, path, expected) in [
        (None, "/a/b", "any"),
        (Some("other"), "/a/b", "any"),
        (Some("shop.eu.example"), "/a/b", "exact"),
        (Some("[::1]"), "/a/b", "exact"),
        (Some("shop.eu.example"), "/b", "deeper"),
        (Some("x.y.eu.example"), "/a/b", "deeper"),
        (Some("eu.example"), "/a/b", "below"),
        (Some("eu.example"), "/b", "none"),
        (Some("example"), "/a/b", "any"),
        (Some("notexample"), "/a/b", "any"),
        (Some("x.notexample"), "/a/b", "any"),
    ] {
        assert_eq!(find(&table, host, path, &[]), expected, "{host:?} {path}");
    }
}

#[test]
fn more_conditions_win() {
    let table = table(&[
        "plain GET - /x",
        "present GET - /x h:beta",
        "prefix GET - /x h:beta=v*",
        "longer GET - /x h:beta=v2*",
        "exact GET - /x h:beta=v20",
        "two GET - /x h:beta h:tenant",
        "query GET - /x q:debug",
        "queries GET - /x q:debug q:trace=1",
        "header-and-query GET - /x h:beta q:debug",
        "any-method - - /x h:beta h:tenant h:more",
    ])
    .expect("no two alike");
    for (target, headers, expected) in [
        ("/x", &[][..], "plain"),
        ("/x", &[("beta", "")], "present"),
        ("/x", &[("beta", "v1")], "prefix"),
        ("/x", &[("beta", "v21")], "longer"),
        ("/x", &[("beta", "v20")], "exact"),
        ("/x", &[("beta", "v20"), ("tenant", "a")], "two"),
        ("/x", &[("beta", "v20"), ("tenant", "a"), ("more", "a")], "two"),
        ("/x?debug", &[], "query"),
        ("/x?debug&trace=1", &[], "queries"),
        ("/x?debug&trace=1", &[("beta", "x")], "header-and-query"),
        ("/x?debug&trace=1", &[("beta", "v1")], "prefix"),
    ] {
        assert_eq!(find(&table, None, target, headers), expected, "{target} {headers:?}");
    }
}

#[test]
fn a_request_that_two_routes_take_alike_is_found_at_load() {
    for (one, other) in [
        ("a GET - /x h:p", "b GET - /x h:q"),
        ("a GET - /x h:p=1", "b GET - /x h:q=1"),
        ("a GET - /x h:p=1 q:r", "b GET - /x h:p=1 q:s"),
        ("a - *.c /x", "b - d,*.c /x"),
        ("a GET - /x/{p}", "b GET - /x/{q}"),
        ("a GET - /x/{*p}", "b GET - /x/{*q}"),
        ("a GET - /x h:p h:q=1", "b GET - /x h:p=2 h:q"),
    ] {
        let problems = table(&[one, other]).expect_err("they clash");
        assert_eq!(problems.len(), 1, "{one} | {other}");
        assert_eq!((problems[0].first.as_str(), problems[0].second.as_str(), problems[0].index), ("a", "b", 1));
    }
    for (one, other) in [
        ("a GET - /x h:p=1", "b GET - /x h:p=2"),
        ("a GET - /x h:p=1*", "b GET - /x h:p=2*"),
        ("a GET - /x h:p=1*", "b GET - /x h:p=12*"),
        ("a GET - /x h:p=1*", "b GET - /x h:p=1"),
        ("a GET - /x h:p", "b GET - /x q:p"),
        ("a GET - /x h:p=1 q:r", "b GET - /x h:p=2 q:s"),
        ("a GET - /x", "b POST - /x"),
        ("a GET c /x", "b GET d /x"),
        ("a GET c /x", "b GET *.c /x"),
        ("a GET - /x/{p}/y", "b GET - /x/z/{q}"),
    ] {
        assert!(table(&[one, other]).is_ok(), "{one} | {other}");
    }
}

#[test]
fn what_is_ambiguous_is_said_with_a_request_that_shows_it() {
    let problems = table(&["a GET - /x h:p=1 q:t", "b GET - /x h:q=2 q:u"]).expect_err("they clash");
    assert_eq!(
        problems[0].to_string(),
        "`b` and `a` both take a request with header `p: 1`, header `q: 2`, query `t`, query `u`, and neither is more \
         specific"
    );
}
