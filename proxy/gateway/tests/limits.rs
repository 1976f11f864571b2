use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::{Setup, eventually};

/// A limit of three requests for each key, which comes back in an hour.
const PER_FUNCTION: &str = "[limits.policies.per-function]\ncounts = \"key\"\nrate = \"3/h\"\nburst = 3\n";

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// What remains, and in how many seconds that changes; a slow machine may have let some go by.
fn assert_standing(answer: &Response, remaining: u32, seconds: u64) {
    let field = header(answer, "ratelimit");
    let left = field.strip_prefix(&format!("\"per-function\";r={remaining};t="));
    let left: u64 = left.and_then(|left| left.parse().ok()).unwrap_or_else(|| panic!("{field}"));
    assert!((seconds - 30..=seconds).contains(&left), "{field}");
}

async fn statuses(setup: &Setup, key: &str, requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..requests {
        statuses.push(setup.gateway.invoke(key).await.status().as_u16());
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_used_up_its_limit_is_told_when_to_come_back() {
    let setup = Setup::with("limits = [\"per-function\"]", PER_FUNCTION, "");
    for (remaining, seconds) in [(2, 1_200), (1, 2_400), (0, 1_200)] {
        let answer = setup.gateway.invoke("fn-1").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "ratelimit-policy"), "\"per-function\";q=3;w=3600");
        assert_standing(&answer, remaining, seconds);
        assert_eq!(header(&answer, "retry-after"), "");
    }
    let refused = setup.gateway.invoke("fn-1").await;
    assert_eq!(refused.status(), 429);
    assert_standing(&refused, 0, 1_200);
    let wait = header(&refused, "retry-after").to_owned();
    assert!(header(&refused, "ratelimit").ends_with(&format!(";t={wait}")));
    assert_eq!(header(&refused, "ratelimit-policy"), "\"per-function\";q=3;w=3600");
    let body: Value = refused.json().await.unwrap();
    let message = format!("limit `per-function` is used up; try again in {wait} s");
    assert_eq!(body, json!({ "error": "rate_limited", "message": message, "policy": "per-function" }));

    assert_eq!(statuses(&setup, "fn-2", 4).await, [200, 200, 200, 429], "another key has its own");
    assert_eq!(setup.legacy.seen().len(), 6, "what is refused reaches no upstream");
    eventually("eight lines", async || setup.gateway.access_log().len() == 8).await;
    assert_eq!(setup.gateway.access_log()[3]["reason"], json!("rate_limited"));
    let metrics = setup.gateway.metrics().await;
    for line in [
        r#"gateway_limit_decisions_total{outcome="admitted",policy="per-function"} 6"#,
        r#"gateway_limit_decisions_total{outcome="limited",policy="per-function"} 2"#,
        r#"gateway_limit_keys{policy="per-function"} 2"#,
        r#"gateway_requests_refused_total{reason="rate_limited"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    assert!(!metrics.contains("fn-1"), "no key becomes a label");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_does_not_double_a_limit_and_a_fallback_is_free() {
    let mut setup = Setup::with("limits = [\"per-function\"]", PER_FUNCTION, "");
    assert_eq!(setup.gateway.side_of("k").await, "legacy");
    setup.candidate.kill();
    setup.gateway.set_weight(100.0).await;
    assert_eq!(setup.gateway.side_of("k").await, "legacy", "two attempts, one of the limit");
    setup.candidate.restart();
    let mut probe = 0;
    eventually("the candidate serves", async || {
        probe += 1;
        setup.gateway.side_of(&format!("probe-{probe}")).await == "candidate"
    })
    .await;
    assert_eq!(setup.gateway.side_of("k").await, "candidate");
    assert_eq!(setup.gateway.invoke("k").await.status(), 429, "both sides together have had three");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_list_one_policy_share_its_budgets() {
    let route = "limits = [\"per-function\"]\n[[routes]]\nname = \"new-invoke\"\nmethods = [\"POST\"]\n\
                 path = \"/functions/{id}/invoke\"\nkey = \"path:id\"\ncandidate = \"candidate\"\n\
                 limits = [\"per-function\"]";
    let setup = Setup::with(route, PER_FUNCTION, "");
    let gateway = &setup.gateway;
    assert_eq!(statuses(&setup, "k", 2).await, [200, 200]);
    for expected in [200, 429] {
        let answer = gateway.client.post(gateway.url("/functions/k/invoke")).send().await.unwrap();
        assert_eq!(answer.status(), expected);
    }
    assert_eq!(statuses(&setup, "k", 1).await, [429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_passes_all_of_its_policies_or_uses_up_none() {
    let policies = format!(
        "{PER_FUNCTION}[limits.policies.per-client]\ncounts = \"client\"\nrate = \"1/h\"\nburst = 5\n\
         [limits.policies.all]\ncounts = \"route\"\nrate = \"1/s\"\nburst = 1000\n"
    );
    let setup = Setup::with("limits = [\"per-function\", \"per-client\", \"all\"]", &policies, "");
    assert_eq!(statuses(&setup, "a", 10).await[..4], [200, 200, 200, 429]);
    let answer = setup.gateway.invoke("b").await;
    assert_eq!(answer.status(), 200, "the refused requests used up nothing of the client's five");
    let fields = header(&answer, "ratelimit");
    assert!(fields.contains("\"per-client\";r=1;") && fields.contains("\"per-function\";r=2;"), "{fields}");
    assert_eq!(header(&answer, "ratelimit-policy").split(", ").count(), 3);
    assert_eq!(statuses(&setup, "c", 2).await, [200, 429], "the client's limit is over all keys");
    let body: Value = setup.gateway.invoke("d").await.json().await.unwrap();
    assert_eq!(body["policy"], json!("per-client"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_any_bytes_and_length_are_keys() {
    let policy = PER_FUNCTION.replace("3/h", "1/h").replace("burst = 3", "burst = 1");
    let setup = Setup::with("limits = [\"per-function\"]", &policy, "");
    let long = "k".repeat(7_000);
    for key in ["%7Da%7D", "%22quote", "caf%C3%A9", "a%20b", "%25", &long, &format!("{long}x")] {
        assert_eq!(statuses(&setup, key, 2).await, [200, 429], "{key:.20}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_changes_limits_and_pins_while_they_are_in_force() {
    let setup = Setup::with("limits = [\"per-function\"]", PER_FUNCTION, "");
    let gateway = &setup.gateway;
    assert_eq!(statuses(&setup, "k", 4).await, [200, 200, 200, 429]);
    let document = "[routes.invoke]\npercent = 0\n[routes.invoke.pins]\n\"pinned\" = \"candidate\"\n\
                    [limits.per-function]\nrate = \"5/h\"\nburst = 5\n\
                    [limits.per-function.overrides]\n\"big\" = { rate = \"9/s\", burst = 9 }\n";
    gateway.edit_rollout(document);
    let mut probe = 0;
    eventually("the document is in force", async || {
        probe += 1;
        let answer = gateway.invoke(&format!("probe-{probe}")).await;
        header(&answer, "ratelimit-policy") == "\"per-function\";q=5;w=3600"
    })
    .await;
    assert_eq!(gateway.side_of("pinned").await, "candidate");
    assert_eq!(gateway.side_of("free").await, "legacy");
    assert_eq!(statuses(&setup, "k", 3).await, [200, 200, 429], "what was used stays used");
    let answer = gateway.invoke("big").await;
    assert_eq!(header(&answer, "ratelimit-policy"), "\"per-function\";q=9;w=1");
    assert_eq!(header(&answer, "ratelimit"), "\"per-function\";r=8;t=1");
    eventually("the log tells why", async || {
        gateway.access_log().iter().any(|line| line["key"] == json!("pinned") && line["reason"] == json!("pin"))
    })
    .await;

    gateway.edit_rollout(&format!("{document}burst = 7\n").replace("[routes.invoke]", "[routes.invoke]\nepoch = 9"));
    eventually("a broken document is refused", async || !gateway.status().await["reload_error"].is_null()).await;
    assert_eq!(gateway.side_of("pinned").await, "candidate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_takes_pins_to_the_candidate_away_and_keeps_the_others() {
    let document = "[routes.invoke]\npercent = 50\n\n[routes.invoke.pins]\n\"a\" = \"candidate\" # on trial\n\
                    \"b\" = \"legacy\" # too large\n";
    let setup = Setup::with("", "", document);
    let gateway = &setup.gateway;
    assert_eq!([gateway.side_of("a").await, gateway.side_of("b").await], ["candidate", "legacy"]);
    let (status, answer) = gateway.admin(Method::POST, "/api/v1/routes/invoke/rollback", None).await;
    assert_eq!((status, &answer["persisted"]), (200, &json!(true)), "{answer}");
    assert_eq!(gateway.side_of("a").await, "legacy");
    let kept = "[routes.invoke]\npercent = 0\nepoch = 2\n\n[routes.invoke.pins]\n\"b\" = \"legacy\" # too large\n";
    assert_eq!(gateway.rollout(), kept);
    gateway.set_weight(100.0).await;
    assert_eq!([gateway.side_of("a").await, gateway.side_of("b").await], ["candidate", "legacy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_pins_keys_and_sets_limits_and_keeps_what_a_person_wrote() {
    let document =
        "# ask blue first\n[routes.invoke]\npercent = 0 # not yet\n\n[limits.per-function] # tight\nrate = \"3/h\"\n";
    let setup = Setup::with("limits = [\"per-function\"]", PER_FUNCTION, document);
    let gateway = &setup.gateway;
    let words = |mut body: Value| {
        body["actor"] = json!("tester");
        body["reason"] = json!("a test");
        Some(body)
    };
    let pins = "/api/v1/routes/invoke/pins";
    let pin = format!("{pins}/fn%2F1");
    let (status, answer) = gateway.admin(Method::PUT, &pin, words(json!({ "side": "candidate" }))).await;
    assert_eq!((status, &answer["from"], &answer["to"]), (200, &json!(null), &json!("candidate")), "{answer}");
    assert_eq!((&answer["route"], &answer["key"]), (&json!("invoke"), &json!("fn/1")));
    assert_eq!(gateway.admin(Method::GET, pins, None).await.1["pins"], json!([{ "key": "fn/1", "side": "candidate" }]));

    let limit = "/api/v1/limits/per-function";
    let body = words(json!({ "rate": "600/min", "burst": 100 }));
    let (status, answer) = gateway.admin(Method::PUT, limit, body).await;
    let (before, after) = (json!({ "rate": "3/h", "burst": 1 }), json!({ "rate": "600/min", "burst": 100 }));
    assert_eq!((status, &answer["from"], &answer["to"]), (200, &before, &after), "{answer}");
    let body = words(json!({ "rate": "1/h" }));
    let (status, answer) = gateway.admin(Method::PUT, &format!("{limit}/overrides/tight"), body).await;
    assert_eq!((status, &answer["to"]), (200, &json!({ "rate": "1/h", "burst": 1 })), "{answer}");
    assert_eq!(statuses(&setup, "tight", 2).await, [200, 429]);
    assert_eq!(statuses(&setup, "wide", 5).await, [200; 5]);
    let expected = json!({ "policies": [{
        "name": "per-function", "counts": "key", "configured": { "rate": "3/h", "burst": 3 },
        "rate": "600/min", "burst": 100, "overrides": [{ "key": "tight", "rate": "1/h", "burst": 1 }],
    }]});
    assert_eq!(gateway.admin(Method::GET, "/api/v1/limits", None).await.1, expected);

    let (status, answer) = gateway.admin(Method::DELETE, &pin, None).await;
    assert_eq!((status, &answer["from"], &answer["to"]), (200, &json!("candidate"), &json!(null)), "{answer}");
    gateway.admin(Method::DELETE, &format!("{limit}/overrides/tight"), None).await;
    let (status, answer) = gateway.admin(Method::DELETE, limit, None).await;
    assert_eq!((status, &answer["to"]), (200, &json!({ "rate": "3/h", "burst": 3 })), "{answer}");
    let left = gateway.rollout();
    assert!(left.contains("# ask blue first") && left.contains("# not yet") && left.contains("# tight"), "{left}");
    assert!(!left.contains("fn/1") && !left.contains("600/min") && !left.contains("1/h"), "{left}");

    for (method, path, body, status, code) in [
        (Method::PUT, "/api/v1/routes/nope/pins/a", json!({ "side": "legacy" }), 404, "route_not_found"),
        (Method::PUT, "/api/v1/routes/rest/pins/a", json!({ "side": "legacy" }), 409, "route_one_sided"),
        (Method::PUT, "/api/v1/routes/invoke/pins/a", json!({ "side": "both" }), 400, "invalid_request"),
        (Method::PUT, "/api/v1/routes/invoke/pins/a", json!({}), 400, "invalid_request"),
        (Method::PUT, "/api/v1/limits/nope", json!({ "rate": "1/s" }), 404, "policy_not_found"),
        (Method::PUT, limit, json!({ "rate": "1/m" }), 400, "invalid_request"),
        (Method::PUT, limit, json!({ "rate": "1/s", "burst": 0 }), 400, "invalid_burst"),
        (Method::PUT, limit, json!({ "burst": 1 }), 400, "invalid_request"),
    ] {
        let (got, answer) = gateway.admin(method, path, Some(body)).await;
        assert_eq!((got, &answer["error"]), (status, &json!(code)), "{path} {answer}");
    }
    let long = format!("{pins}/{}", "k".repeat(1_025));
    let (status, answer) = gateway.admin(Method::PUT, &long, words(json!({ "side": "legacy" }))).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_key")), "{answer}");
    assert_eq!(gateway.rollout(), left, "nothing of that changed anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_limit_keeps_its_connection() {
    let setup = Setup::with("limits = [\"per-function\"]", PER_FUNCTION, "");
    let stream = tokio::net::TcpStream::connect(setup.gateway.http).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    for expected in [200, 200, 200, 429, 429, 429] {
        let request = hyper::Request::post("/f/k/invoke")
            .header("host", "gateway")
            .body(http_body_util::Full::new(bytes::Bytes::from_static(b"{\"a\":1}")))
            .unwrap();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), expected);
        http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
    }
    drop(sender);
    connection.await.unwrap().unwrap();
}
