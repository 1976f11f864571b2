use reqwest::{Client, Method};
use serde_json::json;

use super::{outcomes, start, these};
use crate::harness::{Seen, Stub};

const SHADOW: &str = "[routes.shadow]\n";

#[tokio::test]
async fn the_side_that_does_not_serve_gets_a_copy() {
    for (percent, direction) in [(0, "legacy serves"), (100, "the candidate serves")] {
        let (legacy, candidate) = (Stub::start("same"), Stub::start("same"));
        let gateway = start(legacy.address, candidate.address, SHADOW, percent, 100);
        for key in 0..10 {
            let answer =
                gateway.client.get(gateway.url(&format!("/f/{key}?q=1"))).header("x-mine", "kept").send().await;
            assert_eq!(answer.unwrap().status(), 200);
        }
        assert_eq!(outcomes(&gateway, 10).await, these([("equal", 10)]), "{direction}");
        let (served, copied) =
            if percent == 0 { (legacy.seen(), candidate.seen()) } else { (candidate.seen(), legacy.seen()) };
        assert_eq!((served.len(), copied.len()), (10, 10), "{direction}");
        for served in &served {
            let said = |seen: &Seen, name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let copied =
                copied.iter().find(|copied| said(copied, "x-request-id") == said(served, "x-request-id")).unwrap();
            assert_eq!((&served.uri, said(served, "x-shadow")), (&copied.uri, None));
            assert_eq!(said(copied, "x-shadow").as_deref(), Some("1"));
            for name in ["host", "x-mine", "x-forwarded-for", "x-forwarded-proto", "accept"] {
                assert_eq!(said(served, name), said(copied, name), "{name}");
            }
            let spans = [served, copied].map(|seen| said(seen, "traceparent").unwrap());
            assert_eq!(spans[0][..36], spans[1][..36], "one trace");
            assert_ne!(spans[0], spans[1], "two spans");
        }
    }
}

#[tokio::test]
async fn answers_that_are_not_alike_are_found() {
    let (legacy, candidate) = (Stub::start("old"), Stub::start("new"));
    let gateway = start(legacy.address, candidate.address, SHADOW, 0, 100);
    let answer = gateway.client.get(gateway.url("/f/1")).send().await.unwrap();
    assert_eq!(answer.headers()["x-served-by"], "legacy");
    assert_eq!(outcomes(&gateway, 1).await, these([("different", 1)]));
}

#[tokio::test]
async fn every_request_of_the_route_has_one_outcome() {
    let (legacy, candidate) = (Stub::start("same"), Stub::start("same"));
    let gateway = start(legacy.address, candidate.address, SHADOW, 0, 0);
    let get = async |key: &str| gateway.client.get(gateway.url(&format!("/f/{key}"))).send().await.unwrap();
    get("1").await;
    assert_eq!(outcomes(&gateway, 1).await, these([("not_sampled", 1)]));

    let body = json!({ "percent": 100, "reason": "a test", "actor": "tester" });
    let (status, answer) = gateway.admin(Method::PUT, "/api/v1/routes/invoke/shadow", Some(body)).await;
    assert_eq!((status, &answer["changed"]), (200, &json!(true)), "{answer}");
    get("1").await;
    gateway.client.post(gateway.url("/f/1")).body("x").send().await.unwrap();
    assert_eq!(outcomes(&gateway, 3).await, these([("equal", 1), ("ignored:method", 1), ("not_sampled", 1)]));
    assert_eq!(candidate.seen().len(), 1, "the request that may change something went nowhere");
    assert!(gateway.rollout().contains("shadow = 100"), "{}", gateway.rollout());
}

#[tokio::test]
async fn a_client_cannot_say_that_it_is_a_copy() {
    let (legacy, candidate) = (Stub::start("same"), Stub::start("same"));
    let gateway = start(legacy.address, candidate.address, SHADOW, 0, 0);
    let forged = Client::new().get(gateway.url("/f/1")).header("x-shadow", "1").header("strangler-dry-run", "v1");
    forged.send().await.unwrap();
    let seen = &legacy.seen()[0];
    assert!(!seen.headers.contains_key("x-shadow") && !seen.headers.contains_key("strangler-dry-run"));
}
