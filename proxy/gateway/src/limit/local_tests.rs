use prometheus::Registry;

use super::{
    budget::Flow,
    charge::{Charge, Charges},
    local::LocalStore,
    metrics::LimitMetrics,
    policy::{Counts, Policies, Policy, PolicyId},
    quota::Quota,
    subject::Subject,
};

struct Bench {
    store: LocalStore,
    metrics: LimitMetrics,
}

const A: PolicyId = PolicyId(0);
const B: PolicyId = PolicyId(1);

impl Bench {
    fn new(max_keys: usize) -> Self {
        let policy = |name: &str| Policy { name: name.to_owned(), counts: Counts::Key, quota: quota("1/s", 1) };
        let policies = Policies::new(vec![policy("a"), policy("b")]);
        let metrics = LimitMetrics::new(&Registry::new(), &policies, false).expect("a registry of its own");
        Self { store: LocalStore::new(2, max_keys), metrics }
    }

    fn admits(&self, charges: &mut Charges<'_>, at_ms: u64) -> bool {
        self.store.charge_at(charges, at_ms * 1_000, &self.metrics)
    }

    fn one(&self, key: &str, quota: Quota, at_ms: u64) -> bool {
        self.admits(&mut Charges::new([charge(A, key, quota)]), at_ms)
    }
}

fn quota(rate: &str, burst: u32) -> Quota {
    Quota::new(rate.parse().expect("a good rate"), Some(burst)).expect("a good burst")
}

fn charge(policy: PolicyId, key: &str, quota: Quota) -> Charge<'_> {
    Charge { policy, subject: Subject::Text(key), quota, flow: Flow::of(quota), used: 0.0 }
}

#[test]
fn each_key_has_a_budget_of_its_own() {
    let bench = Bench::new(1_000);
    let two = quota("1/s", 2);
    for key in ["a", "b", "", "\0", &"k".repeat(100_000)] {
        assert_eq!([(); 3].map(|()| bench.one(key, two, 5)), [true, true, false], "{key:.10}");
    }
    assert!(bench.one("a", two, 1_005) && !bench.one("a", two, 1_005));
}

#[test]
fn a_request_that_one_policy_refuses_uses_up_nothing_of_another() {
    let bench = Bench::new(1_000);
    let (wide, narrow) = (quota("1/s", 5), quota("1/s", 1));
    let both = |key: &'static str| Charges::new([charge(A, "shared", wide), charge(B, key, narrow)]);
    assert!(bench.admits(&mut both("x"), 0));
    for _ in 0..10 {
        let mut refused = both("x");
        assert!(!bench.admits(&mut refused, 0));
        let used: Vec<f64> = refused.iter().map(|charge| charge.used).collect();
        assert_eq!(used, [1.0, 1.0], "each policy tells how it stands");
        assert_eq!(refused.refused_by().map(|(charge, _)| charge.policy), Some(B));
    }
    assert!(["p", "q", "r", "s"].into_iter().all(|key| bench.admits(&mut both(key), 0)), "four are left");
    let mut refused = both("t");
    assert!(!bench.admits(&mut refused, 0));
    assert_eq!(refused.refused_by().map(|(charge, _)| charge.policy), Some(A));
    assert!(bench.admits(&mut Charges::new([charge(B, "t", narrow)]), 0), "and the other way round");
}

#[test]
fn a_used_budget_survives_any_number_of_other_keys() {
    let bench = Bench::new(64);
    let slow = quota("1/min", 3);
    assert_eq!([(); 4].map(|()| bench.one("victim", slow, 0)), [true, true, true, false]);
    let admitted = (0..10_000).filter(|key| bench.one(&format!("flood-{key}"), slow, 1)).count();
    assert!(admitted < 64 + 64 * 3, "what found no room shares budgets: {admitted} admitted");
    assert!(!bench.one("victim", slow, 2), "the flood did not push it out");
    assert!(bench.admits(&mut Charges::new([charge(B, "new", slow)]), 2), "another policy has its own room");
}

#[test]
fn who_shared_the_newcomers_budget_gains_nothing_by_getting_a_place() {
    // One place for each shard, so two keys of one shard cannot both have one.
    let bench = Bench::new(1);
    let slow = quota("1/min", 2);
    let fast = quota("1000/s", 1);
    // These are drained in a millisecond, and then they can be forgotten.
    assert!((0..1_000).filter(|key| bench.one(&format!("f{key}"), fast, 0)).count() >= 64);
    let keys: Vec<String> = (0..200).map(|key| format!("k{key}")).collect();
    let mut used: Vec<u32> = keys.iter().map(|key| u32::from(bench.one(key, slow, 0))).collect();
    // Places are free now. A key has at most its burst in all, before and after.
    for at_ms in [20, 40, 60] {
        for (key, used) in keys.iter().zip(&mut used) {
            *used += u32::from(bench.one(key, slow, at_ms)) + u32::from(bench.one(key, slow, at_ms));
        }
    }
    assert!(used.iter().all(|used| *used <= 2), "{used:?}");
}

#[test]
fn drained_budgets_make_room() {
    let bench = Bench::new(640);
    let quick = quota("1000/s", 1);
    for round in 0..20_u64 {
        // Half of what there is room for, so that no shard of ten places overflows by chance.
        let admitted = (0..64).filter(|key| bench.one(&format!("{round}-{key}"), quick, round * 50)).count();
        assert_eq!(admitted, 64, "round {round}");
    }
    let slow_override = quota("1/h", 1);
    assert!(bench.one("throttled", slow_override, 2_000));
    for key in 0..10_000_u64 {
        bench.one(&format!("later-{key}"), quick, 2_010 + key);
    }
    assert!(!bench.one("throttled", slow_override, 20_000), "a key's own, slower limit is not forgotten early");
}

#[test]
fn threads_together_get_no_more_than_one() {
    let bench = Bench::new(1_000);
    let quota = quota("1/h", 500);
    let admitted: usize = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(|| (0..1_000).filter(|_| bench.one("k", quota, 0)).count()));
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(admitted, 500);
}
