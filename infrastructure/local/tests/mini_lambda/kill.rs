//! SIGKILL of each part under traffic: what fails, what does not, and that it comes back by itself.

use std::time::{Duration, Instant};

use testkit::eventually;

use super::{
    rollout::{MOVING, route_of},
    site::{PATIENCE, Side, Site, System},
    traffic::{Call, Outcome, Traffic, failures},
};

const CALLERS: usize = 8;
const FUNCTIONS: usize = 16;
/// How long after a process's end its connections may seem open, and what is sent there be cut. Seen, not
/// proven: a child that it was just starting would hold copies of them from `fork` to `exec`.
const CLOSING: Duration = Duration::from_millis(100);

/// A stack at 50 %, and its functions: those whose key is on legacy, and those on the candidate.
async fn at_half(site: &Site) -> (System, Vec<String>, Vec<String>) {
    let system = site.start().await;
    let functions = system.echoes(FUNCTIONS).await;
    system.set_percent(&MOVING, 50).await;
    let (mut legacy, mut candidate) = (Vec::new(), Vec::new());
    for function in functions {
        match system.side_of(&function).await {
            Side::Legacy => legacy.push(function),
            Side::Candidate => candidate.push(function),
        }
    }
    assert!(!legacy.is_empty() && !candidate.is_empty(), "{FUNCTIONS} keys are enough for both sides");
    (system, legacy, candidate)
}

/// Traffic on all of these functions that both sides are serving.
async fn under_way(system: &System, functions: &[String]) -> Traffic {
    let traffic = Traffic::start(system, functions, CALLERS);
    traffic.until(|calls| calls.len() >= 100).await;
    traffic
}

/// Waits for calls that began at `since` or later and were served by this side.
async fn served_since(traffic: &Traffic, since: Instant, side: Side) {
    let is_one = |call: &&Call| call.started >= since && call.side() == Some(side);
    traffic.until(|calls| calls.iter().filter(is_one).count() >= 20).await;
}

#[tokio::test]
async fn a_killed_candidate_costs_only_what_it_had_begun() {
    let (system, legacy, candidate) = at_half(&Site::new()).await;
    let (on_legacy, on_candidate) = (under_way(&system, &legacy).await, under_way(&system, &candidate).await);
    let mut deaths = Vec::new();
    for _ in 0..3 {
        let asked = Instant::now();
        system.kill("lambda-service").await;
        let dead = Instant::now();
        deaths.push((asked, dead));
        // Legacy takes over at once, and the candidate has its keys back once it is there again.
        let is_taken_over = |call: &Call| call.ended >= asked && call.side() == Some(Side::Legacy);
        on_candidate.until(|calls| calls.iter().any(is_taken_over)).await;
        served_since(&on_candidate, dead, Side::Candidate).await;
        eprintln!("the candidate served again {:.1?} after its death", dead.elapsed());
    }
    let (legacy_calls, candidate_calls) = (on_legacy.stop().await, on_candidate.stop().await);
    let failed = failures(&candidate_calls);
    eprintln!("{} of {} calls failed, over {} deaths", failed.len(), candidate_calls.len(), deaths.len());
    assert!(failures(&legacy_calls).is_empty(), "legacy's keys: {:#?}", failures(&legacy_calls));
    let was_cut =
        |call: &&&Call, (asked, dead): &(Instant, Instant)| call.started < *dead + CLOSING && call.ended >= *asked;
    let cut = deaths.iter().map(|death| failed.iter().filter(|call| was_cut(call, death)).count());
    let cut: Vec<usize> = cut.collect();
    assert_eq!(cut.iter().sum::<usize>(), failed.len(), "some failed that were in nobody's hands: {failed:#?}");
    // Each caller has one call in flight, and may have sent one more on a connection that was about to go.
    assert!(cut.iter().all(|cut| *cut <= 2 * CALLERS), "{cut:?} of {CALLERS} callers at a time: {failed:#?}");
    let status = system.status().await;
    assert!(route_of(&status, "invoke")["fallbacks"].as_u64() >= Some(deaths.len() as u64), "{status}");
    system.stack.stop().await;
}

#[tokio::test]
async fn without_fallback_a_killed_candidate_is_503_with_retry_after() {
    let (system, legacy, candidate) = at_half(&Site::new().without_fallback("invoke")).await;
    let (on_legacy, on_candidate) = (under_way(&system, &legacy).await, under_way(&system, &candidate).await);
    let asked = Instant::now();
    system.kill("lambda-service").await;
    let dead = Instant::now();
    on_candidate.until(|calls| calls.iter().any(|call| call.started >= dead && call.failed())).await;
    served_since(&on_candidate, dead, Side::Candidate).await;

    let (legacy_calls, candidate_calls) = (on_legacy.stop().await, on_candidate.stop().await);
    assert!(failures(&legacy_calls).is_empty(), "legacy's keys: {:#?}", failures(&legacy_calls));
    let is_told_to_wait = |call: &&Call| {
        matches!(
            &call.outcome,
            Outcome::Refused { status: 503, retry_after: Some(after), body }
                if after == "1" && body.contains("upstream_unreachable")
        )
    };
    let (told_to_wait, cut): (Vec<&Call>, Vec<&Call>) =
        failures(&candidate_calls).into_iter().partition(is_told_to_wait);
    eprintln!("{} of {} calls told to wait, {} cut", told_to_wait.len(), candidate_calls.len(), cut.len());
    for call in &cut {
        assert!(call.started < dead + CLOSING && call.ended >= asked, "it was not in flight: {call:#?}");
    }
    assert!(cut.len() <= 2 * CALLERS, "{CALLERS} callers: {cut:#?}");
    assert!(told_to_wait.iter().any(|call| call.started >= dead), "nobody was told to wait");
    system.stack.stop().await;
}

#[tokio::test]
async fn a_killed_monolith_comes_back_on_its_data() {
    comes_back("legacy").await;
}

#[tokio::test]
async fn a_killed_gateway_comes_back_with_its_weights() {
    comes_back("gateway").await;
}

#[tokio::test]
async fn a_killed_postgresql_comes_back_on_its_data() {
    comes_back("postgres").await;
}

/// Kills a part under traffic. Afterwards both sides serve again, and each execution that was answered
/// is recorded once.
async fn comes_back(part: &str) {
    let (system, legacy, candidate) = at_half(&Site::new()).await;
    let traffic = under_way(&system, &[legacy.clone(), candidate.clone()].concat()).await;
    system.kill(part).await;
    let dead = Instant::now();
    for side in [Side::Legacy, Side::Candidate] {
        served_since(&traffic, dead, side).await;
    }
    eprintln!("both sides served again {:.1?} after {part}'s death", dead.elapsed());
    let calls = traffic.stop().await;
    eprintln!("{} of {} calls failed", failures(&calls).len(), calls.len());

    for (functions, side) in [(&legacy, Side::Legacy), (&candidate, Side::Candidate)] {
        for function in functions {
            assert_eq!(system.side_of(function).await, side, "the weights are what they were");
        }
    }
    let answered: Vec<&str> = calls.iter().filter_map(Call::execution).collect();
    eventually(PATIENCE, || async { recorded(&system, &answered).await == answered.len() }).await;
    // None that was not asked for either: no call ran twice.
    let (executions,): (i64,) = sqlx::query_as("SELECT count(*) FROM executions")
        .fetch_one(&mut system.database().await)
        .await
        .expect("the monolith's table");
    assert!(usize::try_from(executions).is_ok_and(|executions| executions <= calls.len()), "{executions} executions");
    let status = system.status().await;
    assert_eq!(route_of(&status, "invoke")["percent"], 50.0);
    system.stack.stop().await;
}

/// How many of these executions are in the database.
pub async fn recorded(system: &System, executions: &[&str]) -> usize {
    let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM executions WHERE id = ANY($1)")
        .bind(executions)
        .fetch_one(&mut system.database().await)
        .await
        .expect("the monolith's table");
    usize::try_from(count).expect("a count")
}
