//! What the guard costs a request.

#![allow(missing_docs)]

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use judgement::{Bounds, Guard, Outcome, Sample, Side};

fn guard(criterion: &mut Criterion) {
    let sample = Sample { outcome: Outcome::Good, latency: Duration::from_millis(3), key: Some(7) };
    for (name, candidates) in [("a request of legacy at 1 %", 100), ("a request at 50 %", 2)] {
        criterion.bench_function(name, |bencher| {
            let mut guard = Guard::new(Bounds::default());
            let mut number = 0_u64;
            bencher.iter(|| {
                number += 1;
                let side = if number.is_multiple_of(candidates) { Side::Candidate } else { Side::Legacy };
                black_box(guard.observe(side, black_box(sample), Duration::from_micros(number)))
            });
        });
    }
}

criterion_group!(benches, guard);
criterion_main!(benches);
