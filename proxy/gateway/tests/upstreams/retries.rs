use xxhash_rust::xxh3::xxh3_64;

use super::{addresses, metric, start};
use crate::harness::{Behaviour, Instance, Wire};

/// No address is left out, so that every second request meets the bad one.
const NO_EJECTION: &str = "read_timeout = \"100ms\"\n[upstreams.candidate.ejection]\nconsecutive_failures = 0\n\
                           [upstreams.candidate.retry_budget]\nratio = 1.0\nburst = 100";

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_repeated_is_and_nothing_else() {
    let legacy = Instance::start(Behaviour::Answer(200));
    for (kind, behaviour, status) in
        [("503", Behaviour::Answer(503), 503), ("reset", Behaviour::Reset, 502), ("timeout", Behaviour::Hang, 504)]
    {
        let (bad, good) = (Instance::start(behaviour), Instance::start(Behaviour::Answer(200)));
        let settings = format!("{}\n{NO_EJECTION}", addresses([&bad, &good]));
        let gateway = start(&legacy, &settings, &format!("retries = {{ on = [\"{kind}\"], backoff = \"1ms\" }}"));
        for count in 0..30 {
            let answer = gateway.client.put(gateway.url("/f/k")).body("once and whole").send().await.unwrap();
            assert_eq!(answer.status(), 200, "{kind} {count}");
            assert_eq!(answer.text().await.unwrap(), "answered 200", "nothing of the first answer is left");
        }
        assert_eq!(good.body_bytes(), 30 * "once and whole".len());
        let repeated = metric(&gateway, "gateway_retries_total{outcome=\"retried\",upstream=\"candidate\"}").await;
        assert_eq!(usize::try_from(repeated).unwrap(), bad.requests(), "each that met the bad one");
        assert!(bad.requests() > 3, "{kind}");
        // A POST may act twice.
        let before = bad.requests();
        while bad.requests() == before {
            let answer = gateway.client.post(gateway.url("/f/k")).body("x").send().await.unwrap();
            let expected = if bad.requests() == before { 200 } else { status };
            assert_eq!(answer.status(), expected, "{kind}");
        }
        assert_eq!(bad.requests(), before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_repeated_whole_or_not_at_all() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let (bad, good) = (Instance::start(Behaviour::Answer(503)), Instance::start(Behaviour::Answer(200)));
    let gateway =
        start(&legacy, &format!("{}\n{NO_EJECTION}", addresses([&bad, &good])), "retries = { backoff = \"1ms\" }");
    for (size, repeated) in [(0, true), (1, true), (60_000, true), (64 * 1024, true), (70_000, false), (1 << 20, false)]
    {
        let body: Vec<u8> = (0..size).map(|at: usize| u8::try_from(at % 251).unwrap()).collect();
        let mut met_bad = 0;
        while met_bad < 3 {
            let before = bad.requests();
            let answer = gateway.client.put(gateway.url("/f/k")).body(body.clone()).send().await.unwrap();
            let failed = bad.requests() > before && !repeated;
            met_bad += bad.requests() - before;
            assert_eq!(answer.status(), if failed { 503 } else { 200 }, "{size} bytes");
            if !failed {
                assert_eq!(good.last_body(), (size, xxh3_64(&body)));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_holds_the_key_is_repeated_whole_too() {
    let legacy = Instance::start(Behaviour::Answer(200));
    let (bad, good) = (Instance::start(Behaviour::Answer(503)), Instance::start(Behaviour::Answer(200)));
    let route = "retries = { backoff = \"1ms\" }\n[[routes]]\nname = \"body\"\npath = \"/body\"\nkey = \"body:/id\"\n\
                 candidate = \"candidate\"\nretries = { backoff = \"1ms\" }";
    let gateway = start(&legacy, &format!("{}\n{NO_EJECTION}", addresses([&bad, &good])), route);
    for size in [0, 1_000, 60_000] {
        let body = format!("{{\"id\": \"a\", \"more\": \"{}\"}}", "x".repeat(size));
        for _ in 0..10 {
            let request = gateway.client.put(gateway.url("/body")).header("content-type", "application/json");
            assert_eq!(request.body(body.clone()).send().await.unwrap().status(), 200);
            assert_eq!(good.last_body(), (body.len(), xxh3_64(body.as_bytes())));
        }
    }
    assert!(bad.requests() > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_repetitions_never_make_an_outage_much_worse() {
    const REQUESTS: usize = 400;
    let legacy = Instance::start(Behaviour::Answer(200));
    let candidate = Instance::start(Behaviour::Answer(503));
    let settings = format!(
        "{}\n[upstreams.candidate.retry_budget]\nratio = 0.2\nmin_per_second = 0\nburst = 5",
        addresses([&candidate])
    );
    let gateway = start(&legacy, &settings, "retries = { attempts = 3, backoff = \"1ms\" }");
    for _ in 0..REQUESTS {
        assert_eq!(gateway.invoke_get("k").await, 503);
    }
    let most = REQUESTS + REQUESTS / 5 + 5;
    let sent = candidate.requests();
    assert!((REQUESTS + REQUESTS / 5..=most).contains(&sent), "{sent} sent for {REQUESTS}");
    let counted = metric(&gateway, "gateway_retries_total{outcome=\"retried\",upstream=\"candidate\"}").await;
    assert_eq!(usize::try_from(counted).unwrap(), sent - REQUESTS);
    assert!(metric(&gateway, "gateway_retries_total{outcome=\"budget_exhausted\",upstream=\"candidate\"}").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooled_connection_that_has_ended_fails_no_post() {
    let legacy = Instance::start(Behaviour::Answer(200));
    for (wire, protocol) in [(Wire::Http1, "http1"), (Wire::H2c, "h2c")] {
        let mut candidate = Instance::speaking(wire, Behaviour::Answer(200));
        let settings = format!("{}\nprotocol = \"{protocol}\"", addresses([&candidate]));
        let gateway = start(&legacy, &settings, "fallback = false");
        for round in 0..50 {
            // An upstream that restarts ends every connection that the gateway kept.
            candidate.kill().await;
            candidate.revive();
            for count in 0..3 {
                let answer = gateway.client.post(gateway.url("/f/k")).body("x").send().await.unwrap();
                assert_eq!(answer.status(), 200, "{protocol}, round {round}, {count}");
            }
        }
        assert_eq!(candidate.requests(), 150, "each arrived once");
    }
}
