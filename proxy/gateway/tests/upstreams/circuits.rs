use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::{addresses, metric, start};
use crate::harness::{Behaviour, Gateway, Instance, Load, Wire, eventually};

const CLIENTS: usize = 6;

/// Failures that a test may cause before an address is left out: in a row, and those already under way.
const IN_A_ROW: usize = 3;

fn ejection() -> String {
    format!("[upstreams.candidate.ejection]\nconsecutive_failures = {IN_A_ROW}\neject_for = \"300ms\"")
}

/// One of three addresses begins to fail in this way under load.
async fn one_of_three_fails(behaviour: Behaviour, expected_status: u16) {
    let legacy = Instance::start(Behaviour::Answer(200));
    let instances = [200, 200, 200].map(|status| Instance::start(Behaviour::Answer(status)));
    let settings = format!("{}\nread_timeout = \"250ms\"\n{}", addresses(&instances), ejection());
    let gateway = start(&legacy, &settings, "");
    let load = Load::paths(&gateway, CLIENTS, "/f/", "");
    load.more(100).await;
    instances[0].set(behaviour);
    eventually("it is left out", async || metric(&gateway, "gateway_upstream_ejections_total").await >= 1).await;
    instances[0].set(Behaviour::Answer(200));
    let before = instances[0].requests();
    eventually("it is back", async || {
        metric(&gateway, "gateway_upstream_ejected_addresses").await == 0 && instances[0].requests() > before + 20
    })
    .await;
    let samples = load.stop().await;
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome != Ok(200)).collect();
    assert!(failed.iter().all(|sample| sample.outcome == Ok(expected_status)), "{:?}", failed.first());
    // Trials that failed before it was well again count too: one for each time that it was left out.
    let ejections = metric(&gateway, "gateway_upstream_ejections_total").await;
    let most = IN_A_ROW + CLIENTS + usize::try_from(ejections).unwrap();
    assert!(failed.len() <= most, "{} failed of {}, {ejections} ejections", failed.len(), samples.len());
    assert_eq!(legacy.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_an_address_that_answers_503_is_left_out_and_comes_back() {
    one_of_three_fails(Behaviour::Answer(503), 503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_an_address_that_resets_is_left_out_and_comes_back() {
    one_of_three_fails(Behaviour::Reset, 502).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_an_address_that_hangs_is_left_out_and_comes_back() {
    one_of_three_fails(Behaviour::Hang, 504).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_an_address_that_is_killed_fails_nobody_new_and_comes_back() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let mut instances = [200, 200, 200].map(|status| Instance::start(Behaviour::Answer(status)));
    let gateway = start(&legacy, &format!("{}\n{}", addresses(&instances), ejection()), "fallback = false");
    let load = Load::paths(&gateway, CLIENTS, "/f/", "");
    load.more(100).await;
    instances[0].kill().await;
    let killed = std::time::Instant::now();
    eventually("it is left out", async || metric(&gateway, "gateway_upstream_ejections_total").await >= 1).await;
    load.more(200).await;
    instances[0].revive();
    let before = instances[0].requests();
    eventually("it is back", async || instances[0].requests() > before + 20).await;
    let samples = load.stop().await;
    let failed: Vec<_> = samples.iter().filter(|sample| sample.started > killed && sample.outcome != Ok(200)).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), samples.len(), failed.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn never_are_more_addresses_left_out_than_may_be() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let instances = [(); 5].map(|()| Instance::start(Behaviour::Answer(503)));
    let settings = format!("{}\n{}\nmax_ejected_percent = 50", addresses(&instances), ejection());
    let gateway = start(&legacy, &settings, "");
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        clients.spawn(gateway.client.get(gateway.url("/f/k")).send());
    }
    while let Some(answer) = clients.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 503);
        let ejected = metric(&gateway, "gateway_upstream_ejected_addresses").await;
        assert!(ejected <= 2, "{ejected} of 5");
    }
    assert!(instances.iter().map(Instance::requests).sum::<usize>() == 200, "every request is served by somebody");
}

const BREAKER: &str = "[upstreams.candidate.breaker]\nconsecutive_failures = 4\nfailure_percent = 0\n";

/// A candidate with one address and a breaker.
fn with_breaker(legacy: &Instance, candidate: &Instance, breaker: &str, route: &str) -> Gateway {
    start(legacy, &format!("{}\n{BREAKER}{breaker}", addresses([candidate])), route)
}

async fn breaker_state(gateway: &Gateway) -> String {
    gateway.status().await["upstreams"][0]["breaker"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_sends_requests_to_legacy_until_the_candidate_is_well() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let candidate = Instance::start(Behaviour::Answer(503));
    let gateway = with_breaker(&legacy, &candidate, "open_for = \"300ms\"", "");
    for _ in 0..4 {
        assert_eq!(gateway.invoke_get("k").await, 503, "an answer is an answer");
    }
    assert_eq!(gateway.invoke_get("k").await, 200);
    assert_eq!((candidate.requests(), legacy.requests()), (4, 1));
    candidate.set(Behaviour::Answer(200));
    eventually("it is closed", async || {
        gateway.invoke_get("k").await == 200 && breaker_state(&gateway).await == "closed"
    })
    .await;
    let served = candidate.requests();
    assert_eq!((gateway.invoke_get("k").await, candidate.requests()), (200, served + 1));
    assert_eq!(metric(&gateway, "gateway_breaker_opened_total{upstream=\"candidate\"}").await, 1);
    let requests = gateway.metrics().await;
    assert!(requests.contains("reason=\"breaker\",route=\"invoke\",side=\"legacy\",status=\"2xx\""), "{requests}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fallback_an_open_breaker_is_a_503_that_says_when_to_come_back() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let candidate = Instance::start(Behaviour::Answer(502));
    for route in ["fallback = false", "fallback_on = [\"unreachable\", \"overloaded\"]"] {
        candidate.set(Behaviour::Answer(502));
        let gateway = with_breaker(&legacy, &candidate, "open_for = \"30s\"", route);
        for _ in 0..4 {
            assert_eq!(gateway.invoke_get("k").await, 502);
        }
        let answer = gateway.client.get(gateway.url("/f/k")).send().await.unwrap();
        assert_eq!(answer.status(), 503);
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((20..=30).contains(&wait), "{wait} s");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], "upstream_unavailable");
        assert_eq!(metric(&gateway, "gateway_breaker_state{upstream=\"candidate\"}").await, 2);
        eventually("the log says so", async || {
            gateway.access_log().last().is_some_and(|line| line["reason"] == "upstream_unavailable")
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probation_lets_exactly_as_many_through_as_it_says() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let candidate = Instance::start(Behaviour::Answer(503));
    let gateway = with_breaker(&legacy, &candidate, "open_for = \"1s\"\ntrials = 2", "");
    for _ in 0..4 {
        gateway.invoke_get("k").await;
    }
    // Whoever is let through now stays there, so nothing is decided.
    candidate.set(Behaviour::Hang);
    eventually("probation", async || breaker_state(&gateway).await == "probation").await;
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        clients.spawn(gateway.client.get(gateway.url("/f/k")).send());
    }
    for _ in 0..48 {
        assert_eq!(clients.join_next().await.unwrap().unwrap().unwrap().status(), 200);
    }
    assert_eq!((candidate.requests(), legacy.requests()), (4 + 2, 48));
    // Trials whose clients leave decide nothing: others may be tried.
    clients.shutdown().await;
    candidate.set(Behaviour::Answer(200));
    eventually("it is closed", async || {
        gateway.invoke_get("k").await == 200 && breaker_state(&gateway).await == "closed"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_failures_opens_it_too_also_those_of_grpc() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let candidate = Instance::speaking(Wire::H2c, Behaviour::GrpcUnavailable);
    let settings = format!(
        "{}\nprotocol = \"h2c\"\n[upstreams.candidate.breaker]\nconsecutive_failures = 0\nmin_requests = 10\nopen_for = \"30s\"",
        addresses([&candidate])
    );
    let gateway = start(&legacy, &settings, "");
    for _ in 0..20 {
        assert_eq!(gateway.client.post(gateway.url("/f/k")).send().await.unwrap().status(), 200);
    }
    assert_eq!((candidate.requests(), legacy.requests()), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_does_not_make_an_upstream_look_bad() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let candidate = Instance::start(Behaviour::Answer(200));
    let settings = format!(
        "{}\nread_timeout = \"200ms\"\n[upstreams.candidate.breaker]\nconsecutive_failures = 1\nopen_for = \"30s\"",
        addresses([&candidate])
    );
    let gateway = start(&legacy, &settings, "");
    let mut client = TcpStream::connect(gateway.http).await.unwrap();
    client.write_all(b"POST /f/k HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nslow").await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(Duration::from_secs(10), client.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 504");
    assert_eq!(breaker_state(&gateway).await, "closed");
    candidate.set(Behaviour::Hang);
    assert_eq!(gateway.invoke_get("k").await, 504);
    assert_eq!(breaker_state(&gateway).await, "open");
}
