//! A build is part of the trace that it was asked for in: through the broker to the worker, and on to whoever is told.

use serde_json::json;
use testkit::{Answer, StubUpstream, TraceReceiver, ancestry, eventually};

use crate::system::{Ground, SECRET, SOON};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn traced(ground: Ground, receiver: &TraceReceiver) -> Ground {
    ground
        .with("TELEMETRY__OTLP_ENDPOINT", receiver.endpoint())
        .with("WEBHOOKS__SECRET", SECRET)
        .file("webhooks.allow = [\"127.0.0.1\"]")
}

/// Asks for a build in a trace, and tells this stub; waits until it is built and told.
async fn build(ground: Ground, stub: &StubUpstream, has_worker: bool) {
    let system = ground.start(if has_worker { "master" } else { "both" }).await;
    let worker = if has_worker { Some(system.ground.process("worker").start().await) } else { None };
    let fields = crate::system::function(json!({"webhook_url": stub.url("/told")}));
    let request = system.request(reqwest::Method::POST, "/functions").json(&fields).header("traceparent", CALLER);
    let accepted = system.try_send(request).await.unwrap();
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert_eq!(system.ended(accepted.body["job_id"].as_str().unwrap()).await["status"], "completed");
    eventually(SOON, || async { stub.count() >= 3 }).await;
    // What is not exported yet is, at the end.
    assert!(system.service.terminate(SOON).await.success());
    if let Some(worker) = worker {
        assert!(worker.terminate(SOON).await.success());
    }
}

#[tokio::test]
async fn builds_and_messages_are_part_of_their_clients_trace() {
    let vhost = testkit::rabbitmq().await;
    let through_broker: &[&str] = &["build", "message", "publish", "request"];
    for (queue, expected) in [("rabbitmq", through_broker), ("database", &["build", "request"])] {
        let receiver = TraceReceiver::start().await;
        let stub = StubUpstream::start(|_| Answer::new(204, "")).await;
        let ground = Ground::new().await.with("QUEUE__KIND", queue).with("QUEUE__RABBITMQ__URL", &vhost.url);
        build(traced(ground, &receiver).await, &stub, queue == "rabbitmq").await;

        let spans = receiver.spans_of(TRACE_ID);
        let built = spans.iter().find(|span| span.name == "build").unwrap_or_else(|| panic!("no build in {spans:#?}"));
        let expected: Vec<_> = expected.iter().map(|name| format!("build-service {name}")).collect();
        assert_eq!(ancestry(&spans, built), expected, "{queue}");
        for told in stub.requests() {
            let place = told.headers["traceparent"].to_str().unwrap();
            let parts: Vec<&str> = place.split('-').collect();
            let sent = spans.iter().find(|span| span.span_id == parts[2]);
            let sent = sent.unwrap_or_else(|| panic!("{place} is no span of {spans:#?}"));
            assert_eq!(ancestry(&spans, sent), ["build-service delivery", "build-service request"], "{queue}");
        }
    }
}
