//! The whole way, once, and what is in the databases afterwards.

use std::time::Instant;

use migration::stream::Direction;
use serde_json::Value;

use super::{
    super::{
        rollout::{MOVING, route_of},
        site::{PATIENCE, Side},
    },
    Clients, Owner, Split, assert_possible, each_once,
    schedule::Scheduled,
};

/// Answers that are waited for after each step.
const ANSWERS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn load_functions_go_to_their_own_database_and_back_without_a_failed_request() {
    let split = Split::start().await;
    let clients = Clients::start(&split.system).await;
    // Both sides work on the monolith's rows.
    split.system.set_percent(&MOVING, 50).await;
    clients.answers_since(Instant::now(), ANSWERS).await;
    let mut scheduled = Scheduled::start(&split.system).await;
    scheduled.is_called_by_webhook().await;
    assert_eq!(split.slice().await["stage"], "shared");

    let sync = split.sync().await;
    let compared = split.verify(Direction::Forward).await;
    assert_eq!((&compared["differences"], &compared["unsettled"]), (&Value::from([0; 0]), &Value::from([0; 0])));
    let status = split.operator.json(&["db", "status", "functions"]).await;
    eprintln!("{compared}\n{status}");

    cut_over(&split, &clients).await;
    scheduled.is_called_by_webhook().await;
    let report = pass(&split, "rollback").await;
    eprintln!("{report}");
    assert_eq!(split.slice().await["stage"], "synced");
    served_by(&clients, Side::Legacy).await;
    split.has_all(Owner::Monolith, &clients).await;
    split.verify(Direction::Forward).await;
    scheduled.is_called_by_webhook().await;
    cut_over(&split, &clients).await;
    scheduled.is_called_by_webhook().await;

    assert!(sync.terminate(PATIENCE).await.success(), "{}", sync.log());
    split.operator.json(&["db", "complete", "functions", "--confirm"]).await;
    assert_eq!(split.slice().await["stage"], "complete");
    served_by(&clients, Side::Candidate).await;

    let firings = scheduled.end().await;
    let mut told = clients.stop().await;
    assert!(told.failed.is_empty(), "{} of {}: {:#?}", told.failed.len(), told.answered.len(), told.failed.first());
    let [functions, executions] = split.at_the_end(Owner::Candidate, &mut told).await;
    assert_eq!(each_once(&functions), told.functions(), "the functions that clients were told of, and no other");
    assert_eq!(each_once(&executions), told.executions(), "the same of executions");
    assert_possible(&told);
    let (answered, acts) = (told.answered.len(), told.events.len());
    eprintln!(
        "{answered} requests, none failed; {} functions and {} executions, each once; {acts} acts in order; {firings} \
         firings, each once",
        functions.len(),
        executions.len()
    );
    split.system.stack.stop().await;
}

/// Cuts over, and looks whether everything is as it should be with the new owner.
async fn cut_over(split: &Split, clients: &Clients) {
    let report = pass(split, "cutover").await;
    eprintln!("{report}");
    assert_eq!(split.slice().await["stage"], "cut-over");
    let status = split.system.status().await;
    for route in MOVING {
        assert_eq!(route_of(&status, route)["percent"], 100.0, "{route}");
    }
    served_by(clients, Side::Candidate).await;
    split.has_all(Owner::Candidate, clients).await;
    split.verify(Direction::Reverse).await;
}

async fn pass(split: &Split, verb: &str) -> Value {
    let report = split.operator.json(&["db", verb, "functions"]).await;
    assert!(report["held_ms"].as_f64().is_some_and(|held| held < 5_000.0), "{report}");
    assert!(split.slice().await["fence"].is_null(), "the fence is lifted");
    report
}

/// Every request that begins from now on is answered by this side.
async fn served_by(clients: &Clients, side: Side) {
    let now = Instant::now();
    clients.answers_since(now, ANSWERS).await;
    let told = clients.told();
    let other = told.answered.iter().find(|answered| answered.began >= now && answered.side != side);
    assert!(other.is_none(), "{other:?}");
}
