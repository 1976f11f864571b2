//! A call that is made later is part of the trace that it was asked for in, whatever carries it.

use reqwest::Method;
use serde_json::json;
use testkit::{TraceReceiver, ancestry, eventually};

use crate::system::{ECHO, SOON, Setup, System};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn exporting(receiver: &TraceReceiver, setup: Setup) -> System {
    setup.with("TELEMETRY__OTLP_ENDPOINT", receiver.endpoint()).with("EVENTS__POLL_INTERVAL", "20ms").start().await
}

fn on_rabbitmq(url: &str) -> Setup {
    Setup::default().with("EVENTS__QUEUE", "rabbitmq").with("EVENTS__RABBITMQ__URL", url)
}

/// Waits until the span of the function's call is there, and is below these, up to the first of this process.
async fn is_called_below(receiver: &TraceReceiver, expected: &[&str]) {
    let expected: Vec<_> = ["function"].iter().chain(expected).map(|name| format!("lambda-service {name}")).collect();
    let arrived = || {
        let spans = receiver.spans_of(TRACE_ID);
        let call = spans.iter().find(|span| span.name == "function");
        call.map(|call| ancestry(&spans, call))
    };
    // Parents end, and so are exported, after what is below them.
    let waiting = eventually(SOON * 2, || async { arrived().as_ref() == Some(&expected) });
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "{:?} is not {expected:?}", arrived());
}

async fn call_later(system: &System) {
    let id = system.create("python3.11", ECHO).await;
    let request = system.request(Method::POST, &format!("/api/v1/functions/{id}/invoke"));
    let request = request.header("x-invocation-type", "Event").header("traceparent", CALLER).body("{}");
    assert_eq!(system.finish(request).await.status, 202);
}

#[tokio::test]
async fn a_row_brings_its_trace_to_the_call() {
    let receiver = TraceReceiver::start().await;
    let system = exporting(&receiver, Setup::default()).await;
    call_later(&system).await;
    is_called_below(&receiver, &["event", "request"]).await;
}

#[tokio::test]
async fn a_message_brings_its_trace_to_the_call() {
    let (vhost, receiver) = (testkit::rabbitmq().await, TraceReceiver::start().await);
    let system = exporting(&receiver, on_rabbitmq(&vhost.url)).await;
    call_later(&system).await;
    is_called_below(&receiver, &["event", "message", "publish", "request"]).await;
    let log = system.service.log();
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    assert!(lines.any(|line| line["trace_id"] == TRACE_ID), "{log}");
}

/// Another publisher on the same exchange, such as the monolith.
#[tokio::test]
async fn another_publishers_header_is_continued() {
    use lapin::{
        BasicProperties, Connection, ConnectionProperties,
        options::BasicPublishOptions,
        types::{AMQPValue, FieldTable},
    };
    let (vhost, receiver) = (testkit::rabbitmq().await, TraceReceiver::start().await);
    let system = exporting(&receiver, on_rabbitmq(&vhost.url)).await;
    let id = system.create("python3.11", ECHO).await;
    let event = json!({"id": uuid::Uuid::now_v7(), "type": "queue", "function_id": id, "payload": 1, "timestamp": "2026-01-01T00:00:00Z"});
    let connection = Connection::connect(&vhost.url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(CALLER.into()));
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default().with_headers(headers));
    let body = event.to_string();
    let exchange = "lambda-events".into();
    channel.basic_publish(exchange, "queue".into(), options, body.as_bytes(), properties).await.unwrap();
    is_called_below(&receiver, &["event", "message"]).await;
}
