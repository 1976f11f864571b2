//! What a comparison costs: a JSON answer of 1 KB and of 64 KB, equal by bytes, equal but for the order
//! of members, and with one wrong field.

use std::hint::black_box;

use comparison::{Answer, Masks, Rules, RulesConfig, compare};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};

fn document(elements: usize, reversed: bool, wrong: bool) -> String {
    let element = |i: usize| {
        let mut members = [
            format!("\"id\":\"fn-{i:05}\""),
            format!("\"memory\":{}", 128 + i),
            format!("\"name\":\"function number {i}\""),
            format!("\"ratio\":{}.5", i + usize::from(wrong && i + 1 == elements)),
            "\"tags\":[\"a\",\"b\",true,null]".to_owned(),
        ];
        if reversed {
            members.reverse();
        }
        format!("{{{}}}", members.join(","))
    };
    format!("{{\"items\":[{}]}}", (0..elements).map(element).collect::<Vec<_>>().join(","))
}

fn comparisons(criterion: &mut Criterion) {
    let rules = Rules::compile(&RulesConfig::default()).expect("the defaults are good");
    let masks = Masks::none();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    for (size, elements) in [("1 KB", 10), ("64 KB", 620)] {
        let mut group = criterion.benchmark_group(size);
        let legacy = document(elements, false, false);
        group.throughput(Throughput::Bytes(legacy.len() as u64));
        for (name, candidate) in [
            ("same bytes", legacy.clone()),
            ("other order", document(elements, true, false)),
            ("one wrong field", document(elements, false, true)),
        ] {
            group.bench_function(name, |bench| {
                let legacy = Answer { status: 200, headers: &headers, body: legacy.as_bytes() };
                let candidate = Answer { body: candidate.as_bytes(), ..legacy };
                bench.iter(|| compare(&rules, &masks, black_box(&legacy), black_box(&candidate)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, comparisons);
criterion_main!(benches);
