use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Setup, TOKEN};

#[tokio::test(flavor = "multi_thread")]
async fn only_the_token_opens_it() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    for (method, path) in [
        (Method::GET, "/api/v1/routes"),
        (Method::GET, "/api/v1/status"),
        (Method::PUT, "/api/v1/routes/invoke/weight"),
        (Method::GET, "/api/v1/routes/invoke/pins"),
        (Method::PUT, "/api/v1/routes/invoke/pins/k"),
        (Method::DELETE, "/api/v1/routes/invoke/pins/k"),
        (Method::GET, "/api/v1/limits"),
        (Method::PUT, "/api/v1/limits/per-function"),
        (Method::DELETE, "/api/v1/limits/per-function/overrides/k"),
        (Method::POST, "/api/v1/routes/invoke/rollback"),
        (Method::POST, "/api/v1/rollback"),
        (Method::GET, "/api/v1/rollout"),
        (Method::PUT, "/api/v1/rollout"),
        (Method::POST, "/api/v1/rollout/plan"),
        (Method::GET, "/api/v1/history"),
        (Method::GET, "/api/v1/history/verification"),
        (Method::POST, "/api/v1/undo"),
    ] {
        let almost = &TOKEN[..TOKEN.len() - 1];
        for header in
            [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Basic x"), Some(&format!("Bearer {almost}"))]
        {
            let mut request = gateway.client.request(method.clone(), format!("http://{}{path}", gateway.admin));
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let answer = request.body("{}").send().await.unwrap();
            assert_eq!(answer.status(), 401, "{method} {path} {header:?}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            assert_eq!(answer.json::<Value>().await.unwrap()["error"], json!("unauthorized"));
        }
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = gateway.client.get(format!("http://{}{path}", gateway.admin)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let public = gateway.client.get(gateway.url("/metrics")).send().await.unwrap();
    assert_eq!(public.status(), 404, "metrics are on the admin listener only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_cannot_reach_it() {
    let setup = Setup::start();
    let gateway = &setup.gateway;
    let own = format!("http://{}", gateway.admin);
    for (host, origin, expected) in [
        (None, None, 200),
        (None, Some(own.as_str()), 200),
        (Some("localhost"), None, 200),
        (Some("evil.example"), None, 421),
        (Some("127.0.0.1.nip.io"), None, 421),
        (None, Some("http://evil.example"), 403),
        (None, Some("null"), 403),
        (None, Some("https://127.0.0.1"), 403),
    ] {
        let mut request = gateway.client.get(format!("{own}/api/v1/routes")).bearer_auth(TOKEN);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        assert_eq!(request.send().await.unwrap().status(), expected, "{host:?} {origin:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_and_errors_have_the_shapes_the_command_line_reads() {
    let setup = Setup::with("", "", "[routes.invoke]\npercent = 12.5\nepoch = 3\n");
    let gateway = &setup.gateway;
    let (status, routes) = gateway.admin(Method::GET, "/api/v1/routes", None).await;
    let expected = json!({ "routes": [
        { "name": "invoke", "hosts": [], "methods": ["POST"], "conditions": "", "path": "/f/{id}/invoke", "key": "path:id", "legacy": "legacy",
          "candidate": "candidate", "fallback": true, "percent": 12.5, "stage": "canary", "epoch": 3, "slice": null },
        { "name": "rest", "hosts": [], "methods": [], "conditions": "", "path": "/files/{*rest}", "key": "request", "legacy": "legacy",
          "candidate": null, "fallback": false, "percent": 0.0, "stage": "legacy", "epoch": 1, "slice": null },
    ]});
    assert_eq!((status, routes), (200, expected));
    for (method, path, body, status, code) in [
        (Method::PUT, "/api/v1/routes/nope/weight", json!({ "percent": 1 }), 404, "route_not_found"),
        (Method::PUT, "/api/v1/routes/rest/weight", json!({ "percent": 1 }), 409, "route_one_sided"),
        (Method::PUT, "/api/v1/routes/invoke/weight", json!({ "percent": 101 }), 400, "invalid_percent"),
        (Method::PUT, "/api/v1/routes/invoke/weight", json!({ "percent": 0.001 }), 400, "invalid_percent"),
        (Method::PUT, "/api/v1/routes/invoke/weight", json!({ "percent": "1" }), 400, "invalid_request"),
        (Method::PUT, "/api/v1/routes/invoke/weight", json!({}), 400, "invalid_request"),
        (Method::POST, "/api/v1/routes/nope/rollback", json!({}), 404, "route_not_found"),
        (Method::POST, "/api/v1/routes/rest/rollback", json!({}), 409, "route_one_sided"),
        (Method::GET, "/api/v1/nothing", json!({}), 404, "not_found"),
        (Method::DELETE, "/api/v1/routes", json!({}), 405, "method_not_allowed"),
    ] {
        let (got, answer) = gateway.admin(method, path, Some(body)).await;
        assert_eq!((got, &answer["error"]), (status, &json!(code)), "{path} {answer}");
        assert!(answer["message"].is_string());
    }
    assert_eq!(gateway.rollout(), "[routes.invoke]\npercent = 12.5\nepoch = 3\n", "nothing of that changed anything");
}
