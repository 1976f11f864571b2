//! What a limit in this process costs a request: counting, deciding, and what the client is told.

#![allow(missing_docs)]

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use gateway::{Caller, Config, Counts, Limiter, LiveLimits, Policies, Policy, Quota, RouteId};
use prometheus::Registry;
use tokio::runtime::Builder;

/// A limiter of one route with these policies.
fn limiter(policies: &[(&str, Counts, &str)]) -> (Limiter, LiveLimits) {
    let names: Vec<&str> = policies.iter().map(|(name, ..)| *name).collect();
    let settings = format!(
        "[admin]\ntoken = \"0123456789abcdef\"\n[upstreams.legacy]\naddress = \"127.0.0.1:1\"\n\
         [[routes]]\nname = \"invoke\"\npath = \"/f/{{id}}\"\nlegacy = \"legacy\"\nlimits = {names:?}\n"
    );
    let policies = policies.iter().map(|(name, counts, rate)| {
        let quota = Quota::new(rate.parse().expect("a good rate"), None).expect("a good burst");
        Policy { name: (*name).to_owned(), counts: *counts, quota }
    });
    let policies = Arc::new(Policies::new(policies.collect()));
    let described: String = policies
        .iter()
        .map(|(_, policy)| format!("[limits.policies.{}]\ncounts = \"key\"\nrate = \"1/s\"\n", policy.name))
        .collect();
    let config: Config = layered_config::load_str("bench", &format!("{described}{settings}")).expect("good settings");
    let limits = LiveLimits::configured(&policies);
    let (limiter, _) = Limiter::new(&config, policies, &Registry::new()).expect("a registry of its own");
    (limiter, limits)
}

fn decide(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let all = [
        ("per-function", Counts::Key, "1000000/s"),
        ("per-client", Counts::Client, "1000000/s"),
        ("all", Counts::Route, "1000000/s"),
    ];
    let cases = [("one policy, admitted", &all[..1]), ("three policies, admitted", &all[..])];
    let refusing = [("per-function", Counts::Key, "1/d")];
    for (name, policies) in cases.into_iter().chain([("one policy, refused", &refusing[..])]) {
        let (limiter, limits) = limiter(policies);
        let keys: Vec<String> = (0..1_000).map(|key| format!("0193a1b2-7c3d-7e4f-8a5b-{key:012}")).collect();
        let mut next = keys.iter().cycle();
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let key = next.next().map(String::as_str);
                let client = Some([192, 0, 2, 1].into());
                let caller = Caller { route: "invoke", key: black_box(key), client, identity: None };
                let counted = limiter.count(RouteId::new(0), &caller, &limits).expect("the route has limits");
                runtime.block_on(limiter.decide(counted))
            });
        });
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
