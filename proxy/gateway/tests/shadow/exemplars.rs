use reqwest::header::ACCEPT;

use super::{outcomes, start, these};
use crate::harness::Stub;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// From a figure to a request: its trace is in the log of both sides.
#[tokio::test]
async fn latencies_and_mismatches_name_a_request() {
    let (legacy, candidate) = (Stub::start("old"), Stub::start("new"));
    let gateway = start(legacy.address, candidate.address, "[routes.shadow]\n", 0, 100);
    let request = gateway.client.get(gateway.url("/f/1"));
    request.header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01")).send().await.unwrap();
    assert_eq!(outcomes(&gateway, 1).await, these([("different", 1)]));

    let metrics = gateway.client.get(format!("http://{}/metrics", gateway.admin));
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    let answer = metrics.header(ACCEPT, accept).send().await.unwrap();
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let with_exemplar: Vec<&str> = text.lines().filter(|line| line.contains(TRACE)).collect();
    for series in [
        "gateway_shadow_requests_total{outcome=\"different\",reason=\"\",route=\"invoke\"} 1 # {trace_id=",
        "gateway_shadow_duration_seconds_bucket{route=\"invoke\",side=\"legacy\",le=",
        "gateway_shadow_duration_seconds_bucket{route=\"invoke\",side=\"candidate\",le=",
    ] {
        let count = with_exemplar.iter().filter(|line| line.starts_with(series)).count();
        assert_eq!(count, 1, "{series}: {with_exemplar:#?}");
    }
    assert!(!gateway.metrics().await.contains(TRACE), "Prometheus' text has no exemplars");
}
