//! Copies of requests to the side that does not serve them.

mod bodies;
mod comparing;
mod copies;
mod dry_runs;
mod exemplars;
mod hostile;

use std::{collections::BTreeMap, net::SocketAddr};

use crate::harness::{Gateway, TOKEN, eventually};

/// What became of the requests of the route: `outcome` or `outcome:reason`, and how many.
type Outcomes = BTreeMap<String, u64>;

/// Keeps legacy from being asked once more.
const NO_NOISE: &str = "[shadow]\nnoise_percent = 0\n";

/// A gateway with the route `/f/{id}`, whose candidate has this percentage and whose copies this share.
fn start(legacy: SocketAddr, candidate: SocketAddr, route: &str, percent: u8, share: u8) -> Gateway {
    start_with(legacy, candidate, route, NO_NOISE, percent, share)
}

/// The same with more tables.
fn start_with(legacy: SocketAddr, candidate: SocketAddr, route: &str, more: &str, percent: u8, share: u8) -> Gateway {
    let config = config(legacy, candidate, route, more);
    Gateway::start(&config, &format!("[routes.invoke]\npercent = {percent}\nshadow = {share}\n"))
}

/// The configuration of that gateway.
fn config(legacy: SocketAddr, candidate: SocketAddr, route: &str, more: &str) -> String {
    format!(
        r#"
[http]
bind = "127.0.0.1:0"
h2c = true
drain_deadline = "10s"
[admin]
bind = "127.0.0.1:0"
token = "{TOKEN}"
[rollout]
file = "live/rollout.toml"
poll_interval = "100ms"
[access_log]
destination = "file"
file = "access.log"
[upstreams.legacy]
address = "{legacy}"
health_interval = "50ms"
[upstreams.candidate]
address = "{candidate}"
health_interval = "50ms"
[[routes]]
name = "invoke"
path = "/f/{{id}}"
key = "path:id"
legacy = "legacy"
candidate = "candidate"
{route}
{more}
"#
    )
}

/// Waits until so many requests have ended and every copy is back, and gives the outcomes that there are. They
/// add up to the requests of the route.
async fn outcomes(gateway: &Gateway, requests: u64) -> Outcomes {
    let mut found = Outcomes::new();
    eventually("every request has ended and every copy is back", async || {
        let metrics = gateway.metrics().await;
        found = outcomes_in(&metrics);
        // An outcome is counted before its copy leaves the gauge, so this is the last word.
        total(&metrics, "gateway_requests_total{") == requests
            && total(&metrics, "gateway_shadow_in_flight{") == 0
            && found.values().sum::<u64>() >= requests
    })
    .await;
    assert_eq!(found.values().sum::<u64>(), requests, "{found:?}");
    found
}

fn outcomes_in(metrics: &str) -> Outcomes {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("gateway_shadow_requests_total{"));
    let read = |line: &str| {
        let value: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        let label =
            |name: &str| line.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
        let (outcome, reason) = (label("outcome"), label("reason"));
        let name = if reason.is_empty() { outcome } else { format!("{outcome}:{reason}") };
        (value > 0).then_some((name, value))
    };
    lines.filter_map(read).collect()
}

/// The sum of all series that begin like this.
fn total(metrics: &str, series: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(series));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn these<const N: usize>(outcomes: [(&str, u64); N]) -> Outcomes {
    outcomes.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}
