use std::{fs, process::Command};

use crate::harness::TOKEN;

/// What `gateway --check` says about an upstream and a route with these settings.
fn check(upstream: &str, route: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let config = format!(
        "[admin]\ntoken = \"{TOKEN}\"\n[[routes]]\nname = \"all\"\npath = \"/{{*rest}}\"\nlegacy = \"a\"\n{route}\n\
         [upstreams.a]\n{upstream}\n"
    );
    fs::write(&file, config).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_gateway")).arg("--check").arg("--config").arg(&file).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    // As one line, whatever its width.
    let words: Vec<_> = told.split_whitespace().filter(|word| *word != "│").collect();
    (output.status.code(), words.join(" "))
}

const GOOD: &str = "address = \"a.example:80\"";

#[test]
fn good_settings_are_good() {
    for (upstream, route) in [
        (GOOD, ""),
        ("addresses = [\"[::1]:80\", \"10.0.0.1:80\"]\nprotocol = \"h2c\"\nfailures = [\"connect\", \"500\"]", ""),
        ("address = \"a.example:443\"\nprotocol = \"h2\"", "retries = { attempts = 3, on = [\"503\", \"429\"] }"),
        ("address = \"a.example:80\"\n[upstreams.a.breaker]\n[upstreams.a.ejection]\n[upstreams.a.retry_budget]", ""),
    ] {
        let (code, told) = check(upstream, route);
        assert_eq!(code, Some(0), "{upstream} {route}: {told}");
    }
}

#[test]
fn bad_settings_are_named_with_a_way_out() {
    let sub = |table: &str, line: &str| format!("{GOOD}\n[upstreams.a.{table}]\n{line}");
    for (upstream, route, key, message) in [
        ("", "", "address", "it is required"),
        ("addresses = []", "", "address", "it is required"),
        ("address = \"a:80\"\naddresses = [\"b:80\"]", "", "addresses", "`address` is set too"),
        ("addresses = [\"a:80\", \"b\"]", "", "addresses[1]", "it has no port"),
        ("addresses = [\"a:80\", \"a:80\"]", "", "addresses[1]", "it is in the list already"),
        ("address = \"http://a:80\"", "", "address", "neither a name nor an address"),
        (&format!("{GOOD}\nmax_concurrent = 0"), "", "max_concurrent", "no request would ever be sent"),
        (&format!("{GOOD}\nprotocol = \"h2c\"\n[upstreams.a.tls]"), "", "protocol", "there is a table `tls`"),
        (&format!("{GOOD}\nfailures = [\"404\"]"), "", "failures[0]", "expected \"connect\""),
        (&sub("breaker", "consecutive_failures = 0\nfailure_percent = 0"), "", "consecutive_failures", "never open"),
        (&sub("breaker", "failure_percent = 101"), "", "failure_percent", "it is no percentage"),
        (&sub("breaker", "open_for = \"2m\""), "", "open_for_max", "it is shorter than `open_for`"),
        (&sub("breaker", "trials = 0"), "", "trials", "it would never recover"),
        (&sub("ejection", "max_ejected_percent = 100"), "", "max_ejected_percent", "every address might be left out"),
        (&sub("retry_budget", "burst = 0"), "", "burst", "nothing could be saved up"),
        (&sub("http2", "stream_window = \"1 KiB\""), "", "stream_window", "no window can have that size"),
        (GOOD, "retries = { methods = [\"POST\"] }", "methods[0]", "it might act twice"),
        (GOOD, "retries = { on = [\"grpc_unavailable\"] }", "on", "gRPC calls are POST"),
        (GOOD, "retries = { attempts = 9 }", "attempts", "more than http.max_attempts"),
        (GOOD, "fallback = false\nfallback_on = [\"open\"]", "fallback_on", "`fallback` is off"),
    ] {
        let (code, told) = check(upstream, route);
        let all = told.contains(key) && told.contains(message) && (told.contains("help:") || told.contains("fix"));
        assert!(code == Some(2) && all, "{upstream} {route}: {told}");
    }
}
