//! Whose the rows are decides where requests go, whatever else is asked.

use reqwest::Method;
use serde_json::{Value, json};

use super::Place;
use crate::harness::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_serves_all_routes_of_the_slice_by_its_own_connection_until_the_rows_go_back() {
    let Place { sides, mut gateway } = Place::start("");
    assert_eq!((gateway.write("k").await, gateway.of_new_route("k").await), ("legacy".into(), "shared".into()));
    assert_eq!(gateway.set_stage("synced", None).await.0, 200, "no owner changes, so no fence is needed");
    gateway.set_weight(30.0).await;
    gateway.move_rows("cut-over").await;
    for key in 0..20 {
        let key = key.to_string();
        assert_eq!(gateway.write(&key).await, "own");
        assert_eq!(gateway.read(&key).await, "own");
        assert_eq!(gateway.of_new_route(&key).await, "own");
    }
    let slice = gateway.slice().await;
    assert_eq!((&slice["owner"], &slice["stage"]), (&json!("candidate"), &json!("cut-over")), "{slice}");
    assert_eq!(slice["routes"], json!(["invoke", "read", "new"]));
    let document = gateway.rollout();
    assert!(document.contains("owner = \"candidate\"\nstage = \"cut-over\""), "{document}");
    assert_eq!(gateway.route_status().await["percent"], 100.0);
    let shared = sides.shared.seen().len();

    gateway.kill_and_restart();
    assert_eq!(gateway.write("k").await, "own", "after a restart too");
    gateway.move_rows("synced").await;
    for key in 0..20 {
        assert_eq!(gateway.write(&key.to_string()).await, "legacy", "everything is back, also the 30 %");
    }
    assert_eq!(gateway.of_new_route("k").await, "shared", "legacy's rows, by the candidate that works on them");
    assert_eq!(sides.shared.seen().len(), shared + 1);
    assert_eq!(gateway.route_status().await["epoch"], 2);
    gateway.set_weight(100.0).await;
    assert_eq!(gateway.write("k").await, "shared");
    gateway.move_rows("cut-over").await;
    assert_eq!(gateway.set_stage("complete", None).await.0, 200);
    assert_eq!(gateway.write("k").await, "own");
}

/// The switch that needs nothing from anybody must not make two writers.
#[tokio::test(flavor = "multi_thread")]
async fn traffic_alone_does_not_go_back_where_the_rows_are_not() {
    let Place { sides, gateway } = Place::start("");
    gateway.move_rows("cut-over").await;
    let refused = async |method, path: &str, body: Value| {
        let (status, answer) = gateway.admin(method, path, Some(body)).await;
        assert_eq!((status, &answer["error"]), (409, &json!("slice_cut_over")), "{path}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains("strangler db rollback orders"), "{answer}");
    };
    refused(Method::POST, "/api/v1/routes/invoke/rollback", json!({})).await;
    refused(Method::PUT, "/api/v1/routes/invoke/weight", json!({ "percent": 50 })).await;
    refused(Method::PUT, "/api/v1/routes/invoke/pins/k", json!({ "side": "legacy" })).await;
    let (status, all) = gateway.admin(Method::POST, "/api/v1/rollback", None).await;
    assert_eq!((status, &all["routes"]), (200, &json!([])), "{all}");
    assert_eq!(all["staying"][0], json!({ "route": "invoke", "slice": "orders" }), "{all}");
    gateway.signal(nix::sys::signal::Signal::SIGUSR1);
    eventually("the signal was heard", async || gateway.log().contains("the rows of its slice are the candidate's"))
        .await;
    for key in 0..20 {
        assert_eq!(gateway.write(&key.to_string()).await, "own");
    }
    assert_eq!(sides.legacy.seen().len(), 0);
    // Nor does an unreachable candidate make legacy the writer.
    let mut sides = sides;
    sides.own.kill();
    assert_eq!(gateway.invoke("k").await.status(), 503);
    assert_eq!(sides.legacy.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_edit_no_apply_and_no_undo_changes_the_owner() {
    let Place { sides: _sides, gateway } = Place::start("");
    gateway
        .edit_rollout("[slices.orders]\nowner = \"candidate\"\nstage = \"cut-over\"\n[routes.invoke]\npercent = 100\n");
    // Without any revision it is how the gateway begins.
    eventually("imported", async || gateway.slice().await["stage"] == "cut-over").await;
    let problem = async |gateway: &crate::harness::Gateway| {
        gateway.status().await["reload_error"].as_str().unwrap_or_default().to_owned()
    };
    gateway.edit_rollout("[routes.invoke]\npercent = 100\n");
    eventually("refused", async || problem(&gateway).await.contains("no edit moves them")).await;
    assert_eq!(gateway.write("k").await, "own");
    let good =
        "[slices.orders]\nowner = \"candidate\"\nstage = \"cut-over\"\n[routes.invoke]\npercent = 100\n# mended\n";
    gateway.edit_rollout(good);
    eventually("mended", async || problem(&gateway).await.is_empty()).await;
    for document in [
        "[routes.invoke]\npercent = 0\n",
        "[slices.orders]\nowner = \"legacy\"\nstage = \"synced\"\n",
        "[slices.orders]\nowner = \"legacy\"\nstage = \"cut-over\"\n",
        "[slices.orders]\nowner = \"candidate\"\nstage = \"cut-over\"\n[routes.invoke]\npercent = 10\n",
        "[slices.others]\nowner = \"legacy\"\nstage = \"shared\"\n",
    ] {
        let body = json!({ "document": document });
        let (status, answer) = gateway.admin(Method::PUT, "/api/v1/rollout", Some(body)).await;
        assert_eq!((status, &answer["error"]), (422, &json!("rollout_document_invalid")), "{document}: {answer}");
    }
    gateway.move_rows("synced").await;
    let (status, answer) = gateway.admin(Method::POST, "/api/v1/undo", Some(json!({ "confirm": true }))).await;
    assert_eq!(status, 409, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("strangler db cutover"), "{answer}");
    assert_eq!(gateway.write("k").await, "legacy");
    let history = gateway.admin(Method::GET, "/api/v1/history", None).await.1;
    assert_eq!((&history["entries"][0]["kind"], &history["entries"][0]["actor"]), (&json!("slice"), &json!("ada")));
}
