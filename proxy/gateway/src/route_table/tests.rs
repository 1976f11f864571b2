use super::*;

fn route(name: &str, methods: &str, path: &str) -> Route {
    let methods = methods.split_whitespace().map(|m| m.parse().expect("a method")).collect();
    let template = path.parse().expect("a good template");
    Route { methods, ..Route::new(name, template, Sides::Legacy(UpstreamId(0))) }
}

fn find<'t>(table: &'t RouteTable, method: &str, path: &str) -> Option<&'t str> {
    let path = RequestPath::parse(path).expect("a good path");
    let (method, headers) = (method.parse().expect("a method"), HeaderMap::new());
    let input = MatchInput { method: &method, host: None, path: &path, headers: &headers, query: None };
    table.find(&input).map(|id| table.get(id).name.as_str())
}

fn table() -> RouteTable {
    RouteTable::new(vec![
        route("everything", "", "/{*rest}"),
        route("functions", "GET", "/api/v1/functions"),
        route("create", "POST", "/api/v1/functions"),
        route("function", "GET DELETE", "/api/v1/functions/{id}"),
        route("function-any", "", "/api/v1/functions/{id}"),
        route("invoke", "POST", "/api/v1/functions/{id}/invoke"),
        route("special", "POST", "/api/v1/functions/special/{verb}"),
        route("special-deep", "POST", "/api/v1/functions/special/a/b"),
        route("hooks", "", "/webhooks/{*path}"),
        route("root", "GET", "/"),
    ])
    .expect("no two routes alike")
}

#[test]
fn the_most_specific_route_wins() {
    let table = table();
    for (method, path, expected) in [
        ("GET", "/", "root"),
        ("POST", "/", "everything"),
        ("GET", "/api/v1/functions", "functions"),
        ("GET", "/api/v1/functions/", "functions"),
        ("POST", "/api/v1/functions", "create"),
        ("PATCH", "/api/v1/functions", "everything"),
        ("GET", "/api/v1/functions/abc", "function"),
        ("PUT", "/api/v1/functions/abc", "function-any"),
        ("POST", "/api/v1/functions/abc/invoke", "invoke"),
        ("POST", "/api/v1/functions/abc/%69nvoke", "invoke"),
        ("POST", "/api/v1/functions/special/invoke", "special"),
        ("POST", "/api/v1/functions/special/a", "special"),
        ("POST", "/api/v1/functions/special/a/b", "special-deep"),
        ("POST", "/api/v1/functions/special/a/c", "everything"),
        ("GET", "/api/v1/functions/special", "function"),
        ("GET", "/api/v1/functions/abc/invoke", "everything"),
        ("POST", "/API/v1/functions", "everything"),
        ("POST", "/webhooks", "hooks"),
        ("POST", "/webhooks/a/b/c", "hooks"),
        ("GET", "/nothing", "everything"),
    ] {
        assert_eq!(find(&table, method, path), Some(expected), "{method} {path}");
    }
}

#[test]
fn without_a_catch_all_an_unknown_path_has_no_route() {
    let table = RouteTable::new(vec![route("invoke", "POST", "/f/{id}/invoke")]).expect("one route");
    for path in ["/", "/f", "/f/x", "/f/x/invoke/more", "/g/x/invoke"] {
        assert_eq!(find(&table, "POST", path), None, "{path}");
    }
}

#[test]
fn equal_routes_are_refused_by_name() {
    let problems = RouteTable::new(vec![
        route("a", "GET POST", "/x/{id}"),
        route("b", "PUT", "/x/{name}"),
        route("c", "POST", "/x/{other}"),
        route("d", "", "/x/{id}"),
        route("e", "", "/x/{id}"),
    ])
    .expect_err("c clashes with a, e with d");
    let pairs: Vec<_> = problems.iter().map(|p| (p.first.as_str(), p.second.as_str(), p.index)).collect();
    assert_eq!(pairs, [("a", "c", 2), ("d", "e", 4)]);
}
