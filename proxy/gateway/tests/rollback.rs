use std::{fs, time::Instant};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Load, Setup, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rollback_returns_no_new_request_goes_to_the_candidate() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    let load = Load::start(gateway, 16);
    for round in 1..=5_u64 {
        gateway.set_weight(100.0).await;
        load.more(150).await;
        let body = json!({ "reason": "a test", "actor": "tester" });
        let (status, answer) = gateway.admin(Method::POST, "/api/v1/routes/invoke/rollback", Some(body)).await;
        let returned = Instant::now();
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["persisted"], json!(true));
        assert_eq!(answer["routes"], json!([{ "route": "invoke", "from_percent": 100.0, "epoch": round + 1 }]));
        let document = gateway.rollout();
        assert!(document.contains("percent = 0") && document.contains(&format!("epoch = {}", round + 1)), "{document}");
        let arrived_before = setup.candidate.seen().len();
        load.more(150).await;
        // In flight when the call returned, at most: one for each client.
        let late = &setup.candidate.seen()[arrived_before..];
        assert!(late.len() <= 16, "{} requests reached the candidate after the rollback", late.len());
        let samples = load.snapshot();
        let new = samples.iter().filter(|sample| sample.started > returned);
        let strays: Vec<_> = new.filter(|sample| sample.served_by != "legacy").collect();
        assert!(strays.is_empty(), "{strays:?}");
        assert!(late.iter().all(|seen| {
            let id = seen.headers["x-test-id"].to_str().unwrap();
            samples.iter().any(|sample| sample.id == id && sample.started <= returned)
        }));
    }
    let samples = load.stop().await;
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome != Ok(200)).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), samples.len(), failed.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_needs_neither_candidate_nor_a_readable_file_and_survives_a_kill() {
    let mut setup = Setup::with("", "", "[routes.invoke]\npercent = 100\n");
    setup.candidate.kill();
    setup.gateway.edit_rollout("[routes.invoke\npercent = ");
    let (status, answer) = setup.gateway.admin(Method::POST, "/api/v1/rollback", None).await;
    assert_eq!((status, &answer["persisted"]), (200, &json!(true)), "{answer}");
    let aside = fs::read_to_string(answer["set_aside"].as_str().unwrap()).unwrap();
    assert_eq!(aside, "[routes.invoke\npercent = ", "the broken file is kept for whoever broke it");
    setup.gateway.kill_and_restart();
    let route = setup.gateway.route_status().await;
    assert_eq!((&route["percent"], &route["epoch"], &route["stage"]), (&json!(0.0), &json!(2), &json!("legacy")));
    assert_eq!(setup.gateway.side_of("k").await, "legacy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_cannot_be_written_is_in_force_and_written_as_soon_as_it_can() {
    let setup = Setup::with("", "", "[routes.invoke]\npercent = 100\n");
    let gateway = &setup.gateway;
    let folder = gateway.rollout_path().parent().unwrap().to_owned();
    fs::remove_dir_all(&folder).unwrap();
    let (status, answer) = gateway.admin(Method::POST, "/api/v1/rollback", None).await;
    assert_eq!((status, &answer["persisted"]), (200, &json!(false)), "{answer}");
    assert!(answer["persist_error"].as_str().unwrap().contains("cannot write"), "{answer}");
    assert_eq!(gateway.side_of("k").await, "legacy");
    // The poll adds that the file is gone; neither problem hides the other.
    eventually("the status shows both", async || {
        let status = gateway.status().await;
        let shown = status["reload_error"].as_str().unwrap_or_default();
        shown.contains("not kept") && shown.contains("the file is gone")
    })
    .await;

    fs::create_dir(&folder).unwrap();
    gateway.edit_rollout("[routes.invoke]\npercent = 100\n");
    eventually("the rollback is written", async || gateway.rollout().contains("percent = 0")).await;
    eventually("the status is clean", async || gateway.status().await["reload_error"].is_null()).await;
    assert_eq!(gateway.side_of("k").await, "legacy", "an old document does not undo it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_from_before_a_rollback_is_refused() {
    let setup = Setup::with("", "", "[routes.invoke]\npercent = 100\nepoch = 1\n");
    let gateway = &setup.gateway;
    gateway.admin(Method::POST, "/api/v1/rollback", None).await;
    gateway.edit_rollout("[routes.invoke]\npercent = 100\nepoch = 1\n");
    eventually("it is refused", async || {
        gateway.status().await["reload_error"].as_str().is_some_and(|text| text.contains("predates a rollback"))
    })
    .await;
    assert_eq!(gateway.side_of("k").await, "legacy");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr1_rolls_back_when_all_else_is_gone() {
    let setup = Setup::with("", "", "[routes.invoke]\npercent = 100\n");
    let gateway = &setup.gateway;
    assert_eq!(gateway.side_of("k").await, "candidate");
    gateway.signal(Signal::SIGUSR1);
    eventually("it is rolled back", async || gateway.side_of("k").await == "legacy").await;
    eventually("and kept", async || gateway.rollout().contains("epoch = 2")).await;
}
