use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Load, Setup, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn with_a_fallback_a_dead_candidate_fails_nobody_new_and_comes_back_by_itself() {
    let mut setup = Setup::with("fallback = true", "", "[routes.invoke]\npercent = 50\n");
    let load = Load::start(&setup.gateway, 8);
    load.more(200).await;
    setup.candidate.kill();
    eventually("the candidate is gone", async || {
        tokio::net::TcpStream::connect(setup.candidate.address).await.is_err()
    })
    .await;
    let killed = Instant::now();
    load.more(300).await;
    setup.candidate.restart();
    let before = setup.candidate.seen().len();
    load.more(300).await;
    let samples = load.stop().await;
    let new = samples.iter().filter(|sample| sample.started > killed);
    let failed: Vec<_> = new.filter(|sample| sample.outcome != Ok(200)).collect();
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed.first());
    assert!(setup.candidate.seen().len() > before, "traffic came back");
    let route = setup.gateway.route_status().await;
    assert!(route["fallbacks"].as_u64() > Some(0), "{route}");
    let lines = setup.gateway.access_log();
    assert!(lines.iter().any(|line| line["reason"] == "fallback" && line["side"] == "legacy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fallback_it_is_a_503_that_may_be_repeated() {
    let mut setup = Setup::with("fallback = false", "", "[routes.invoke]\npercent = 100\n");
    let gateway = &setup.gateway;
    setup.candidate.kill();
    eventually("the candidate is gone", async || gateway.invoke("k").await.status() == 503).await;
    let answer = gateway.invoke("k").await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    assert!(answer.headers().contains_key("x-request-id"));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"], json!("upstream_unreachable"));
    assert!(gateway.route_status().await["sides"]["candidate"]["errors"].as_u64() > Some(0));
    setup.candidate.restart();
    eventually("it is back", async || setup.gateway.invoke("k").await.status() == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_the_sides_and_gates_nothing() {
    let mut setup = Setup::start();
    let health = async |gateway: &crate::harness::Gateway| -> Value {
        let answer = gateway.client.get(gateway.url("/health")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    };
    let both = json!({ "gateway": "healthy", "services": { "legacy": "healthy", "candidate": "healthy" } });
    eventually("both are healthy", async || health(&setup.gateway).await == both).await;
    setup.candidate.kill();
    eventually("one is not", async || health(&setup.gateway).await["services"]["candidate"] == "unhealthy").await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(setup.gateway.client.get(setup.gateway.url(path)).send().await.unwrap().status(), 200);
    }
    assert_eq!(setup.gateway.side_of("k").await, "legacy");
}
