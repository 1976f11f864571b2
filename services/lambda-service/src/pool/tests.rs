//! The pool with paused time and an executor without processes, and its books under random events.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::atomic::Ordering};

use axum::body::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{executor::in_memory::InMemoryExecutor, function::tests::function};

const START: Duration = Duration::from_millis(30);
const CALL: Duration = Duration::from_millis(100);
const TTL: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits { max_workers: 8, max_queue: 10, max_starts: 4, max_starts_per_function: 2 }
}

fn at_most(most: usize) -> Policies {
    let share = Share { least: 0, most };
    Policies { usual: Policy { share, max_calls: None, max_age: None }, named: BTreeMap::new() }
}

fn pool_with(limits: Limits, policies: Policies) -> Pool<InMemoryExecutor> {
    Pool::new(Purpose::Live, InMemoryExecutor::new(START, CALL), limits, policies, Duration::from_secs(5), TTL)
}

fn pool(limits: Limits) -> Pool<InMemoryExecutor> {
    pool_with(limits, at_most(4))
}

fn invocation(function: &Function) -> Invocation {
    Invocation {
        execution_id: "e".to_owned(),
        event: Bytes::from(function.id.to_string()),
        timeout: Duration::from_secs(1),
    }
}

/// Runs one call; answers whether it was warm, the worker's serial number and its call count.
async fn call(pool: &Pool<InMemoryExecutor>, function: &Arc<Function>) -> Result<(bool, usize, usize), AcquireError> {
    let lease = pool.acquire(function).await?;
    let warm = lease.is_warm();
    let outcome = lease.invoke(&invocation(function)).await;
    let sandbox::FunctionResult::Success { output } = outcome.result else { panic!("it always succeeds") };
    let (serial, calls) = serde_json::from_str(output.get()).unwrap();
    Ok((warm, serial, calls))
}

/// Starts `count` calls at once and answers their results in order.
async fn burst(
    pool: &Pool<InMemoryExecutor>,
    function: &Arc<Function>,
    count: usize,
) -> Vec<Result<(bool, usize, usize), AcquireError>> {
    let calls: Vec<_> = (0..count)
        .map(|_| {
            let (pool, function) = (pool.clone(), Arc::clone(function));
            tokio::spawn(async move { call(&pool, &function).await })
        })
        .collect();
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    results
}

fn started(pool: &Pool<InMemoryExecutor>) -> usize {
    pool.shared.executor.census.started.load(Ordering::SeqCst)
}

fn alive(pool: &Pool<InMemoryExecutor>) -> usize {
    pool.shared.executor.census.alive.load(Ordering::SeqCst)
}

/// Lets every task that can run do so.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_call_finds_the_first_ones_worker() {
    let (pool, function) = (pool(limits()), Arc::new(function("f")));
    assert_eq!(call(&pool, &function).await.unwrap(), (false, 0, 1));
    assert_eq!(call(&pool, &function).await.unwrap(), (true, 0, 2));
    assert_eq!(pool.counts(), Counts { idle: 1, ..Counts::default() });
}

#[tokio::test(start_paused = true)]
async fn a_burst_on_a_cold_function_starts_no_more_workers_than_slots() {
    let (pool, function) = (pool(limits()), Arc::new(function("f")));
    let results = burst(&pool, &function, 14).await;
    assert!(results.iter().all(Result::is_ok));
    assert!(started(&pool) <= 4, "{} workers for 4 slots", started(&pool));
    assert!(results.iter().filter(|result| result.as_ref().unwrap().0).count() >= 10, "the others found them warm");
}

#[tokio::test(start_paused = true)]
async fn a_short_call_in_the_queue_is_not_given_a_start_that_it_does_not_need() {
    let (pool, function) = (pool(limits()), Arc::new(function("f")));
    call(&pool, &function).await.unwrap();
    let lease = pool.acquire(&function).await.unwrap();
    let waiting = {
        let (pool, function) = (pool.clone(), Arc::clone(&function));
        tokio::spawn(async move { call(&pool, &function).await })
    };
    settle().await;
    // The first worker comes back before the second has started: the waiting call takes it.
    drop(lease);
    assert_eq!(waiting.await.unwrap().unwrap(), (true, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses() {
    let (pool, function) = (pool(limits()), Arc::new(function("f")));
    let results = burst(&pool, &function, 20).await;
    let refused = results.iter().filter(|result| matches!(result, Err(AcquireError::Saturated))).count();
    assert_eq!(refused, 20 - 4 - 10);
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_wait_for_ever() {
    let pool = Pool::new(
        Purpose::Live,
        InMemoryExecutor::new(START, Duration::from_secs(60)),
        limits(),
        at_most(1),
        Duration::from_secs(5),
        TTL,
    );
    let function = Arc::new(function("f"));
    let results = burst(&pool, &function, 2).await;
    assert!(matches!(results[1], Err(AcquireError::Saturated)));
    assert_eq!(pool.counts(), Counts { idle: 1, ..Counts::default() });
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_never_used_for_another_function_or_version() {
    let pool = pool(limits());
    let (first, second) = (Arc::new(function("first")), Arc::new(function("second")));
    // The executor's worker panics when it gets another function's call.
    for _ in 0..3 {
        assert!(call(&pool, &first).await.unwrap().1 != call(&pool, &second).await.unwrap().1);
    }
    let (_, old, _) = call(&pool, &first).await.unwrap();
    let changed = Arc::new(Function { code_key: "changed".to_owned(), ..(*first).clone() });
    let (warm, new, calls) = call(&pool, &changed).await.unwrap();
    assert!(!warm && calls == 1 && new != old);
    settle().await;
    assert_eq!(alive(&pool), 2, "the worker of the old version is stopped");
}

#[tokio::test(start_paused = true)]
async fn the_longest_idle_worker_makes_place_when_all_are_taken() {
    let pool = pool(Limits { max_workers: 2, ..limits() });
    let functions: Vec<_> = ["a", "b", "c"].map(|name| Arc::new(function(name))).into();
    for function in &functions {
        call(&pool, function).await.unwrap();
    }
    settle().await;
    assert_eq!(alive(&pool), 2);
    assert!(call(&pool, &functions[2]).await.unwrap().0, "c is there");
    assert!(call(&pool, &functions[1]).await.unwrap().0, "b is there");
    assert!(!call(&pool, &functions[0]).await.unwrap().0, "a made place");
}

#[tokio::test(start_paused = true)]
async fn a_busy_function_does_not_starve_another() {
    let pool = pool(Limits { max_workers: 2, max_queue: 1_000, ..limits() });
    let (busy, other) = (Arc::new(function("busy")), Arc::new(function("other")));
    let flood = {
        let (pool, busy) = (pool.clone(), Arc::clone(&busy));
        tokio::spawn(async move { burst(&pool, &busy, 60).await })
    };
    settle().await;
    let begin = Instant::now();
    call(&pool, &other).await.unwrap();
    assert!(begin.elapsed() <= 2 * (START + CALL), "it waited {:?}", begin.elapsed());
    assert!(flood.await.unwrap().iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn idle_workers_stop_after_their_time() {
    let (pool, function) = (pool(limits()), Arc::new(function("f")));
    call(&pool, &function).await.unwrap();
    tokio::time::sleep(TTL / 2).await;
    pool.stop_idle();
    assert_eq!(pool.counts().idle, 1);
    tokio::time::sleep(TTL / 2).await;
    pool.stop_idle();
    settle().await;
    assert_eq!((pool.counts(), alive(&pool)), (Counts::default(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_leaks_neither_slot_nor_worker() {
    let (pool, function) = (pool_with(limits(), at_most(1)), Arc::new(function("f")));
    for moment_ms in [0, 1, START.as_millis() as u64 / 2, 31, 60, 129, 131] {
        let running = {
            let (pool, function) = (pool.clone(), Arc::clone(&function));
            tokio::spawn(async move { call(&pool, &function).await })
        };
        tokio::time::sleep(Duration::from_millis(moment_ms)).await;
        running.abort();
        drop(running.await);
        call(&pool, &function).await.unwrap();
        settle().await;
        assert_eq!(pool.counts(), Counts { idle: 1, ..Counts::default() }, "left after {moment_ms} ms");
        assert_eq!(alive(&pool), 1, "left after {moment_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_functions_workers_go_at_once_or_after_their_call() {
    let (pool, function) = (pool(limits()), Arc::new(function("f")));
    let first = pool.acquire(&function).await.unwrap();
    let second = pool.acquire(&function).await.unwrap();
    drop(first);
    pool.evict(function.id);
    settle().await;
    assert_eq!(alive(&pool), 1, "the idle one is gone");
    second.invoke(&invocation(&function)).await;
    settle().await;
    assert_eq!((pool.counts(), alive(&pool)), (Counts::default(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_function_that_does_not_load_answers_everybody_with_one_start() {
    let broken = StartError::Function { error: "SyntaxError: no".to_owned(), logs: String::new() };
    let executor = InMemoryExecutor { failure: Some(broken), ..InMemoryExecutor::new(START, CALL) };
    let pool = Pool::new(Purpose::Live, executor, limits(), at_most(4), Duration::from_secs(5), TTL);
    let results = burst(&pool, &Arc::new(function("f")), 10).await;
    assert!(results.iter().all(|result| matches!(result, Err(AcquireError::Start(StartError::Function { .. })))));
    assert!(started(&pool) <= 2);
    settle().await;
    assert_eq!(pool.counts(), Counts::default());
}

#[tokio::test(start_paused = true)]
async fn a_start_that_the_machine_refuses_fails_one_call_only() {
    let executor = InMemoryExecutor { failure: Some(StartError::NotReady), ..InMemoryExecutor::new(START, CALL) };
    let pool = Pool::new(Purpose::Live, executor, limits(), at_most(4), Duration::from_secs(5), TTL);
    let results = burst(&pool, &Arc::new(function("f")), 5).await;
    assert!(results.iter().all(|result| matches!(result, Err(AcquireError::Start(StartError::NotReady)))));
    assert!(started(&pool) >= 5, "each call had its own attempt");
}

#[tokio::test(start_paused = true)]
async fn closing_ends_waiting_calls_and_waits_for_running_ones() {
    let (pool, function) = (pool_with(limits(), at_most(1)), Arc::new(function("f")));
    let running = {
        let (pool, function) = (pool.clone(), Arc::clone(&function));
        tokio::spawn(async move { burst(&pool, &function, 3).await })
    };
    tokio::time::sleep(START + CALL / 2).await;
    pool.close().await;
    let results = running.await.unwrap();
    assert!(results[0].is_ok(), "it was running");
    assert!(results[1..].iter().all(|result| matches!(result, Err(AcquireError::Closed))));
    assert!(matches!(call(&pool, &function).await, Err(AcquireError::Closed)));
    settle().await;
    assert_eq!((pool.counts(), alive(&pool)), (Counts::default(), 0));
}

/// What may happen to the books. Indices choose among what there is at that moment.
#[derive(Debug, Clone)]
enum Event {
    Call { function: usize, version: u8 },
    StartEnds { which: usize, well: bool, lies_in_function: bool },
    CallEnds { which: usize, fit: bool },
    Leaves { which: usize },
    Evict { function: usize },
    Ensure { version: u8 },
    Expire,
    Close,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0_usize..4, 0_u8..2).prop_map(|(function, version)| Event::Call { function, version }),
        5 => (any::<usize>(), prop::bool::weighted(0.8), any::<bool>())
            .prop_map(|(which, well, lies_in_function)| Event::StartEnds { which, well, lies_in_function }),
        6 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(which, fit)| Event::CallEnds { which, fit }),
        2 => any::<usize>().prop_map(|which| Event::Leaves { which }),
        1 => (0_usize..4).prop_map(|function| Event::Evict { function }),
        1 => (0_u8..2).prop_map(|version| Event::Ensure { version }),
        1 => Just(Event::Expire),
        1 => prop::bool::weighted(0.02).prop_map(|close| if close { Event::Close } else { Event::Expire }),
    ]
}

/// Named `f`, with a policy of its own.
fn named(policy: Policy) -> Policies {
    Policies { named: [("f".to_owned(), policy)].into(), ..at_most(4) }
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_used_as_often_and_for_as_long_as_its_function_may() {
    let share = Share { least: 0, most: 4 };
    let function = Arc::new(function("f"));
    let never = pool_with(limits(), named(Policy { share, max_calls: Some(1), max_age: None }));
    for serial in 0..3 {
        assert_eq!(call(&never, &function).await.unwrap(), (false, serial, 1), "every call is a cold start");
    }
    let twice = pool_with(limits(), named(Policy { share, max_calls: Some(2), max_age: None }));
    let seen = [call(&twice, &function).await, call(&twice, &function).await, call(&twice, &function).await];
    assert_eq!(seen.map(Result::unwrap), [(false, 0, 1), (true, 0, 2), (false, 1, 1)]);
    let young = pool_with(limits(), named(Policy { share, max_calls: None, max_age: Some(2 * CALL) }));
    let seen = [call(&young, &function).await, call(&young, &function).await, call(&young, &function).await];
    assert_eq!(seen.map(Result::unwrap), [(false, 0, 1), (true, 0, 2), (false, 1, 1)]);
    let other = Arc::new(crate::function::tests::function("g"));
    call(&never, &other).await.unwrap();
    assert!(call(&never, &other).await.unwrap().0, "others have the usual policy");
}

#[tokio::test(start_paused = true)]
async fn a_function_has_its_least_workers_before_and_after_its_calls_and_a_new_version_has_them_too() {
    let share = Share { least: 2, most: 4 };
    let pool = pool_with(limits(), named(Policy { share, max_calls: None, max_age: None }));
    let function = Arc::new(function("f"));
    assert_eq!(pool.provisioned().collect::<Vec<_>>(), ["f"]);
    for _ in 0..2 {
        pool.ensure(&function);
        tokio::time::sleep(START * 2).await;
        assert_eq!(pool.counts(), Counts { idle: 2, ..Counts::default() });
    }
    assert!(call(&pool, &function).await.unwrap().0, "the first call is warm");
    burst(&pool, &function, 4).await;
    tokio::time::sleep(TTL * 2).await;
    pool.stop_idle();
    settle().await;
    assert_eq!((pool.counts().idle, alive(&pool)), (2, 2), "the others stop, these stay");
    let changed = Arc::new(Function { code_key: "new".to_owned(), ..(*function).clone() });
    pool.ensure(&changed);
    tokio::time::sleep(START * 2).await;
    assert_eq!((pool.counts().idle, alive(&pool)), (2, 2));
    let (warm, serial, _) = call(&pool, &changed).await.unwrap();
    assert!(warm && serial >= 4, "the new version's own");
}

#[tokio::test(start_paused = true)]
async fn a_busy_function_gives_way_until_all_have_as_much() {
    let policies = at_most(8);
    let pool = pool_with(Limits { max_queue: 1_000, ..limits() }, policies);
    let (busy, late) = (Arc::new(function("busy")), Arc::new(function("late")));
    let keep_busy = |function: &Arc<Function>, count| {
        let (pool, function) = (pool.clone(), Arc::clone(function));
        tokio::spawn(async move { burst(&pool, &function, count).await })
    };
    let first = keep_busy(&busy, 200);
    tokio::time::sleep(CALL * 2).await;
    assert_eq!(pool.shared.lock().busy_of(busy.id), 8, "it has all there is");
    let second = keep_busy(&late, 100);
    tokio::time::sleep(CALL * 8).await;
    let shares = [busy.id, late.id].map(|id| pool.shared.lock().busy_of(id));
    assert!(shares.iter().all(|share| (3..=5).contains(share)), "{shares:?}");
    assert!(first.await.unwrap().iter().chain(&second.await.unwrap()).filter(|result| result.is_err()).count() == 0);
}

#[tokio::test(start_paused = true)]
async fn when_a_function_changes_calls_under_way_end_where_they_are_and_new_ones_go_to_the_new_version() {
    let (pool, old) = (pool(limits()), Arc::new(function("f")));
    let new = Arc::new(Function { code_key: "new".to_owned(), ..(*old).clone() });
    let under_way = {
        let (pool, old) = (pool.clone(), Arc::clone(&old));
        tokio::spawn(async move { call(&pool, &old).await })
    };
    tokio::time::sleep(START + CALL / 2).await;
    assert_eq!(call(&pool, &new).await.unwrap(), (false, 1, 1));
    assert_eq!(under_way.await.unwrap().unwrap(), (false, 0, 1));
    assert_eq!(call(&pool, &new).await.unwrap(), (true, 1, 2));
    settle().await;
    assert_eq!(alive(&pool), 1, "the old version's worker has stopped");
}

/// A worker of the model: which function and version it was started with.
type ModelWorker = (FunctionId, u64);

/// The world around the books: what they believe must be what is.
struct World {
    books: Ledger<(ModelWorker, crate::function::Version), u64>,
    limits: Limits,
    share: Share,
    functions: Vec<[Arc<Function>; 2]>,
    starting: Vec<Start>,
    busy: Vec<(Slot, ModelWorker, crate::function::Version)>,
    waiting: Vec<(u64, FunctionId, Ticket)>,
    idle: usize,
    next: u64,
    now: Instant,
}

impl World {
    /// The first function has a share of its own, the others the usual one.
    fn share(&self, function: FunctionId) -> Share {
        let least = if self.functions[0][0].id == function { self.share.least } else { 0 };
        Share { least, ..self.share }
    }

    fn new(limits: Limits, share: Share) -> Self {
        let functions = (0..4)
            .map(|index| {
                let old = function(&index.to_string());
                let new = Function { code_key: "new".to_owned(), ..old.clone() };
                [Arc::new(old), Arc::new(new)]
            })
            .collect();
        Self {
            books: Ledger::new(limits),
            limits,
            share,
            functions,
            starting: Vec::new(),
            busy: Vec::new(),
            waiting: Vec::new(),
            idle: 0,
            next: 0,
            now: Instant::now(),
        }
    }

    fn happens(&mut self, event: &Event) {
        self.now += Duration::from_millis(1);
        let mut actions = Vec::new();
        match *event {
            Event::Call { function, version } => {
                let function = Arc::clone(&self.functions[function][usize::from(version)]);
                self.next += 1;
                let reply = self.next;
                match self.books.admit(&function, function.version(), self.share(function.id), || reply, &mut actions) {
                    Admission::Granted(grant) => {
                        self.idle -= 1;
                        self.granted(&grant, Some(&function));
                    }
                    Admission::Queued(ticket) => self.waiting.push((reply, function.id, ticket)),
                    Admission::Full | Admission::Closed => {}
                }
            }
            Event::StartEnds { which, well, lies_in_function } => {
                if self.starting.is_empty() {
                    return;
                }
                let start = self.starting.swap_remove(which % self.starting.len());
                if well {
                    self.next += 1;
                    let worker = ((start.function.id, self.next), start.function.version());
                    self.idle += 1;
                    self.books.started(&start, worker, self.now, &mut actions);
                } else {
                    let error = if lies_in_function {
                        StartError::Function { error: String::new(), logs: String::new() }
                    } else {
                        StartError::Aborted
                    };
                    self.books.start_failed(&start, &error, &mut actions);
                }
            }
            Event::CallEnds { which, fit } => {
                if self.busy.is_empty() {
                    return;
                }
                let (slot, worker, version) = self.busy.swap_remove(which % self.busy.len());
                if fit {
                    self.idle += 1;
                    self.books.released(slot, (worker, version), self.now, &mut actions);
                } else {
                    self.books.lost(slot, &mut actions);
                }
            }
            Event::Leaves { which } => {
                if self.waiting.is_empty() {
                    return;
                }
                let (_, function, ticket) = self.waiting.swap_remove(which % self.waiting.len());
                self.books.abandoned(function, ticket);
            }
            Event::Evict { function } => self.books.evict(self.functions[function][0].id, &mut actions),
            Event::Ensure { version } => {
                let function = Arc::clone(&self.functions[0][usize::from(version)]);
                self.books.ensure(&function, function.version(), self.share(function.id), &mut actions);
            }
            Event::Expire => self.books.expire(self.now - Duration::from_millis(20), &mut actions),
            Event::Close => self.books.close(&mut actions),
        }
        for action in actions {
            match action {
                Action::Start(start) => self.starting.push(start),
                Action::Grant(reply, grant) => {
                    self.idle -= 1;
                    self.no_longer_waits(reply);
                    self.granted(&grant, None);
                }
                Action::Kill(_) => self.idle -= 1,
                Action::Refuse(reply) | Action::Fail(reply, _) => self.no_longer_waits(reply),
            }
        }
    }

    fn granted(&mut self, grant: &Grant<(ModelWorker, crate::function::Version)>, wanted: Option<&Function>) {
        let slot = grant.slot();
        let ((function, serial), version) = grant.worker;
        if let Some(wanted) = wanted {
            assert_eq!((function, version), (wanted.id, wanted.version()), "a worker serves what it was started with");
        }
        self.busy.push((slot, (function, serial), version));
    }

    fn no_longer_waits(&mut self, reply: u64) {
        let before = self.waiting.len();
        self.waiting.retain(|(waiting, ..)| *waiting != reply);
        assert_eq!(self.waiting.len() + 1, before, "only a waiting call has an answer, and one only");
    }

    fn is_sound(&self) {
        let counts = self.books.counts();
        let seen = Counts {
            starting: self.starting.len(),
            idle: self.idle,
            busy: self.busy.len(),
            waiting: self.waiting.len(),
        };
        assert_eq!(counts, seen, "the books and the world agree");
        assert!(counts.starting + counts.idle + counts.busy <= self.limits.max_workers);
        assert!(counts.starting <= self.limits.max_starts);
        for [function, _] in &self.functions {
            let starting = self.starting.iter().filter(|start| start.function.id == function.id).count();
            let busy = self.busy.iter().filter(|(_, (id, _), _)| *id == function.id).count();
            assert!(starting <= self.limits.max_starts_per_function);
            assert!(starting + busy <= self.share.most);
        }
    }

    /// Ends everything that is under way: nobody may wait for ever.
    fn ends(&mut self) {
        for _ in 0..10_000 {
            if self.starting.is_empty() && self.busy.is_empty() {
                break;
            }
            self.happens(&Event::StartEnds { which: 0, well: true, lies_in_function: false });
            self.happens(&Event::CallEnds { which: 0, fit: true });
            self.is_sound();
        }
        assert!(self.waiting.is_empty(), "calls wait though nothing is under way");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: every worker and every call is in one place, no limit is
    /// passed, and nobody waits for ever.
    #[test]
    fn the_books_agree_with_the_world(
        events in proptest::collection::vec(event(), 1..200),
        max_workers in 1_usize..6,
        most in 1_usize..4,
        least in 0_usize..4,
        max_queue in 0_usize..6,
        max_starts in 1_usize..3,
        max_starts_per_function in 1_usize..3,
    ) {
        let limits = Limits { max_workers, max_queue, max_starts, max_starts_per_function };
        // Something must be left for the others.
        let share = Share { least: least.min(max_workers - 1), most };
        let mut world = World::new(limits, share);
        for event in &events {
            world.happens(event);
            world.is_sound();
        }
        world.ends();
    }
}
