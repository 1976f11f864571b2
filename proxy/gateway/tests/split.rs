use serde_json::json;

use crate::harness::{Gateway, Load, Setup, Stub, config, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_share_is_the_weight_and_no_key_moves_back() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    assert_eq!(gateway.side_of("k0").await, "legacy", "without a document everything is on legacy");
    let mut on_candidate = Vec::new();
    for percent in [10.0, 50.0, 100.0] {
        gateway.set_weight(percent).await;
        let mut now = Vec::new();
        for key in 0..2_000 {
            let key = format!("key-{key}");
            if gateway.side_of(&key).await == "candidate" {
                now.push(key);
            }
        }
        let share = now.len() as f64 / 20.0;
        assert!((share - percent).abs() <= 3.0, "{share} % of the keys at {percent} %");
        assert!(on_candidate.iter().all(|key| now.contains(key)), "a key moved back on the way to {percent} %");
        on_candidate = now;
    }
    assert_eq!(on_candidate.len(), 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn weight_changes_by_api_and_by_hand_lose_no_request() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    let load = Load::start(gateway, 8);
    for percent in [10.0, 50.0, 12.34, 100.0, 0.0] {
        let answer = gateway.set_weight(percent).await;
        assert_eq!(answer["to_percent"], json!(percent));
        load.more(100).await;
        gateway.edit_rollout(&format!("# by hand\n[routes.invoke]\npercent = {}\n", 100.0 - percent));
        eventually("the edit is in force", async || gateway.route_status().await["percent"] == json!(100.0 - percent))
            .await;
        load.more(100).await;
    }
    let samples = load.stop().await;
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome != Ok(200)).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), samples.len(), failed.first());
    let arrived = setup.legacy.seen().len() + setup.candidate.seen().len();
    assert_eq!(arrived, samples.len(), "each request arrived exactly once");
    assert!(!setup.candidate.seen().is_empty() && !setup.legacy.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_change_keeps_what_a_person_wrote_meanwhile() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    gateway.edit_rollout("# ask blue first\n[routes.invoke]   # the hot one\npercent = 5   # since Monday\n");
    let answer = gateway.set_weight(7.5).await;
    assert_eq!(
        gateway.rollout(),
        "# ask blue first\n[routes.invoke]   # the hot one\npercent = 7.5   # since Monday\nepoch = 1\n"
    );
    assert_eq!((&answer["route"], &answer["epoch"]), (&json!("invoke"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_and_log_tell_every_request_once() {
    let setup = Setup::with("", "", "[routes.invoke]\npercent = 100\n");
    let gateway = &setup.gateway;
    for key in 0..5 {
        gateway.side_of(&format!("k{key}")).await;
    }
    gateway.client.get(gateway.url("/files/a%22b?secret=1")).send().await.unwrap();
    gateway.client.get(gateway.url("/nowhere/at/all")).send().await.unwrap();
    eventually("seven lines", async || gateway.access_log().len() == 7).await;
    let lines = gateway.access_log();
    let invoked = &lines[0];
    for (key, expected) in [("route", "invoke"), ("key", "k0"), ("side", "candidate"), ("reason", "stage")] {
        assert_eq!(invoked[key], json!(expected), "{invoked}");
    }
    assert_eq!((&invoked["status"], &invoked["bytes_received"]), (&json!(200), &json!(2)));
    assert!(invoked["upstream_us"].as_u64() <= invoked["latency_us"].as_u64());
    assert!(!lines.iter().any(|line| line.to_string().contains("secret")), "queries are not logged");
    assert_eq!(lines[6]["reason"], json!("route_not_found"));

    let route = gateway.route_status().await;
    let candidate = &route["sides"]["candidate"];
    assert_eq!((&candidate["requests"], &candidate["errors"]), (&json!(5), &json!(0)));
    let counts = candidate["latency"]["counts"].as_array().unwrap();
    assert_eq!(counts.last(), Some(&json!(5)));
    assert_eq!(counts.len(), candidate["latency"]["le_seconds"].as_array().unwrap().len());
    let metrics = gateway.metrics().await;
    let line = r#"gateway_requests_total{reason="stage",route="invoke",side="candidate",status="2xx"} 5"#;
    assert!(metrics.contains(line), "{metrics}");
    assert!(metrics.contains(r#"gateway_requests_refused_total{reason="route_not_found"} 1"#), "{metrics}");
    assert!(!metrics.contains("nowhere"), "no unknown path becomes a label");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_split_where_they_are_not_counted() {
    let (legacy, candidate) = (Stub::start("legacy"), Stub::start("candidate"));
    let uncounted = "[request_metrics]\nenabled = false\n";
    let gateway = Gateway::start(
        &format!("{}{uncounted}", config(legacy.address, candidate.address, "", "")),
        "[routes.invoke]\npercent = 100\n",
    );
    gateway.invoke("k").await;
    assert_eq!((legacy.seen().len(), candidate.seen().len()), (0, 1));
    assert_eq!(gateway.route_status().await["sides"], json!(null));
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("gateway_rollout_weight_percent"), "{metrics}");
    for name in ["gateway_requests_total", "gateway_request_duration_seconds", "gateway_requests_in_flight"] {
        assert!(!metrics.contains(name), "{metrics}");
    }
}
