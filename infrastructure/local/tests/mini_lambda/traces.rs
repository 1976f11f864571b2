//! From one mismatch to what both sides did: its trace id leads to their spans and to their lines in the logs.

use std::fs;

use serde_json::{Value, json};
use testkit::{ReceivedSpan, TraceReceiver, eventually};
use toml_edit::value;

use super::{
    operator::Operator,
    site::{PATIENCE, Site, System, answer},
};

/// The sides differ in the memory that they give a function, and this one says how much it has.
const CODE: &str = "def handler(event, context):\n    return context.memory_limit_mb\n";

#[tokio::test]
async fn the_trace_of_a_mismatch_leads_to_the_spans_and_lines_of_both_sides() {
    let receiver = TraceReceiver::start().await;
    let site = Site::new();
    site.edit("gateway.toml", |document| document["shadow"]["dry_run_interval"] = value("200ms"));
    for part in ["gateway", "legacy", "lambda-service"] {
        let name = format!("{}__TELEMETRY__OTLP_ENDPOINT", part.replace('-', "_").to_uppercase());
        site.environment(part, &[(&name, &receiver.endpoint())]);
    }
    let system = site.start().await;
    let operator = Operator::of(&system);
    operator.json(&["shadow", "set", "invoke", "100", "--reason", "before the first weight"]).await;
    let mismatch = planted(&system, &operator).await;
    let word = |field: &str| mismatch[field].as_str().unwrap_or_else(|| panic!("no {field} in {mismatch}")).to_owned();
    let (trace_id, served, copied) = (word("trace_id"), word("served_span_id"), word("copied_span_id"));

    let spans = Spans::of(&receiver, &trace_id).await;
    // One request came to the gateway, and two went out below it: the one that was served, and its copy.
    let request = spans.find("gateway", |span| span.span_id == served);
    let copy = spans.find("gateway", |span| span.span_id == copied);
    let legacy = spans.find("legacy", |span| span.name == "request");
    let candidate = spans.find("lambda-service", |span| span.name == "request");
    assert_eq!((&legacy.parent_span_id, &copy.parent_span_id), (&request.span_id, &request.span_id), "{spans:#?}");
    assert_eq!((copy.name.as_str(), &candidate.parent_span_id), ("shadow", &copy.span_id), "{spans:#?}");
    // And each of them down to the function's call.
    for (service, request) in [("legacy", legacy), ("lambda-service", candidate)] {
        let call = spans.find(service, |span| span.name == "function");
        assert!(spans.is_below(call, request), "{service}: {spans:#?}");
    }

    for (part, said) in [
        ("gateway", "the two sides answered differently"),
        ("gateway", "\"route\":\"invoke\""),
        ("legacy", "answered"),
        ("lambda-service", "answered"),
    ] {
        eventually(PATIENCE, || async { lines(&system, part, &trace_id).iter().any(|line| line.contains(said)) }).await;
    }
    system.stack.stop().await;
}

/// Calls until the copies of calls are dry runs, and one was answered differently.
async fn planted(system: &System, operator: &Operator) -> Value {
    let fields = json!({"name": "planted", "runtime": "python3.11", "code": CODE, "memory": 200});
    let function = system.create("legacy", &fields).await;
    let url = system.url("gateway", &format!("/api/v1/functions/{function}/invoke"));
    let found = std::sync::Mutex::new(Value::Null);
    eventually(PATIENCE, || async {
        let (status, body) = answer(system.client.post(&url).json(&json!({}))).await;
        assert_eq!(status, 200, "{body}");
        let report = operator.json(&["shadow", "report"]).await;
        // The newest come first. The oldest is the one that the log speaks of: of those that follow at once it says how
        // many there were.
        let oldest = report["mismatches"].as_array().and_then(|mismatches| mismatches.last());
        let Some(id) = oldest.and_then(|mismatch| mismatch["id"].as_str()) else { return false };
        *found.lock().expect("nobody panics") = operator.json(&["shadow", "diff", id]).await["mismatch"].clone();
        true
    })
    .await;
    found.into_inner().expect("nobody panics")
}

/// The spans of one trace.
#[derive(Debug)]
struct Spans(Vec<ReceivedSpan>);

impl Spans {
    /// Once those of all three processes are there: each process exports on its own, what ends first first.
    async fn of(receiver: &TraceReceiver, trace_id: &str) -> Self {
        let is_whole = |spans: &[ReceivedSpan]| {
            let has = |service: &str, name: &str| spans.iter().any(|span| span.service == service && span.name == name);
            let services = ["legacy", "lambda-service"];
            let are_there = services.iter().all(|service| has(service, "request") && has(service, "function"));
            are_there && spans.iter().filter(|span| span.service == "gateway").count() >= 2
        };
        eventually(PATIENCE, || async { is_whole(&receiver.spans_of(trace_id)) }).await;
        Self(receiver.spans_of(trace_id))
    }

    fn find(&self, service: &str, is_it: impl Fn(&ReceivedSpan) -> bool) -> &ReceivedSpan {
        let found = self.0.iter().find(|span| span.service == service && is_it(span));
        found.unwrap_or_else(|| panic!("no such span of {service} in {self:#?}"))
    }

    fn is_below(&self, span: &ReceivedSpan, other: &ReceivedSpan) -> bool {
        let parent = |span: &&ReceivedSpan| self.0.iter().find(|other| other.span_id == span.parent_span_id);
        std::iter::successors(Some(span), parent).any(|above| above == other)
    }
}

/// The lines of a part's log that a search for a trace finds, by the field that Loki is told of.
fn lines(system: &System, part: &str, trace_id: &str) -> Vec<String> {
    let log = fs::read_to_string(system.stack.log_of(part)).expect("it has a log");
    let has_it = |line: &&str| serde_json::from_str::<Value>(line).is_ok_and(|line| line["trace_id"] == trace_id);
    log.lines().filter(has_it).map(str::to_owned).collect()
}
