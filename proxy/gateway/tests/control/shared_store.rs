//! Many machines: the document in PostgreSQL.

use std::{
    fs,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;
use sqlx::Executor as _;
use testkit::PrivatePostgres;

use super::{Fleet, short};
use crate::harness::{Gateway, eventually};

/// What the issue promises between a change and its being in force everywhere.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_force_in_every_gateway_within_a_second() {
    let database = testkit::postgres().await;
    let fleet = Fleet::start(3, &database.url, "# from the first one's file\n[routes.invoke]\npercent = 0\n");
    fleet.reach(1).await;
    let mut slowest = Duration::ZERO;
    for round in 0..30 {
        let from = &fleet.gateways[round % 3];
        let percent = if round % 2 == 0 { 100.0 } else { 0.0 };
        let started = Instant::now();
        match round % 4 {
            3 => drop(from.roll_back().await),
            2 => {
                let document = format!("[routes.invoke]\npercent = {percent}\n");
                assert_eq!(from.apply(&document, None).await.0, 200);
            }
            _ => assert_eq!(from.weight(percent).await.0, 200),
        }
        let side = if percent == 0.0 { "legacy" } else { "candidate" };
        for gateway in &fleet.gateways {
            eventually("it is in force", async || gateway.side_of("k").await == side).await;
        }
        slowest = slowest.max(started.elapsed());
    }
    eprintln!("in force in three gateways after {} ms at most", slowest.as_millis());
    assert!(slowest < EVERYWHERE_WITHIN, "{slowest:?}");
    let log = fleet.gateways[0].history().await;
    assert_eq!(short(&log[0]).0, "import");
    assert_eq!(log.len(), 31);
    for gateway in &fleet.gateways {
        assert_eq!(gateway.history().await, log);
        assert_eq!(gateway.verification(None).await["verified"], json!(true));
        assert_eq!(gateway.rollout(), gateway.document().await["document"].as_str().unwrap(), "the copy on disk");
        assert!(gateway.status().await["reload_error"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_at_once_both_are_made_or_the_one_that_expected_otherwise_is_refused() {
    let database = testkit::postgres().await;
    let fleet = Fleet::start(2, &database.url, "");
    let (first, second) = (&fleet.gateways[0], &fleet.gateways[1]);
    for _ in 0..20 {
        let (one, other) = tokio::join!(first.weight(10.0), second.roll_back());
        assert_eq!((one.0, &other["shared"]), (200, &json!(true)), "{one:?} {other}");
        let (again, other) = tokio::join!(first.weight(20.0), second.weight(30.0));
        assert_eq!((again.0, other.0), (200, 200), "{again:?} {other:?}");
        let revision = again.1["revision"].as_u64().max(other.1["revision"].as_u64());
        let document = |percent: u8| format!("[routes.invoke]\npercent = {percent}\n");
        let (documents, expected) = ((document(40), document(50)), revision);
        let (one, other) = tokio::join!(first.apply(&documents.0, expected), second.apply(&documents.1, expected));
        let mut statuses = [one.0, other.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{one:?} {other:?}");
    }
    let log = first.history().await;
    let epochs: Vec<u64> = log.iter().map(|entry| entry["epochs"]["invoke"].as_u64().unwrap()).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    assert_eq!(epochs.last(), Some(&21), "each rollback has an epoch of its own");
    assert_eq!(log.iter().filter(|entry| entry["kind"] == "rollback").count(), 20);
    assert_eq!(first.verification(None).await["verified"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_the_copy_is_refused_with_what_to_do_instead() {
    let database = testkit::postgres().await;
    let mut fleet = Fleet::start(1, &database.url, "[routes.invoke]\npercent = 100\n");
    fleet.reach(1).await;
    let gateway = &mut fleet.gateways[0];
    gateway.edit_rollout("[routes.invoke]\npercent = 0\n");
    let refused = async |gateway: &Gateway| {
        gateway.status().await["reload_error"].as_str().is_some_and(|text| text.contains("strangler apply"))
    };
    eventually("it is refused", async || refused(gateway).await).await;
    assert_eq!(gateway.side_of("k").await, "candidate");
    gateway.kill_and_restart();
    assert_eq!(gateway.side_of("k").await, "candidate", "a restart does not bring it into force either");
    eventually("and it is still refused", async || refused(gateway).await).await;
    fs::remove_file(gateway.rollout_path()).unwrap();
    eventually("a copy that was removed is made anew", async || gateway.rollout().contains("percent = 100")).await;
    eventually("the trouble is over", async || gateway.status().await["reload_error"].is_null()).await;
    assert_eq!(gateway.history().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_restarts_and_serves_with_the_store_gone_and_follows_when_it_is_back() {
    let mut postgres = PrivatePostgres::start().await;
    let mut fleet = Fleet::start(2, &postgres.url("postgres"), "[routes.invoke]\npercent = 100\nepoch = 4\n");
    fleet.reach(1).await;
    postgres.stop().await;
    let gateway = &mut fleet.gateways[1];
    gateway.kill_and_restart();
    assert_eq!(gateway.side_of("k").await, "candidate");
    let status = gateway.status().await;
    assert_eq!((&status["revision"], &status["rollout"]["store_up"]), (&json!(1), &json!(false)), "{status}");
    assert!(status["reload_error"].as_str().unwrap().contains("the rollout store is not followed"), "{status}");
    assert!(gateway.metrics().await.contains("gateway_rollout_store_up 0"));
    let (refused, answer) = gateway.weight(50.0).await;
    assert_eq!((refused, &answer["error"]), (503, &json!("rollout_store_away")), "{answer}");

    // A rollback without the store survives a restart, and arrives everywhere in the end.
    let answer = gateway.roll_back().await;
    assert_eq!((&answer["persisted"], &answer["shared"]), (&json!(true), &json!(false)), "{answer}");
    gateway.kill_and_restart();
    assert_eq!(gateway.side_of("k").await, "legacy");
    assert_eq!(gateway.status().await["rollout"]["pending_rollbacks"], json!(["invoke"]));
    assert_eq!(fleet.gateways[0].side_of("k").await, "candidate", "the other one has not heard of it");
    postgres.start_again().await;
    fleet.reach(2).await;
    for gateway in &fleet.gateways {
        assert_eq!(gateway.side_of("k").await, "legacy");
        eventually("the trouble is over", async || gateway.status().await["reload_error"].is_null()).await;
    }
    let log = fleet.gateways[0].history().await;
    let (kind, actor, changes) = short(&log[1]);
    assert_eq!((kind.as_str(), actor.as_str()), ("rollback", "grace"));
    assert_eq!(changes, ["routes.invoke.epoch: 4 -> 5", "routes.invoke.percent: 100 -> 0"]);
    assert_eq!(log.len(), 2, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_without_the_store_wins_over_what_others_set_meanwhile() {
    let postgres = PrivatePostgres::start().await;
    let url = postgres.url("postgres");
    let address = url.split('@').next_back().unwrap().split('/').next().unwrap().to_owned();
    let proxy = testkit::ChaosProxy::start(&address).await;
    let reached = Fleet::start(1, &url, "[routes.invoke]\npercent = 50\n");
    let cut_off = Fleet::start(1, &url.replacen(&address, &proxy.address().to_string(), 1), "");
    cut_off.reach(1).await;
    proxy.take_down().await;
    let answer = cut_off.gateways[0].roll_back().await;
    assert_eq!((&answer["routes"][0]["epoch"], &answer["shared"]), (&json!(2), &json!(false)), "{answer}");
    // The others have been to epoch 2 as well, and are on the candidate again.
    reached.gateways[0].roll_back().await;
    reached.gateways[0].weight(100.0).await;
    proxy.set(testkit::Network::Pass).await;
    reached.reach(4).await;
    for gateway in [&reached.gateways[0], &cut_off.gateways[0]] {
        eventually("both are on legacy", async || gateway.side_of("k").await == "legacy").await;
        assert_eq!(gateway.route_status().await["epoch"], json!(3));
    }
    assert_eq!(reached.gateways[0].history().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_refuses_what_no_gateway_should_do() {
    let database = testkit::postgres().await;
    let fleet = Fleet::start(1, &database.url, "[routes.invoke]\npercent = 1\nepoch = 3\n");
    fleet.gateways[0].weight(2.0).await;
    fleet.gateways[0].weight(3.0).await;
    let pool = database.pool().await;
    pool.execute("SET search_path = strangler").await.unwrap();
    for statement in [
        "UPDATE strangler.rollout_revisions SET actor = 'nobody'",
        "DELETE FROM strangler.rollout_revisions",
        "TRUNCATE strangler.rollout_revisions CASCADE",
        // A gap, a second successor, a lower epoch, a document that is not the hashed one.
        &copied("5", "epochs", "document", "repeat('a', 64)"),
        &copied("3", "epochs", "document", "repeat('a', 64)"),
        &copied("4", "'{\"invoke\": 2}'", "document", "repeat('a', 64)"),
        &copied("4", "epochs", "document || '#'", "repeat('a', 64)"),
        &copied("4", "epochs", "document", "'short'"),
    ] {
        assert!(pool.execute(sqlx::AssertSqlSafe(statement)).await.is_err(), "{statement}");
    }
    assert_eq!(fleet.gateways[0].verification(None).await["revisions"], json!(3));
    let good = copied("4", "epochs", "document", "repeat('a', 64)");
    assert!(pool.execute(sqlx::AssertSqlSafe(good)).await.is_ok(), "the shape itself is not what was refused");
    let gateway = &fleet.gateways[0];
    eventually("what only looks like a revision is not followed", async || {
        gateway.status().await["reload_error"].as_str().is_some_and(|text| text.contains("is not what was hashed"))
    })
    .await;
    assert_eq!(gateway.status().await["revision"], json!(3));
    let (status, answer) = gateway.admin(Method::POST, "/api/v1/rollback", None).await;
    assert_eq!((status, &answer["persisted"], &answer["shared"]), (200, &json!(true), &json!(false)), "{answer}");
}

/// An insertion of the third revision under other values.
fn copied(revision: &str, epochs: &str, document: &str, hash: &str) -> String {
    format!(
        "INSERT INTO strangler.rollout_revisions (revision, at, actor, authenticated_as, reason, kind, changes, epochs, \
         document, document_sha256, previous_hash, hash) SELECT {revision}, at, actor, authenticated_as, reason, kind, \
         changes, {epochs}, {document}, document_sha256, hash, {hash} FROM strangler.rollout_revisions WHERE revision = 3"
    )
}
