//! Traces: continued upstream, and exported where a collector is configured.

use nix::sys::signal::Signal;

use crate::harness::{Gateway, Setup, Stub, config, eventually};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_trace_goes_on_upstream_under_a_span_of_the_gateways() {
    let setup = Setup::start();
    let url = setup.gateway.url("/f/k/invoke");
    setup.gateway.client.post(url).header("traceparent", CALLER).send().await.unwrap();
    let seen = setup.legacy.seen().remove(0).headers["traceparent"].to_str().unwrap().to_owned();
    assert!(seen.starts_with(&format!("00-{TRACE_ID}-")) && seen != CALLER, "{seen}");
    // The line is written by a thread of its own.
    eventually("the access log has the line", async || !setup.gateway.access_log().is_empty()).await;
    assert_eq!(setup.gateway.access_log()[0]["trace_id"], TRACE_ID);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_the_collector_before_the_gateway_ends() {
    let (legacy, candidate, collector) = (Stub::start("legacy"), Stub::start("candidate"), Stub::start("collector"));
    let traces = format!("[telemetry]\notlp_endpoint = \"http://{}\"\n", collector.address);
    let mut gateway = Gateway::start(&format!("{}{traces}", config(legacy.address, candidate.address, "", "")), "");
    gateway.invoke("k").await;
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.exit_code().await, Some(0));
    let exported = collector.seen();
    assert!(!exported.is_empty(), "nothing was exported: {}", gateway.log());
    for export in exported {
        assert_eq!(export.uri, "/v1/traces");
        assert_eq!(export.headers["content-type"], "application/x-protobuf");
        assert!(export.body_length > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_traces_that_begin_here_the_ratio_is_exported_and_of_others_what_the_caller_decided() {
    for (caller, passed_on_as) in [(None, "-00"), (Some(CALLER), "-01")] {
        let (legacy, candidate, collector) =
            (Stub::start("legacy"), Stub::start("candidate"), Stub::start("collector"));
        let traces =
            format!("[telemetry]\notlp_endpoint = \"http://{}\"\notlp_sample_ratio = 0.0\n", collector.address);
        let mut gateway = Gateway::start(&format!("{}{traces}", config(legacy.address, candidate.address, "", "")), "");
        let request = gateway.client.post(gateway.url("/f/k/invoke"));
        caller.into_iter().fold(request, |request, caller| request.header("traceparent", caller)).send().await.unwrap();
        let passed_on = legacy.seen().remove(0).headers["traceparent"].to_str().unwrap().to_owned();
        assert!(passed_on.ends_with(passed_on_as), "{passed_on}");
        gateway.signal(Signal::SIGTERM);
        assert_eq!(gateway.exit_code().await, Some(0));
        assert_eq!(collector.seen().is_empty(), caller.is_none(), "{:?}", collector.seen());
    }
}
