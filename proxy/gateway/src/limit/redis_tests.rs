//! The script against a real Redis, and against the arithmetic in this process.

use std::time::Duration;

use proptest::{prelude::*, test_runner::TestRunner};
use redis::{Script, aio::MultiplexedConnection};
use testkit::PrivateRedis;

use super::{
    budget::{Budget, Flow},
    quota::Quota,
};

const SCRIPT: &str = include_str!("redis.lua");

async fn connect(redis: &PrivateRedis) -> MultiplexedConnection {
    let client = redis::Client::open(redis.url()).expect("a good URL");
    client.get_multiplexed_async_connection().await.expect("it runs")
}

const RATES: [&str; 8] = ["1000000/s", "333/s", "100/s", "7/s", "600/min", "1/min", "1000/h", "1/d"];

/// The script by a clock of ours, the last two arguments; the server's own clock expires nothing.
fn script_with_clock() -> Script {
    let (asks, expires) = ("redis.call('TIME')", "string.format('%.0f', drains_ms)");
    assert!(SCRIPT.contains(asks) && SCRIPT.contains(expires));
    Script::new(&SCRIPT.replace(asks, "{ ARGV[#ARGV - 1], ARGV[#ARGV] }").replace(expires, "'3600000'"))
}

fn flow(rate: &str, burst: u32) -> Flow {
    Flow::of(Quota::new(rate.parse().expect("a good rate"), Some(burst)).expect("a good burst"))
}

/// A step of time, and which policies the request has to pass.
type Request = (u64, bool, bool);

#[tokio::test(flavor = "multi_thread")]
async fn both_stores_decide_alike_to_the_last_bit() {
    let redis = PrivateRedis::start().await;
    let connection = connect(&redis).await;
    let script = script_with_clock();
    let flows = (prop::sample::select(&RATES[..]), 1..40_u32, prop::sample::select(&RATES[..]), 1..40_u32);
    let step = prop_oneof![Just(0_u64), 1..2_000_u64, 1..200_000_u64, 1..90_000_000_u64];
    let requests = prop::collection::vec((step, any::<bool>(), any::<bool>()), 1..120);
    let mut runner = TestRunner::new(ProptestConfig { cases: 60, ..ProptestConfig::default() });
    let handle = tokio::runtime::Handle::current();
    let mut case = 0;
    let outcome = tokio::task::block_in_place(|| {
        let case = std::cell::RefCell::new(&mut case);
        runner.run(&(flows, requests), |((rate, burst, other_rate, other_burst), requests)| {
            **case.borrow_mut() += 1;
            let flows = [flow(rate, burst), flow(other_rate, other_burst)];
            let run = compare(connection.clone(), &script, flows, &requests, **case.borrow());
            handle.block_on(run);
            Ok(())
        })
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn compare(
    mut connection: MultiplexedConnection,
    script: &Script,
    flows: [Flow; 2],
    requests: &[Request],
    case: u32,
) {
    let mut budgets = [Budget::default(); 2];
    let mut now_us = 1_790_000_000_000_000_u64;
    for (step, first, second) in requests {
        now_us += step;
        let asked: Vec<usize> =
            [(0, *first), (1, *second)].into_iter().filter(|(_, asked)| *asked).map(|(i, _)| i).collect();
        let mut invocation = script.prepare_invoke();
        for index in &asked {
            invocation.key(format!("case{case}:{index}")).arg(flows[*index].per_us).arg(flows[*index].burst);
        }
        invocation.arg(now_us / 1_000_000).arg(now_us % 1_000_000);
        let answer: Vec<f64> = invocation.invoke_async(&mut connection).await.expect("Redis decides");

        let used: Vec<f64> = asked.iter().map(|index| budgets[*index].used_at(now_us, flows[*index])).collect();
        let admitted = asked.iter().zip(&used).all(|(index, used)| flows[*index].fits(*used));
        if admitted {
            for (index, used) in asked.iter().zip(&used) {
                budgets[*index] = budgets[*index].with_used(used + 1.0, now_us);
            }
        }
        assert_eq!(answer[0] > 0.0, admitted, "at {now_us}: {answer:?} here {used:?}");
        assert_eq!(answer[1..], used, "at {now_us}");
    }
}

#[tokio::test]
async fn a_budget_expires_when_it_has_drained_and_is_stored_as_text() {
    let redis = PrivateRedis::start().await;
    let mut connection = connect(&redis).await;
    let script = Script::new(SCRIPT);
    let mut invocation = script.prepare_invoke();
    let flow = flow("10/s", 5);
    invocation.key("k").arg(flow.per_us).arg(flow.burst);
    for used in [0.0, 1.0, 2.0] {
        let answer: Vec<f64> = invocation.invoke_async(&mut connection).await.expect("Redis decides");
        assert_eq!(answer[0], 1.0);
        assert!(answer[1] <= used && answer[1] > used - 1.0, "{answer:?}");
    }
    let (stored, left_ms): (String, i64) =
        redis::pipe().get("k").pttl("k").query_async(&mut connection).await.expect("the key is there");
    assert!((1..=302).contains(&left_ms), "three requests drain in 300 ms: {left_ms}");
    let (used, at) = stored.split_once(' ').expect("two numbers");
    assert!(used.parse::<f64>().is_ok_and(|used| used > 2.0 && used <= 3.0), "{stored}");
    assert_eq!(at.len(), 16, "microseconds since 1970: {stored}");
}

#[tokio::test]
async fn what_is_no_budget_is_written_over_and_a_clock_that_goes_back_gives_nothing() {
    let redis = PrivateRedis::start().await;
    let mut connection = connect(&redis).await;
    let flow = flow("10/s", 1);
    let script = Script::new(SCRIPT);
    for stored in ["", "hello", "1", "x y z"] {
        let () = redis::cmd("SET").arg("k").arg(stored).query_async(&mut connection).await.expect("set");
        let mut invocation = script.prepare_invoke();
        invocation.key("k").arg(flow.per_us).arg(flow.burst);
        let answer: Vec<f64> = invocation.invoke_async(&mut connection).await.expect("Redis decides");
        assert_eq!(answer, [1.0, 0.0], "{stored:?}");
    }
    let script = script_with_clock();
    let mut decide = async |second: u64| {
        let mut invocation = script.prepare_invoke();
        invocation.key("back").arg(flow.per_us).arg(flow.burst).arg(1_790_000_000 + second).arg(0);
        let answer: Vec<f64> = invocation.invoke_async(&mut connection).await.expect("Redis decides");
        answer[0] > 0.0
    };
    assert!(decide(100).await && !decide(10).await && !decide(100).await && decide(101).await);
    tokio::time::timeout(Duration::from_secs(10), redis.stop()).await.expect("it stops");
}
