//! SIGKILL of each part under traffic: what fails, what does not, and that it comes back by itself.

use std::time::Instant;

use testkit::eventually;

use super::{
    rollout::{MOVING, route_of},
    site::{PATIENCE, Side, Site, System},
    traffic::{Call, Outcome, Traffic, failures},
};

const CALLERS: usize = 8;
const FUNCTIONS: usize = 16;

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
        let is_taken_over = |call: &Call| call.started >= dead && call.side() == Some(Side::Legacy);
        on_candidate.until(|calls| calls.iter().any(is_taken_over)).await;
        served_since(&on_candidate, dead, Side::Candidate).await;
        eprintln!("the candidate served again {:.1?} after its death", dead.elapsed());
    }
    let (legacy_calls, candidate_calls) = (on_legacy.stop().await, on_candidate.stop().await);
    let failed = failures(&candidate_calls);
    eprintln!("{} of {} calls failed, over {} deaths", failed.len(), candidate_calls.len(), deaths.len());
    assert!(failures(&legacy_calls).is_empty(), "legacy's keys: {:#?}", failures(&legacy_calls));
    let was_in_flight = |call: &Call, (asked, dead): &(Instant, Instant)| call.started < *dead && call.ended >= *asked;
    for call in &failed {
        assert!(deaths.iter().any(|death| was_in_flight(call, death)), "it began after the death: {call:#?}");
    }
    assert!(failed.len() <= CALLERS * deaths.len(), "{CALLERS} callers have {CALLERS} calls in flight: {failed:#?}");
    let status = system.status().await;
    assert!(route_of(&status, "invoke")["fallbacks"].as_u64() >= Some(deaths.len() as u64), "{status}");
    system.stack.stop().await;
}

#[tokio::test]
async fn without_fallback_a_killed_candidate_is_503_with_retry_after() {
    let (system, legacy, candidate) = at_half(&Site::new().without_fallback("invoke")).await;
    let (on_legacy, on_candidate) = (under_way(&system, &legacy).await, under_way(&system, &candidate).await);
    let before = Instant::now();
    system.kill("lambda-service").await;
    let dead = Instant::now();
    on_candidate.until(|calls| calls.iter().any(|call| call.started >= dead && call.failed())).await;
    served_since(&on_candidate, dead, Side::Candidate).await;

    let (legacy_calls, candidate_calls) = (on_legacy.stop().await, on_candidate.stop().await);
    assert!(failures(&legacy_calls).is_empty(), "legacy's keys: {:#?}", failures(&legacy_calls));
    for call in failures(&candidate_calls) {
        let is_told_to_wait = matches!(
            &call.outcome,
            Outcome::Refused { status: 503, retry_after: Some(after), body }
                if after == "1" && body.contains("upstream_unreachable")
        );
        let was_in_flight = call.started < dead && call.ended >= before;
        assert!(is_told_to_wait || was_in_flight, "{call:#?}");
    }
    let in_flight = failures(&candidate_calls).into_iter().filter(|call| call.started < dead).count();
    assert!(in_flight <= CALLERS, "{in_flight} calls of {CALLERS} callers failed");
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
