use super::*;

fn route(name: &str, methods: &str, path: &str) -> Route {
    let template: Template = path.parse().expect("a good template");
    Route {
        name: name.to_owned(),
        methods: methods.split_whitespace().map(|m| m.parse().expect("a method")).collect(),
        key: KeySource::Request,
        key_text: "request".to_owned(),
        template,
        sides: Sides::Legacy(UpstreamId(0)),
        salt: name.to_owned(),
        resilience: Default::default(),
    }
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
        let parsed = RequestPath::parse(path).expect("a good path");
        let found = table.find(&method.parse().expect("a method"), &parsed).map(|id| table.get(id).name.as_str());
        assert_eq!(found, Some(expected), "{method} {path}");
    }
}

#[test]
fn without_a_catch_all_an_unknown_path_has_no_route() {
    let table = RouteTable::new(vec![route("invoke", "POST", "/f/{id}/invoke")]).expect("one route");
    for path in ["/", "/f", "/f/x", "/f/x/invoke/more", "/g/x/invoke"] {
        assert_eq!(table.find(&Method::POST, &RequestPath::parse(path).expect("a good path")), None, "{path}");
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

#[test]
fn keys_come_from_where_the_route_says() {
    let template: Template = "/f/{id}/files/{*path}".parse().expect("a good template");
    let path = RequestPath::parse("/f/4%32/files/a/b").expect("a good path");
    let mut headers = http::HeaderMap::new();
    headers.insert("x-tenant", http::HeaderValue::from_static("blue"));
    for (text, expected) in [
        ("path:id", Some("42")),
        ("path:path", Some("a/b")),
        ("header:X-Tenant", Some("blue")),
        ("header:x-missing", None),
        ("request", None),
    ] {
        let source = KeySource::parse(text, &template).expect("a good key");
        assert_eq!(
            source.extract(&KeyInput { path: &path, headers: &headers, client: None }).as_deref(),
            expected,
            "{text}"
        );
    }
    for bad in ["", "id", "path:", "path:nope", "header:", "header:a b", "cookie:a"] {
        assert!(KeySource::parse(bad, &template).is_err(), "{bad}");
    }
}
