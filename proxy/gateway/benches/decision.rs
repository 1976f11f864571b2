//! What finding a route and deciding costs: the part of a request that is ours alone.

#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gateway::{
    Bucket, KeyInput, KeySource, RequestPath, Route, RouteDecision, RouteState, RouteTable, Sides, Template,
    UpstreamId, Weight,
};
use http::{HeaderMap, Method};

fn table(routes: usize) -> RouteTable {
    let route = |number: usize| {
        let template: Template = format!("/api/v1/group{number}/{{id}}/invoke").parse().expect("a good template");
        Route {
            name: format!("route{number}"),
            methods: vec![Method::POST],
            key: KeySource::parse("path:id", &template).expect("the template has an id"),
            key_text: "path:id".to_owned(),
            template,
            sides: Sides::Both { legacy: UpstreamId::new(0), candidate: UpstreamId::new(1), fallback: true },
            salt: format!("route{number}"),
            resilience: Default::default(),
        }
    };
    RouteTable::new((0..routes).map(route).collect()).expect("no two routes alike")
}

fn decide(criterion: &mut Criterion) {
    let headers = HeaderMap::new();
    let state = RouteState { weight: Weight::from_percent(50.0).expect("a good percentage"), epoch: 1 };
    for routes in [1, 100] {
        let table = table(routes);
        let path = format!("/api/v1/group{}/0193a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b/invoke", routes - 1);
        criterion.bench_function(&format!("match and decide, {routes} routes"), |bencher| {
            bencher.iter(|| {
                let path = RequestPath::parse(black_box(&path)).expect("a good path");
                let id = table.find(&Method::POST, &path).expect("a route takes it");
                let route = table.get(id);
                let key = route
                    .key
                    .extract(&KeyInput { path: &path, headers: &headers, client: None })
                    .expect("the path has the key");
                RouteDecision::new(route, state, None, Bucket::of(&route.salt, &key))
            });
        });
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
