use std::{future::Future, pin::pin, task::Poll};

use prometheus::Registry;
use proptest::prelude::*;

use super::{super::metrics::Families, *};

const HOLD: Hold = Hold { bound: Duration::from_secs(5), lease: Duration::from_secs(2) };

fn gate(waiting: usize) -> Arc<Gate> {
    let limits = Limits { hold: Duration::from_secs(5), waiting, waiting_bytes: 1_000 };
    let metrics = Families::register(&Registry::new()).expect("metrics").of("functions");
    Arc::new(Gate::new(limits, metrics, Arc::new(Notify::new())))
}

async fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
    std::future::poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())).await
}

#[tokio::test(start_paused = true)]
async fn writes_wait_from_the_fence_to_its_lift_and_those_before_it_are_waited_for() {
    let gate = gate(10);
    let before = gate.enter(0).await.expect("no fence stands");
    let fence = gate.place("t", HOLD, Instant::now()).expect("placed");
    assert_eq!((fence.found, fence.drained_after), (1, None));
    let mut held = pin!(gate.enter(7));
    assert!(is_pending(&mut held).await);
    let shown = gate.fence(Instant::now()).expect("stands");
    assert_eq!((shown.waiting, shown.waiting_bytes, shown.in_flight, shown.drained_after), (1, 7, 1, None));
    tokio::time::advance(Duration::from_millis(30)).await;
    drop(before);
    let shown = gate.fence(Instant::now()).expect("stands");
    assert_eq!((shown.in_flight, shown.drained_after), (0, Some(Duration::from_millis(30))));
    assert_eq!(gate.lift("another", Instant::now()), Err(FenceError::NotHeld));
    assert_eq!(gate.lift("t", Instant::now()), Ok(Duration::from_millis(30)));
    let write = held.await.expect("let through");
    assert_eq!(gate.writes.load(SeqCst), 1);
    drop(write);
    assert_eq!((gate.writes.load(SeqCst), gate.fence(Instant::now())), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_fence_ends_with_its_lease_and_never_stands_beyond_its_bound() {
    let gate = gate(10);
    gate.place("t", HOLD, Instant::now()).expect("placed");
    assert_eq!(gate.place("u", HOLD, Instant::now()), Err(FenceError::HeldByAnother));
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(1)).await;
        gate.renew("t", Duration::from_secs(2), Instant::now()).expect("renewed");
    }
    let left = gate.fence(Instant::now()).expect("stands").left;
    assert_eq!(left, Duration::from_secs(1), "the bound is over then");
    tokio::time::advance(left).await;
    assert_eq!(gate.renew("t", Duration::from_secs(2), Instant::now()), Err(FenceError::NotHeld));
    gate.place("u", HOLD, Instant::now()).expect("the next one");
    tokio::time::advance(HOLD.lease).await;
    assert_eq!(gate.expire(Instant::now()), None, "nobody renewed it");
    assert!(gate.enter(0).await.is_ok());
    let long = Hold { bound: Duration::from_secs(6), lease: Duration::from_secs(1) };
    assert_eq!(gate.place("v", long, Instant::now()), Err(FenceError::BadHold));
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_are_refused_and_who_leaves_makes_room() {
    let gate = gate(2);
    gate.place("t", HOLD, Instant::now()).expect("placed");
    let mut first = Box::pin(gate.enter(400));
    let mut second = Box::pin(gate.enter(400));
    assert!(is_pending(&mut first).await && is_pending(&mut second).await);
    assert_eq!(gate.enter(0).await.err(), Some(Held::TooMany { retry_after: HOLD.lease }), "a third");
    drop(second);
    assert_eq!(gate.enter(700).await.err(), Some(Held::TooMany { retry_after: HOLD.lease }), "too many bytes");
    let mut small = Box::pin(gate.enter(600));
    assert!(is_pending(&mut small).await);
    gate.lift("t", Instant::now()).expect("lifted");
    assert!(first.await.is_ok() && small.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_write_is_held_no_longer_than_a_fence_however_many_follow_each_other() {
    let gate = gate(10);
    gate.place("t0", HOLD, Instant::now()).expect("placed");
    let mut held = Box::pin(gate.enter(0));
    assert!(is_pending(&mut held).await);
    for round in 1..4 {
        tokio::time::advance(Duration::from_millis(1_600)).await;
        gate.lift(&format!("t{}", round - 1), Instant::now()).expect("lifted");
        gate.place(&format!("t{round}"), HOLD, Instant::now()).expect("placed");
        assert!(is_pending(&mut held).await, "round {round}");
    }
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(held.await.err(), Some(Held::TooLong));
}

#[tokio::test(start_paused = true)]
async fn they_go_on_in_the_order_they_came() {
    let gate = gate(100);
    gate.place("t", HOLD, Instant::now()).expect("placed");
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        let (gate, sender) = (gate.clone(), sender.clone());
        tasks.spawn(async move {
            let write = gate.enter(0).await.expect("let through");
            sender.send(number).expect("received");
            drop(write);
        });
        tokio::task::yield_now().await;
    }
    assert_eq!(gate.fence(Instant::now()).expect("stands").waiting, 50);
    gate.lift("t", Instant::now()).expect("lifted");
    for expected in 0..50 {
        assert_eq!(receiver.recv().await, Some(expected));
    }
}

/// Whatever the threads do: once a gateway has said that it is drained, no write is in flight until it lifts.
#[test]
fn a_drained_gate_lets_nothing_through() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime");
    proptest!(ProptestConfig::with_cases(30), |(writers in 1_usize..24, rounds in 1_usize..8)| {
        runtime.block_on(async {
            let gate = gate(1_000);
            let inside = Arc::new(AtomicUsize::new(0));
            let stop = Arc::new(AtomicBool::new(false));
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..writers {
                let (gate, inside, stop) = (gate.clone(), inside.clone(), stop.clone());
                tasks.spawn(async move {
                    while !stop.load(SeqCst) {
                        let write = gate.enter(0).await.expect("let through");
                        inside.fetch_add(1, SeqCst);
                        tokio::task::yield_now().await;
                        inside.fetch_sub(1, SeqCst);
                        drop(write);
                    }
                });
            }
            for round in 0..rounds {
                let token = round.to_string();
                gate.place(&token, HOLD, Instant::now()).expect("placed");
                while gate.fence(Instant::now()).expect("stands").drained_after.is_none() {
                    tokio::task::yield_now().await;
                }
                for _ in 0..200 {
                    assert_eq!(inside.load(SeqCst), 0);
                    tokio::task::yield_now().await;
                }
                gate.lift(&token, Instant::now()).expect("lifted");
            }
            stop.store(true, SeqCst);
            while let Some(done) = tasks.join_next().await {
                done.expect("no panic");
            }
            assert_eq!(gate.writes.load(SeqCst), 0);
        });
    });
}
