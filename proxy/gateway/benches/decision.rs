//! What finding a route and deciding costs: the part of a request that is ours alone.

#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gateway::{
    Bucket, Expected, HeaderCondition, JsonPointer, KeyInput, KeySource, MatchInput, RequestPath, Route, RouteDecision,
    RouteState, RouteTable, Sides, Template, UpstreamId, Weight, canonical_host,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const SIDES: Sides = Sides::Both { legacy: UpstreamId::new(0), candidate: UpstreamId::new(1), fallback: true };

/// Every tenth route is for a host of its own, and every fifth asks for a header.
fn table(routes: usize) -> RouteTable {
    let route = |number: usize| {
        let template: Template = format!("/api/v1/group{number}/{{id}}/invoke").parse().expect("a good template");
        let key = KeySource::parse("path:id", &template).expect("the template has an id");
        let mut route =
            Route { key, methods: vec![Method::POST], ..Route::new(&format!("route{number}"), template, SIDES) };
        if number.is_multiple_of(10) {
            route.hosts.push(format!("*.shop{number}.example").parse().expect("a good host"));
        }
        if number % 5 == 4 {
            let (name, value) = (HeaderName::from_static("x-tenant"), Expected::Exact("blue".to_owned()));
            route.conditions.headers.push(HeaderCondition { name, value });
        }
        route
    };
    RouteTable::new((1..=routes).map(route).collect()).expect("no two routes alike")
}

fn decide(criterion: &mut Criterion) {
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-tenant"), HeaderValue::from_static("blue"))]);
    let state = RouteState { weight: Weight::from_percent(50.0).expect("a good percentage"), epoch: 1, moved: false };
    for routes in [1, 100, 1_000] {
        let table = table(routes);
        let path = format!("/api/v1/group{routes}/0193a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b/invoke");
        let host = format!("eu.shop{routes}.example:8443");
        criterion.bench_function(&format!("match and decide, {routes} routes"), |bencher| {
            bencher.iter(|| {
                let path = RequestPath::parse(black_box(&path)).expect("a good path");
                let host = canonical_host(black_box(&host)).expect("a good host");
                let (method, query) = (&Method::POST, Some("trace=1"));
                let input = MatchInput { method, host: Some(&host), path: &path, headers: &headers, query };
                let id = table.find(&input).expect("a route takes it");
                let route = table.get(id);
                let input = KeyInput { path: &path, headers: &headers, client: None, identity: None };
                let key = route.key.extract(&input).expect("one key").expect("the path has it");
                RouteDecision::new(route, state, None, Bucket::of(&route.salt, &key))
            });
        });
    }
}

fn key_in_body(criterion: &mut Criterion) {
    let pointer = JsonPointer::parse("/function_id").expect("a good pointer");
    let body = format!(r#"{{"payload":{{"text":"{}"}},"function_id":"0193a1b2"}}"#, "x".repeat(4_000));
    criterion.bench_function("key in a body of 4 KB", |bencher| {
        bencher.iter(|| pointer.find(black_box(body.as_bytes())));
    });
}

criterion_group!(benches, decide, key_in_body);
criterion_main!(benches);
