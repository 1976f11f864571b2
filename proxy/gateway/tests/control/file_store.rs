//! One machine: the document's file and the log beside it.

use std::fs;

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};

use super::short;
use crate::harness::{Setup, eventually};

const PERCENT: &str = "routes.invoke.percent";

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_change_something_is_in_the_log_with_who_why_before_and_after() {
    let setup = Setup::with("fallback = true", "", "# mine\n[routes.invoke]\npercent = 5\n");
    let gateway = &setup.gateway;
    gateway.weight(10.0).await;
    gateway.edit_rollout(&gateway.rollout().replace("percent = 10", "percent = 20"));
    eventually("the edit is in force", async || gateway.route_status().await["percent"] == json!(20.0)).await;
    gateway.roll_back().await;
    let (status, answer) = gateway.undo(json!({ "confirm": true, "actor": "ada" })).await;
    assert_eq!((status, &answer["revision"]), (200, &json!(5)), "{answer}");
    let (status, answer) = gateway.apply("[routes.invoke]\npercent = 30\n", Some(5)).await;
    assert_eq!((status, &answer["revision"]), (200, &json!(6)), "{answer}");
    gateway.signal(Signal::SIGUSR1);
    eventually("the signal is in the log", async || gateway.history().await.len() == 7).await;

    let log = gateway.history().await;
    let expected = [
        ("import", "file", vec!["0 -> 5"]),
        ("weight", "ada", vec!["5 -> 10"]),
        ("edit", "file", vec!["10 -> 20"]),
        ("rollback", "grace", vec!["routes.invoke.epoch: 1 -> 2", "20 -> 0"]),
        ("undo", "ada", vec!["0 -> 20"]),
        ("apply", "ada", vec!["20 -> 30"]),
        ("rollback", "SIGUSR1", vec!["routes.invoke.epoch: 2 -> 3", "30 -> 0"]),
    ];
    for (entry, (kind, actor, changes)) in log.iter().zip(expected) {
        let whole = |change: &str| match change.contains(':') {
            true => change.to_owned(),
            false => format!("{PERCENT}: {change}"),
        };
        let changes: Vec<String> = changes.into_iter().map(whole).collect();
        assert_eq!(short(entry), (kind.to_owned(), actor.to_owned(), changes), "{entry}");
    }
    let tokens: Vec<&Value> = log.iter().map(|entry| &entry["authenticated_as"]).collect();
    assert_eq!(json!(tokens), json!(["file", "operate", "file", "operate", "operate", "operate", "signal"]));
    assert_eq!((&log[3]["reason"], &log[6]["reason"]), (&json!("errors"), &json!("signal")));

    let head = gateway.document().await;
    let verified = gateway.verification(Some(head["hash"].as_str().unwrap())).await;
    assert_eq!((&verified["verified"], &verified["revisions"]), (&json!(true), &json!(7)), "{verified}");
    assert_eq!(gateway.status().await["revision"], json!(7));
    let (_, invoke) = gateway.admin(Method::GET, "/api/v1/history?route=invoke&limit=2", None).await;
    assert_eq!(invoke["entries"].as_array().unwrap().len(), 2);
    let (_, none) = gateway.admin(Method::GET, "/api/v1/history?route=invok", None).await;
    assert_eq!(none["entries"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_meant_for_another_revision_is_refused_with_what_changed() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    gateway.weight(1.0).await;
    gateway.weight(2.0).await;
    let (status, answer) = gateway.apply("[routes.invoke]\npercent = 3\n", Some(1)).await;
    assert_eq!(
        (status, &answer["error"], &answer["revision"]),
        (409, &json!("revision_conflict"), &json!(2)),
        "{answer}"
    );
    assert_eq!(short(&answer["changed_since"][0]).2, [format!("{PERCENT}: 1 -> 2")]);
    for (tag, expected) in [("\"1\"", 409), ("nonsense", 400), ("\"2\"", 200), ("*", 200)] {
        let request = gateway.client.put(format!("http://{}/api/v1/routes/invoke/weight", gateway.admin));
        let request = request.bearer_auth(crate::harness::TOKEN).header("if-match", tag);
        let answer = request.json(&json!({ "percent": 4 })).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{tag}");
    }
    let body = json!({ "expected_revision": 1 });
    let (status, answer) = gateway.admin(Method::POST, "/api/v1/rollback", Some(body)).await;
    assert_eq!((status, &answer["error"]), (409, &json!("revision_conflict")), "{answer}");
    assert_eq!(gateway.route_status().await["percent"], json!(4.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changes_nothing_and_a_bad_document_names_every_problem() {
    let setup = Setup::with("fallback = true", "", "[routes.invoke]\npercent = 5\n");
    let gateway = &setup.gateway;
    let before = gateway.rollout();
    let plan = async |document: &str| {
        gateway.admin(Method::POST, "/api/v1/rollout/plan", Some(json!({ "document": document }))).await
    };
    let (status, planned) = plan("[routes.invoke]\npercent = 7\n").await;
    assert_eq!(status, 200, "{planned}");
    assert_eq!(planned["changes"], json!([{ "key": PERCENT, "before": "5", "after": "7" }]));
    assert_eq!(planned["routes"][0], json!({ "route": "invoke", "from_percent": 5.0, "to_percent": 7.0, "epoch": 1 }));
    let (_, same) = plan("# said otherwise\nroutes.invoke.percent = 5.0\n").await;
    assert_eq!((&same["changes"], &same["text_differs"]), (&json!([]), &json!(true)));

    let bad = "[routes.invoke]\npercent = 101\n[routes.lost]\npercent = 1\n";
    for (status, answer) in [plan(bad).await, gateway.apply(bad, None).await] {
        assert_eq!((status, &answer["error"]), (422, &json!("rollout_document_invalid")), "{answer}");
        let problems = answer["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 2, "{answer}");
        let first = &problems[0];
        assert_eq!((&first["line"], &first["column"], &first["key"]), (&json!(2), &json!(11), &json!(PERCENT)));
        assert!(first["message"].as_str().unwrap().contains("0 to 100") && first["fix"].is_string(), "{first}");
    }
    assert_eq!((gateway.rollout(), gateway.history().await.len()), (before, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_of_a_rollback_must_be_confirmed_and_keeps_its_epoch() {
    let setup = Setup::with("fallback = true", "", "[routes.invoke]\npercent = 40\nepoch = 3\n");
    let gateway = &setup.gateway;
    let nothing = gateway.undo(json!({ "revision": 9 })).await;
    assert_eq!((nothing.0, &nothing.1["error"]), (404, &json!("revision_not_found")));
    gateway.roll_back().await;
    let (status, answer) = gateway.undo(json!({})).await;
    assert_eq!(
        (status, &answer["error"], &answer["routes"]),
        (409, &json!("undoes_rollback"), &json!(["invoke"])),
        "{answer}"
    );
    assert_eq!(gateway.side_of("k").await, "legacy");
    let (status, answer) = gateway.undo(json!({ "confirm": true })).await;
    assert_eq!(status, 200, "{answer}");
    let route = gateway.route_status().await;
    assert_eq!((&route["percent"], &route["epoch"]), (&json!(40.0), &json!(4)), "{route}");
    // Going further back over the rollback must be confirmed as well; going back to less need not.
    let (status, answer) = gateway.undo(json!({ "revision": 1 })).await;
    assert_eq!(status, 200, "everything was on legacy before the first: {answer}");
    let (status, _) = gateway.undo(json!({ "revision": 2 })).await;
    assert_eq!(status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_starts_from_the_last_good_document_when_the_file_is_broken_or_gone() {
    let mut setup = Setup::with("fallback = true", "", "[routes.invoke]\npercent = 100\nepoch = 2\n");
    let gateway = &mut setup.gateway;
    for (text, shown) in
        [("[routes.invoke\n", "rollout.toml:1"), ("[routes.invoke]\npercent = 50\nepoch = 1\n", "predates a rollback")]
    {
        gateway.edit_rollout(text);
        gateway.kill_and_restart();
        assert_eq!(gateway.side_of("k").await, "candidate");
        let problem = gateway.status().await["reload_error"].as_str().unwrap_or_default().to_owned();
        assert!(problem.contains(shown), "{problem}");
    }
    fs::remove_file(gateway.rollout_path()).unwrap();
    gateway.kill_and_restart();
    assert_eq!(gateway.side_of("k").await, "candidate");
    assert!(gateway.status().await["reload_error"].as_str().unwrap().contains("the file is gone"));
    gateway.edit_rollout("[routes.invoke]\npercent = 0\n");
    eventually("a good one ends it", async || gateway.side_of("k").await == "legacy").await;
    assert_eq!(gateway.route_status().await["epoch"], json!(2), "an epoch does not go down, nor is it forgotten");
    assert_eq!(gateway.verification(None).await["verified"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_comes_into_force_although_the_log_cannot_be_written_and_is_recorded_later() {
    let setup = Setup::with("fallback = true", "", "[routes.invoke]\npercent = 0\n");
    let gateway = &setup.gateway;
    let log = gateway.rollout_path().with_extension("log.jsonl");
    // A folder in place of the log: no process can write that, not even root's.
    fs::rename(&log, log.with_extension("away")).unwrap();
    fs::create_dir(&log).unwrap();
    gateway.edit_rollout("[routes.invoke]\npercent = 100\n");
    eventually("it is in force", async || gateway.side_of("k").await == "candidate").await;
    let (status, answer) = gateway.weight(5.0).await;
    assert_eq!(
        (status, &answer["error"]),
        (500, &json!("rollout_file_failed")),
        "a change that leaves no trace: {answer}"
    );
    let answer = gateway.roll_back().await;
    assert_eq!((&answer["persisted"], &answer["shared"]), (&json!(true), &json!(false)), "{answer}");
    assert_eq!(gateway.side_of("k").await, "legacy");
    let problem = gateway.status().await["reload_error"].clone();
    assert!(problem.as_str().unwrap().contains("the change log does not have"), "{problem}");

    fs::remove_dir(&log).unwrap();
    fs::rename(log.with_extension("away"), &log).unwrap();
    eventually("the trouble is over", async || gateway.status().await["reload_error"].is_null()).await;
    let kinds: Vec<Value> = gateway.history().await.iter().map(|entry| entry["kind"].clone()).collect();
    assert_eq!(kinds.last(), Some(&json!("rollback")), "{kinds:?}");
    assert_eq!(gateway.verification(None).await["verified"], json!(true));
    assert_eq!(gateway.side_of("k").await, "legacy");
}
