//! What the migration tool says of a slice, and who sees it.

use reqwest::Method;
use serde_json::{Value, json};

use super::Place;
use crate::harness::TOKEN;

const STREAMS: &str = "/api/v1/slices/orders/reports/streams";

#[tokio::test(flavor = "multi_thread")]
async fn the_last_report_is_shown_with_its_age_and_bounded() {
    let Place { sides: _sides, gateway } = Place::start("");
    assert_eq!(gateway.slice().await["reports"], json!({}));
    assert_eq!(gateway.admin(Method::GET, STREAMS, None).await.0, 404, "nobody has said anything");
    for rows in [1, 2] {
        let (status, answer) = gateway.admin(Method::PUT, STREAMS, Some(json!([{ "rows": rows }]))).await;
        assert_eq!(status, 200, "{answer}");
    }
    let (_, shown) = gateway.admin(Method::GET, STREAMS, None).await;
    assert_eq!((&shown["report"], &shown["by"]), (&json!([{ "rows": 2 }]), &json!("operate")), "{shown}");
    assert!(shown["age_seconds"].as_f64().unwrap() >= 0.0 && shown["at"].is_string(), "{shown}");
    let slice = gateway.slice().await;
    assert_eq!(slice["reports"].as_object().unwrap().keys().collect::<Vec<_>>(), ["streams"], "{slice}");
    assert!(slice["reports"]["streams"]["age_seconds"].is_number(), "{slice}");

    // The same in the events, which say that there is one and not what is in it.
    let mut stream =
        gateway.client.get(format!("http://{}/api/v1/events", gateway.admin)).bearer_auth(TOKEN).send().await.unwrap();
    let mut text = String::new();
    while !text.contains("\n\n") {
        text += std::str::from_utf8(&stream.chunk().await.unwrap().expect("an event comes each second")).unwrap();
    }
    let event: Value = serde_json::from_str(text.trim().strip_prefix("data: ").expect("one event")).unwrap();
    let slice = &event["slices"][0];
    assert_eq!(
        (&slice["name"], &slice["owner"], &slice["stage"]),
        (&json!("orders"), &json!("legacy"), &json!("shared"))
    );
    assert!(slice["fence"].is_null() && slice["reports"]["streams"]["at"].is_string(), "{slice}");

    for (path, body, expected) in [
        ("/api/v1/slices/orders/reports/weather", json!({}), 404),
        ("/api/v1/slices/nothing/reports/streams", json!({}), 404),
        (STREAMS, json!("words"), 400),
        (STREAMS, json!({ "long": "x".repeat(300 * 1024) }), 413),
    ] {
        let request = gateway.client.put(format!("http://{}{path}", gateway.admin)).bearer_auth(TOKEN).json(&body);
        assert_eq!(request.send().await.unwrap().status(), expected, "{path}");
    }
    let unsigned = gateway.client.put(format!("http://{}{STREAMS}", gateway.admin)).json(&json!({}));
    assert_eq!(unsigned.send().await.unwrap().status(), 401);
    assert_eq!(gateway.admin(Method::GET, STREAMS, None).await.1["report"], json!([{ "rows": 2 }]), "it stands");
}
